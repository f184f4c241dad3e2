"""The structure of TID 5000 "OB-GYN Ultrasound Procedure Report" (PS3.16), as far as the node writes it.

No public validator knows this template. Each rule takes a report and the headers of its study, and tells what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from pydicom import Dataset
from pydicom.sr.codedict import codes as published

from dicom_node.domain.biometry import GESTATIONAL_AGE, WEIGHT_PERCENTILE
from dicom_node.domain.biometry_equations import AGE_BY_LMP, ESTIMATED_WEIGHT, ULTRASOUND_AGE
from dicom_node.domain.concept import Concept
from dicom_node.results import codes
from dicom_node.results.content_tree import children, content, is_named, name_of, unit_of, value_of

#: The containers under the root, in the order of the template's rows.
SECTIONS = (
    codes.IMAGE_LIBRARY,
    codes.SUMMARY,
    codes.RATIOS,
    codes.BIOMETRY,
    codes.ANATOMY_SURVEY,
    codes.EARLY_GESTATION,
)
_OF_A_FETUS = SECTIONS[2:]
_FETUS_NAMES = (codes.SUBJECT_ID, codes.FETUS_ID)

#: Of CID 12041 and 12042 (parts of CID 12040) what may be assessed here; pydicom has no tables of 2025. The nose is
#: not among them: what is judged there is its tip alone.
SURVEYED = (
    Concept("119406000", "SCT", "Thalamus"),
    Concept("35918002", "SCT", "Fourth ventricle"),
    Concept("54165005", "SCT", "Cisterna magna"),
    Concept("72914001", "SCT", "Palate"),
    Concept("74386004", "SCT", "Nasal bone"),
)


def of_cid(number: int) -> frozenset[Concept]:
    """List a context group of PS3.16 as pydicom has it (2024c)."""
    return frozenset(
        Concept(code.value, code.scheme_designator, code.meaning)
        for code in getattr(published, f"cid{number}").concepts.values()
    )


DATES = of_cid(12003)
RATIOS = of_cid(12004)
BIOMETRY = of_cid(12005)
EARLY_GESTATION = of_cid(12009)
FETUS_SUMMARY = of_cid(12019)
_TYPES_OF_SECTION = {codes.BIOMETRY: BIOMETRY, codes.EARLY_GESTATION: EARLY_GESTATION}
_VALUES = {
    codes.DERIVATION: of_cid(3627),
    codes.SELECTION_STATUS: of_cid(224),
    **dict.fromkeys(SURVEYED, of_cid(242)),
}
_EQUATIONS = {
    GESTATIONAL_AGE: of_cid(12013),
    ULTRASOUND_AGE: of_cid(12013),
    ESTIMATED_WEIGHT: of_cid(12014),
    codes.PERCENTILE_RANK: of_cid(12015),
    WEIGHT_PERCENTILE: of_cid(12016),
}
_UNITS = {
    GESTATIONAL_AGE: "d",
    ULTRASOUND_AGE: "d",
    AGE_BY_LMP: "d",
    ESTIMATED_WEIGHT: "g",
    codes.PERCENTILE_RANK: "%",
    WEIGHT_PERCENTILE: "%",
    **dict.fromkeys(RATIOS, "1"),
}
_OF_A_GROUP = (GESTATIONAL_AGE, codes.PERCENTILE_RANK)  #: beside its measurements


def _root(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check the root, and the mandatory rows of TID 1001 and 1004."""
    templates = [
        (str(item.TemplateIdentifier), str(item.get("MappingResource")))
        for item in ds.get("ContentTemplateSequence", [])
    ]
    if not is_named(ds, codes.OBSTETRIC_REPORT) or templates != [("5000", "DCMR")]:
        yield "the root is not TID 5000"
    for concept in (codes.LANGUAGE, codes.OBSERVER_TYPE, codes.DEVICE_OBSERVER_UID):
        if not children(ds, concept):
            yield f"{concept} is missing"


def _order_of_sections(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    names = [name_of(item) for item in ds.get("ContentSequence", []) if item.ValueType == "CONTAINER"]
    strange = [name for name in names if name not in SECTIONS]
    if strange:
        yield f"there is a section {strange[0]}, which the template does not have"
    elif names != sorted(names, key=SECTIONS.index):
        yield "the sections are not in the order of the template"
    if codes.BIOMETRY not in names and codes.EARLY_GESTATION not in names:
        yield "the report has no biometry"


def _fetuses(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each section, and each summary of a fetus, starts with whom it is about (TID 1008)."""
    sections = [section for name in _OF_A_FETUS for section in children(ds, name)]
    sections += [fetus for summary in children(ds, codes.SUMMARY) for fetus in children(summary, codes.FETUS_SUMMARY)]
    for section in sections:
        first = next(iter(section.get("ContentSequence", [])), None)
        if first is None or name_of(first) not in _FETUS_NAMES or not str(first.get("TextValue") or "").strip():
            yield f"{name_of(section)} does not start with the fetus's id"


def _groups(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check TID 5008: one type in a group, of the section's context group; one of several values marked as chosen."""
    for section_name, types in _TYPES_OF_SECTION.items():
        for section in children(ds, section_name):
            groups = children(section, codes.BIOMETRY_GROUP)
            seen = Counter(name for group in groups for name in {name_of(it) for it in _measurements(group)})
            yield from (f"{name} has {count} groups" for name, count in seen.items() if count > 1)
            for group in groups:
                yield from _why_group_is_wrong(group, section_name, types)


def _why_group_is_wrong(group: Dataset, section: Concept, types: frozenset[Concept]) -> Iterator[str]:
    measurements = _measurements(group)
    names = {name_of(item) for item in measurements}
    if len(names) != 1:
        yield f"a biometry group holds {len(names)} types of measurement"
    yield from (f"{name} does not belong into {section}" for name in names if name not in types)
    chosen = [item for item in measurements if children(item, codes.SELECTION_STATUS)]
    if len(measurements) > 1 and len(chosen) != 1:
        yield f"{len(chosen)} of {len(measurements)} values of a biometry group are chosen"
    for item in measurements:
        if not (children(item, codes.ALGORITHM_NAME) and children(item, codes.ALGORITHM_VERSION)):
            yield f"{name_of(item)} does not say which algorithm gave it"
        if not children(item, codes.DERIVATION) and not any(content(item, "SCOORD")):
            yield f"{name_of(item)} does not show what was measured"


def _numbers(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check every number's unit, and the equation of those that were computed."""
    for item in content(ds, "NUM"):
        name, unit = name_of(item), unit_of(item)
        expected = _UNITS.get(name, "mm") if name else "mm"
        if unit is None or unit.value != expected:
            yield f"{name} is in {unit.value if unit else 'no unit'} instead of {expected}"
        equations = [value_of(it) for it in children(item, codes.EQUATION)]
        if name in _EQUATIONS and not equations and not children(item, codes.EQUATION_CITATION):
            yield f"{name} does not say by which equation"
        allowed = _EQUATIONS.get(name, frozenset()) if name else frozenset()
        yield from (f"{it} is no equation for {name}" for it in equations if it not in allowed)
    for section in children(ds, codes.RATIOS):
        yield from _strangers(section, RATIOS)
    for summary in children(ds, codes.SUMMARY):
        for fetus in children(summary, codes.FETUS_SUMMARY):
            yield from _strangers(fetus, FETUS_SUMMARY)


def _values(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each coded value and each date belongs to its context group."""
    for item in content(ds, "CODE"):
        name, value = name_of(item), value_of(item)
        if name in _VALUES and value not in _VALUES[name]:
            yield f"{value} is no value of {name}"
    for section in children(ds, codes.ANATOMY_SURVEY):
        assessed = [name_of(item) for item in section.ContentSequence if item.ValueType == "CODE"]
        yield from (f"{name} is not assessed in an anatomy survey" for name in assessed if name not in SURVEYED)
        if not assessed:
            yield "the anatomy survey assesses nothing"
    yield from (f"{name_of(item)} is no date of TID 5000" for item in content(ds, "DATE") if name_of(item) not in DATES)


RULES: tuple[Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]], ...] = (
    _root,
    _order_of_sections,
    _fetuses,
    _groups,
    _numbers,
    _values,
)


def _measurements(group: Dataset) -> list[Dataset]:
    return [it for it in group.get("ContentSequence", []) if it.ValueType == "NUM" and name_of(it) not in _OF_A_GROUP]


def _strangers(section: Dataset, allowed: frozenset[Concept]) -> Iterator[str]:
    names = [name_of(item) for item in section.ContentSequence if item.ValueType == "NUM"]
    yield from (f"{name} does not belong into {name_of(section)}" for name in names if name not in allowed)
