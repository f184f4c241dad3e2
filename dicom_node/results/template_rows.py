"""The rows of a template (PS3.16) whose order is significant: what a container holds, in which order, how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.domain.concept import Concept
from dicom_node.results.content_tree import name_of


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or several whose order among themselves does not matter.

    :ivar names: what its content items are called, and ``value_type`` of what type they are.
    :ivar says: what it is, for who reads that it is missing.
    :ivar required: at least one of the names is there.
    :ivar repeats: one name may be there several times.
    """

    says: str
    value_type: str
    names: frozenset[Concept]
    required: bool = False
    repeats: bool = False


def row(
    value_type: str,
    names: Concept | Iterable[Concept],
    says: str = "",
    *,
    required: bool = False,
    repeats: bool = False,
) -> Row:
    """Give a row; one name speaks for itself."""
    if isinstance(names, Concept):
        says, names = says or names.meaning, (names,)
    return Row(says, value_type, frozenset(names), required, repeats)


def faults(container: Dataset, rows: Sequence[Row]) -> Iterator[str]:
    """Tell where a container differs from its rows."""
    here = name_of(container)
    items = list(container.get("ContentSequence", []))
    rows_of_items = [(item, _row_of(item, rows)) for item in items]
    yield from (f"{name_of(item)} does not belong into {here}" for item, at in rows_of_items if at is None)
    order = [at for _, at in rows_of_items if at is not None]
    if order != sorted(order):
        yield f"{here} is not in the order of the template"
    yield from (f"{here} has no {it.says}" for at, it in enumerate(rows) if it.required and at not in order)
    often = {name for it in rows if it.repeats for name in it.names}
    seen = Counter(name_of(item) for item in items)
    yield from (f"{here} has {name} {count} times" for name, count in seen.items() if count > 1 and name not in often)


def _row_of(item: Dataset, rows: Sequence[Row]) -> int | None:
    name, value_type = name_of(item), item.get("ValueType")
    return next((at for at, it in enumerate(rows) if name in it.names and value_type == it.value_type), None)
