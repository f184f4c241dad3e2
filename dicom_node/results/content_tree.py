"""Walking the content tree of a structured report (PS3.3 C.17.3), ours or a scanner's."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset

from dicom_node.domain.concept import Concept


def items(ds: Dataset) -> Iterator[Dataset]:
    """Walk all sequence items of a data set, at any depth."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from items(item)


def content(ds: Dataset, value_type: str) -> Iterator[Dataset]:
    """Walk the content items of one value type, at any depth."""
    for item in ds.get("ContentSequence", []):
        if item.ValueType == value_type:
            yield item
        yield from content(item, value_type)


def children(ds: Dataset, concept: Concept) -> list[Dataset]:
    """List the children of one name."""
    return [item for item in ds.get("ContentSequence", []) if is_named(item, concept)]


def is_named(item: Dataset, concept: Concept) -> bool:
    """Tell whether an item has a name, whatever its meaning is written as."""
    return name_of(item) == concept


def name_of(item: Dataset) -> Concept | None:
    """Give the name of an item; None when it has none."""
    return _first(item, "ConceptNameCodeSequence")


def value_of(item: Dataset) -> Concept | None:
    """Give the value of a CODE item; None when it is no such item."""
    return _first(item, "ConceptCodeSequence")


def unit_of(item: Dataset) -> Concept | None:
    """Give the unit of a NUM item; None when it is no such item or has no value."""
    measured = item.get("MeasuredValueSequence")
    return _first(measured[0], "MeasurementUnitsCodeSequence") if measured else None


def number_of(item: Dataset) -> float:
    """Give the value of a NUM item; not a number when it has none."""
    measured = item.get("MeasuredValueSequence")
    value = measured[0].get("NumericValue") if measured else None
    return float("nan") if value is None or value == "" else float(value)


def meaning(item: Dataset) -> str:
    """Give the name of an item in words."""
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def code_of(item: Dataset) -> Concept:
    """Read an item of a code sequence; what is missing is empty."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Concept(str(value), str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeMeaning", "")))


def _first(ds: Dataset, keyword: str) -> Concept | None:
    codes = ds.get(keyword)
    return code_of(codes[0]) if codes else None
