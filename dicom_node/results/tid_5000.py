"""The structure of TID 5000 "OB-GYN Ultrasound Procedure Report" (PS3.16), as far as the node writes it.

No public validator knows this template. Each rule takes a report and the headers of its study, and tells what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from pydicom import Dataset
from pydicom.sr.codedict import codes as published

from dicom_node.domain.biometry import GESTATIONAL_AGE, POSSIBLE_DAYS, POSSIBLE_MM, WEIGHT_PERCENTILE
from dicom_node.domain.biometry_equations import AGE_BY_LMP, AGES, ESTIMATED_WEIGHT, GROWTHS, ULTRASOUND_AGE
from dicom_node.domain.concept import Concept
from dicom_node.results import codes
from dicom_node.results.content_tree import children, content, is_named, name_of, number_of, unit_of, value_of
from dicom_node.results.template_rows import Row, faults, row

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
_FETUS_NAMES = (codes.SUBJECT_ID, codes.FETUS_ID)

#: The containers under the root, in the order of the template's rows, with theirs. One report is about one fetus.
_COMMENTS = row("TEXT", codes.COMMENT, repeats=True)
_FETUS = row("TEXT", _FETUS_NAMES, "fetus's id", required=True)
_GROUPS = row("CONTAINER", codes.BIOMETRY_GROUP, required=True, repeats=True)
_SECTIONS: Mapping[Concept, tuple[Row, ...]] = {
    codes.IMAGE_LIBRARY: (row("IMAGE", codes.SOURCE, "image", required=True, repeats=True),),
    codes.SUMMARY: (row("DATE", DATES), _COMMENTS, row("CONTAINER", codes.FETUS_SUMMARY, required=True)),
    codes.RATIOS: (_FETUS, row("NUM", RATIOS, "ratio", required=True)),
    codes.BIOMETRY: (_FETUS, _GROUPS),
    codes.ANATOMY_SURVEY: (_FETUS, row("CODE", SURVEYED, "assessed structure", required=True)),
    codes.EARLY_GESTATION: (_FETUS, _GROUPS),
}
SECTIONS = tuple(_SECTIONS)
_ROOT = (
    row("CODE", codes.LANGUAGE, required=True),
    row("CODE", codes.OBSERVER_TYPE, required=True),
    row("UIDREF", codes.DEVICE_OBSERVER_UID, required=True),
    row("TEXT", codes.DEVICE_OBSERVER_DESCRIPTION),
    *(row("CONTAINER", section, required=section == codes.SUMMARY) for section in SECTIONS),
)
_OF_A_FETUS = (_FETUS, row("NUM", FETUS_SUMMARY), _COMMENTS)


def _group_of(types: frozenset[Concept]) -> tuple[Row, ...]:
    """Give the rows of TID 5008 "Fetal Biometry Group"."""
    measured = row("NUM", types, "measurement", required=True, repeats=True)
    return (measured, row("NUM", GESTATIONAL_AGE), row("NUM", codes.PERCENTILE_RANK), _COMMENTS)


_GROUPS_OF = {codes.BIOMETRY: _group_of(BIOMETRY), codes.EARLY_GESTATION: _group_of(EARLY_GESTATION)}
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
#: Of each size that has any: its own equations of age and growth.
_EQUATIONS_OF_SIZE = {
    size: frozenset(
        [it.concept for it in AGES if it.sizes == (name,)] + [it.concept for it in GROWTHS if it.size == name]
    )
    for name, size in {
        "HC": Concept("11984-2", "LN", "Head Circumference"),
        "BPD": Concept("11820-8", "LN", "Biparietal Diameter"),
        "AC": Concept("11979-2", "LN", "Abdominal Circumference"),
        "FL": Concept("11963-6", "LN", "Femur Length"),
    }.items()
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
#: Between which values a number can be. A report outside them is wrong, whatever was measured.
_BETWEEN: Mapping[str, tuple[float, float]] = {
    "mm": POSSIBLE_MM,
    "d": POSSIBLE_DAYS,
    "g": (1.0, 10_000.0),
    "%": (0.0, 100.0),
    "1": (0.0, POSSIBLE_MM[1] / POSSIBLE_MM[0]),
}


def _root(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    templates = [
        (str(item.TemplateIdentifier), str(item.get("MappingResource")))
        for item in ds.get("ContentTemplateSequence", [])
    ]
    if not is_named(ds, codes.OBSTETRIC_REPORT) or templates != [("5000", "DCMR")]:
        yield "the root is not TID 5000"
    if not children(ds, codes.BIOMETRY) and not children(ds, codes.EARLY_GESTATION):
        yield "the report has no biometry"


def _rows(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check what each container holds, in which order."""
    yield from faults(ds, _ROOT)
    for name, rows in _SECTIONS.items():
        for section in children(ds, name):
            yield from faults(section, rows)
            for fetus in children(section, codes.FETUS_SUMMARY):
                yield from faults(fetus, _OF_A_FETUS)
            for group in children(section, codes.BIOMETRY_GROUP):
                yield from faults(group, _GROUPS_OF.get(name, ()))


def _one_fetus(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that all that is said is about one fetus, and that it has a name (TID 1008)."""
    fetuses = {
        str(item.get("TextValue") or "").strip() for item in content(ds, "TEXT") if name_of(item) in _FETUS_NAMES
    }
    if "" in fetuses:
        yield "a fetus has no name"
    if len(fetuses) > 1:
        yield f"the report is about {len(fetuses)} fetuses: {', '.join(sorted(fetuses))}"


def _groups(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check TID 5008: one type in a group; one of several values marked as chosen; who measured, and where."""
    for section, rows in _GROUPS_OF.items():
        groups = [
            [it for it in group.get("ContentSequence", []) if name_of(it) in rows[0].names]
            for parent in children(ds, section)
            for group in children(parent, codes.BIOMETRY_GROUP)
        ]
        seen = Counter(name for group in groups for name in {name_of(it) for it in group})
        yield from (f"{name} has {count} groups" for name, count in seen.items() if count > 1)
        for group in groups:
            yield from _why_measurements_are_wrong(group)
    for parent in children(ds, codes.BIOMETRY):
        for of_a_size in children(parent, codes.BIOMETRY_GROUP):
            yield from _why_equations_are_wrong(of_a_size)


def _why_equations_are_wrong(group: Dataset) -> Iterator[str]:
    """Check that age and percentile of a size are by an equation of that size."""
    sizes = {size for it in group.ContentSequence if (size := _EQUATIONS_OF_SIZE.get(name_of(it) or codes.COMMENT))}
    allowed = frozenset().union(*sizes)
    for item in group.ContentSequence:
        for equation in (value_of(it) for it in children(item, codes.EQUATION)) if sizes else ():
            if equation not in allowed:
                yield f"{equation} is no equation of the group's size"


def _why_measurements_are_wrong(measurements: Sequence[Dataset]) -> Iterator[str]:
    names = {name_of(item) for item in measurements}
    if len(names) > 1:
        yield f"a biometry group holds {len(names)} types of measurement"
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
        least, most = _BETWEEN[expected]
        if not least <= number_of(item) <= most:
            yield f"{name} cannot be {number_of(item):g} {expected}"
        equations = [value_of(it) for it in children(item, codes.EQUATION)]
        if name in _EQUATIONS and not equations and not children(item, codes.EQUATION_CITATION):
            yield f"{name} does not say by which equation"
        allowed = _EQUATIONS.get(name, frozenset()) if name else frozenset()
        yield from (f"{it} is no equation for {name}" for it in equations if it not in allowed)


def _values(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each coded value belongs to its context group."""
    for item in content(ds, "CODE"):
        name, value = name_of(item), value_of(item)
        if name in _VALUES and value not in _VALUES[name]:
            yield f"{value} is no value of {name}"


RULES: tuple[Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]], ...] = (
    _root,
    _rows,
    _one_fetus,
    _groups,
    _numbers,
    _values,
)
