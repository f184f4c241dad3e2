"""Putting faults into the content tree of a sound report."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from dicom_node.domain.concept import Concept
from dicom_node.results.codes import code_item
from dicom_node.results.content_tree import is_named, items, name_of


def every(ds: Dataset, concept: Concept) -> list[Dataset]:
    """List the content items of a name, at any depth."""
    return [it for it in items(ds) if is_named(it, concept)]


def first(ds: Dataset, concept: Concept) -> Dataset:
    """Find the first content item of a name."""
    return every(ds, concept)[0]


def first_of_type(ds: Dataset, value_type: str) -> Dataset:
    """Find the first content item of a value type."""
    return next(it for it in items(ds) if it.get("ValueType") == value_type)


def revalue(item: Dataset, concept: Concept) -> None:
    """Give a CODE item another value."""
    item.ConceptCodeSequence = [code_item(concept)]


def drop(ds: Dataset, concept: Concept) -> None:
    """Remove every content item of a name."""
    for parent in parents(ds):
        parent.ContentSequence = [it for it in parent.ContentSequence if name_of(it) != concept]


def parents(ds: Dataset) -> Iterator[Dataset]:
    """Walk the data sets that have content."""
    yield from (it for it in [ds, *items(ds)] if "ContentSequence" in it)
