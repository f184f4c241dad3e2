"""Reading the report of a scanner: PS3.16 TID 5000 as vendors write it, by its codes and at any depth.

Every item is read on its own: what is unknown, private or broken is skipped, and never costs the rest.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import ParamSpec, TypeVar

from pydicom import Dataset

from dicom_node.domain.biometry_equations import AGE_BY_LMP
from dicom_node.domain.concept import Concept
from dicom_node.domain.scanner_report import Reading, ScannerReport, manual_sizes
from dicom_node.results import codes
from dicom_node.results.content_tree import children, name_of, unit_of, value_of
from dicom_node.results.loop_guard import is_own_result

#: What the node measures, and what it may be compared with. A scanner's other quantities say nothing to it.
QUANTITIES = frozenset(
    Concept(value, "LN", meaning)
    for value, meaning in (
        ("11984-2", "Head Circumference"),
        ("11820-8", "Biparietal Diameter"),
        ("11851-3", "Occipital-Frontal Diameter"),
        ("11979-2", "Abdominal Circumference"),
        ("11963-6", "Femur Length"),
        ("33069-6", "Nuchal Translucency"),
        ("11957-8", "Crown Rump Length"),
    )
)
_MM = {"mm": 1.0, "cm": 10.0}
_DAYS = {"d": 1.0, "wk": 7.0}
_FETUS_NAMES = (codes.SUBJECT_ID, codes.FETUS_ID, codes.FETUS_NUMBER)  #: the surest first
_MEANS = (codes.MEAN, Concept("R-00317", "SRT", "Mean"))  #: today's code, and that of older scanners
_CHOSEN = (  #: CID 224
    Concept("121410", "DCM", "User chosen value"),
    Concept("121411", "DCM", "Most recent value chosen"),
    codes.MEAN_CHOSEN,
)
_MOST_FETUSES = 9  #: a larger number is an error

_P = ParamSpec("_P")
_T = TypeVar("_T")


def read_scanner_report(ds: Dataset) -> ScannerReport | None:
    """Read what a scanner reports; None when it is no obstetric report, our own, or says nothing that we know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scanner's oddities
        report = _read(ds) if _is_a_scanners(ds) else None
    if report is None:
        return None
    says_something = report.sizes or report.fetuses or report.number_of_fetuses > 1 or report.has_dates
    return report if says_something else None


def _or_none(read: Callable[_P, _T]) -> Callable[_P, _T | None]:
    """Let a reader give None for what it cannot read."""

    @functools.wraps(read)
    def tolerant(*args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return read(*args, **kwargs)
        except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
            return None

    return tolerant


@_or_none  # a tree may be deeper than any program can follow
def _read(ds: Dataset) -> ScannerReport:
    items = list(_walk(ds, _fetus_of(ds) if _is_about_a_fetus(ds) else None))
    readings = [reading for it in items if (reading := _reading(it)) is not None]
    fetuses = tuple(dict.fromkeys(it.fetus for it in items if it.fetus is not None))
    return ScannerReport(
        sop_instance_uid=str(ds.SOPInstanceUID),
        written=_text(ds, "ContentDate") + _text(ds, "ContentTime"),
        examined_on=_day(_text(ds, "StudyDate")) or _day(_text(ds, "ContentDate")),
        sizes=manual_sizes(readings),
        fetuses=fetuses,
        number_of_fetuses=max(1, _number_of_fetuses(items), _named_in_one_way(items, fetuses)),
        last_menstrual_period=_date(items, codes.LAST_MENSTRUAL_PERIOD),
        expected_delivery=_date(items, codes.EXPECTED_DELIVERY),
        expected_delivery_by_lmp=_date(items, codes.EXPECTED_DELIVERY_BY_LMP),
        age_by_dates_days=next((days for it in items if (days := _value(it.item, AGE_BY_LMP, _DAYS))), None),
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """A content item, the fetus that it is about, and whether a container holds it (and not another number)."""

    item: Dataset
    fetus: str | None
    in_container: bool


def _walk(parent: Dataset, fetus: str | None) -> Iterator[_Item]:
    """Walk a tree. A container's fetus is that of all it holds, unless they name their own."""
    in_container = _text(parent, "ValueType") == "CONTAINER"
    for item in _content_of(parent) or []:
        own = _fetus_of(item) or fetus
        yield _Item(item, own, in_container)
        yield from _walk(item, own)


@_or_none
def _content_of(ds: Dataset) -> list[Dataset]:
    return list(ds.get("ContentSequence") or [])


@_or_none
def _is_a_scanners(ds: Dataset) -> bool:
    templates = [str(item.get("TemplateIdentifier")) for item in ds.get("ContentTemplateSequence") or []]
    return ("5000" in templates or name_of(ds) == codes.OBSTETRIC_REPORT) and not is_own_result(ds)


@_or_none
def _is_about_a_fetus(ds: Dataset) -> bool:
    """Tell whether the root's Subject ID is a fetus's; else it is the mother's own (TID 1007)."""
    return codes.FETUS in [value_of(item) for item in children(ds, codes.SUBJECT_CLASS)]


@_or_none
def _fetus_of(ds: Dataset) -> str | None:
    """Name the fetus that a container is about: by 121030, by 11951-1, or by the retired 121037 (a number)."""
    return next((text for name in _FETUS_NAMES for item in children(ds, name) if (text := _id_of(item))), None)


def _id_of(item: Dataset) -> str:
    number = _numeric(item)
    return _text(item, "TextValue") or (f"{number:g}" if number is not None else "")


@_or_none
def _reading(it: _Item) -> Reading | None:
    """Read a calliper value. A number under a number is what that one was computed from: no value of its own."""
    quantity, item = name_of(it.item), it.item
    value_mm = _value(item, quantity, _MM) if quantity in QUANTITIES and it.in_container else None
    if quantity is None or not value_mm:
        return None
    chosen = any(value_of(child) in _CHOSEN for child in children(item, codes.SELECTION_STATUS))
    mean = any(value_of(child) in _MEANS for child in children(item, codes.DERIVATION))
    return Reading(quantity, it.fetus, value_mm, chosen, mean)


@_or_none
def _value(item: Dataset, concept: Concept | None, units: Mapping[str, float]) -> float | None:
    """Read a positive number of one name in one of these UCUM units."""
    unit, number = unit_of(item), _numeric(item)
    if name_of(item) != concept or unit is None or number is None or number <= 0 or unit.scheme != "UCUM":
        return None
    return number * units[unit.value]


@_or_none
def _numeric(item: Dataset) -> float | None:
    measured = item.get("MeasuredValueSequence")
    number = float(measured[0].NumericValue) if measured else math.nan
    return number if math.isfinite(number) else None


def _number_of_fetuses(items: list[_Item]) -> int:
    stated = [_numeric(it.item) or 0 for it in items if _named(it.item) == codes.NUMBER_OF_FETUSES]
    return max((int(number) for number in stated if number <= _MOST_FETUSES), default=0)


def _named_in_one_way(items: list[_Item], fetuses: tuple[str, ...]) -> int:
    """Count the fetuses by their ids or by their numbers: "A" in one section may be "1" in another."""
    ways = (_FETUS_NAMES[:-1], _FETUS_NAMES[-1:])
    return max(len({_id_of(it.item) for it in items if _named(it.item) in way} & set(fetuses)) for way in ways)


def _date(items: list[_Item], concept: Concept) -> date | None:
    """Read the first date of this name."""
    texts = [_text(it.item, "Date") or _text(it.item, "DateTime") for it in items if _named(it.item) == concept]
    return next((day for text in texts if (day := _day(text))), None)


@_or_none
def _day(text: str) -> date:
    return datetime.strptime(text[:8], "%Y%m%d").replace(tzinfo=UTC).date()


@_or_none
def _named(item: Dataset) -> Concept | None:
    return name_of(item)


def _text(ds: Dataset, keyword: str) -> str:
    return _stripped(ds, keyword) or ""


@_or_none
def _stripped(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip()
