"""Each rule about the obstetric report is shown to fail on the fault that it is there for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path

import pytest
import synthetic as s
import yaml
from highdicom.sr import TextContentItem
from pydicom import Dataset
from spoiling import drop, first, revalue

from dicom_node.domain.biometry import POSSIBLE_DAYS, POSSIBLE_MM
from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.errors import NonConformantObject
from dicom_node.results import codes, tid_5000
from dicom_node.results.biometry_sr import build_report
from dicom_node.results.content_tree import children, is_named, items
from dicom_node.results.document import part10
from dicom_node.results.gate import check
from dicom_node.results.groups import coded
from dicom_node.results.identity import NodeIdentity

CINE = s.header(s.US_MULTI_FRAME, NumberOfFrames=4, Rows=120, Columns=160)
FIRST, SECOND = s.reference(CINE, 1), s.reference(CINE, 2)
AGE = Concept("18185-9", "LN", "Gestational Age")
WEIGHT = Concept("11727-5", "LN", "Estimated Weight")
BONE = Classification(
    "structures", (FIRST,), "nasal_bone_category", codes.NORMALITY, codes.NORMAL, "normal", ((codes.NORMAL, 0.9),),
    s.NASAL_BONE,
)  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> Dataset:
    told = ScannerReport("1.2.3", date(2026, 1, 2), last_menstrual_period=date(2025, 6, 20))
    found = [*s.sizes(FIRST), *s.sizes(SECOND, HC=270.0), *s.sizes(FIRST, NT=1.6), BONE]
    return build_report(s.analysis(found, scanner_report=told), [CINE], NodeIdentity("DICOM_NODE"))


def rename(item: Dataset, concept: Concept) -> None:
    item.ConceptNameCodeSequence = [codes.code_item(concept)]


def unit(item: Dataset, code: str) -> None:
    item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = code


def order(ds: Dataset, key: Callable[[Dataset], object]) -> None:
    ds.ContentSequence = sorted(ds.ContentSequence, key=key)  # type: ignore[arg-type]


def repeat(ds: Dataset, concept: Concept) -> None:
    at = next(at for at, it in enumerate(ds.ContentSequence) if is_named(it, concept))
    ds.ContentSequence.insert(at, deepcopy(ds.ContentSequence[at]))


def number(item: Dataset, value: str) -> None:
    item.MeasuredValueSequence[0].NumericValue = value


def name_another_fetus(section: Dataset) -> None:
    _, *rest = section.ContentSequence  # the sections share its item: changed, it would be the same everywhere
    section.ContentSequence = [TextContentItem(coded(codes.SUBJECT_ID), "B", "HAS OBS CONTEXT"), *rest]


def groups(ds: Dataset) -> Sequence[Dataset]:
    return children(first(ds, codes.BIOMETRY), codes.BIOMETRY_GROUP)


NONSENSE = Concept("11932-9", "LN", "Nonsense")
FAULTS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "other root": (lambda ds: rename(ds, codes.IMAGING_MEASUREMENT_REPORT), "root is not TID 5000"),
    "no template": (lambda ds: ds.pop("ContentTemplateSequence"), "root is not TID 5000"),
    "other template": (
        lambda ds: setattr(ds.ContentTemplateSequence[0], "TemplateIdentifier", "5100"), "root is not TID 5000",
    ),
    "no language": (lambda ds: drop(ds, codes.LANGUAGE), "has no Language of Content Item and Descendants"),
    "no device": (lambda ds: drop(ds, codes.DEVICE_OBSERVER_UID), "has no Device Observer UID"),
    "verified": (lambda ds: setattr(ds, "VerificationFlag", "VERIFIED"), "UNVERIFIED"),
    "sections out of order": (
        lambda ds: order(ds, lambda it: is_named(it, codes.RATIOS)), "not in the order of the template",
    ),
    "strange section": (lambda ds: rename(first(ds, codes.RATIOS), NONSENSE), "Nonsense does not belong into OB-GYN"),
    "observer after the sections": (
        lambda ds: order(ds, lambda it: is_named(it, codes.OBSERVER_TYPE)), "not in the order of the template",
    ),
    "no summary": (lambda ds: drop(ds, codes.SUMMARY), "has no Summary"),
    "no summary of the fetus": (lambda ds: drop(ds, codes.FETUS_SUMMARY), "Summary has no Fetus Summary"),
    "two sections of biometry": (
        lambda ds: repeat(ds, codes.BIOMETRY), "has Fetal Biometry 2 times",
    ),
    "no biometry": (lambda ds: (drop(ds, codes.BIOMETRY), drop(ds, codes.EARLY_GESTATION)), "has no biometry"),
    "no fetus anywhere": (lambda ds: drop(ds, codes.SUBJECT_ID), "Fetal Biometry has no fetus's id"),
    "no fetus in the summary": (
        lambda ds: drop(first(ds, codes.FETUS_SUMMARY), codes.SUBJECT_ID), "Fetus Summary has no fetus's id",
    ),
    "fetus not first": (
        lambda ds: order(first(ds, codes.RATIOS), lambda it: is_named(it, codes.SUBJECT_ID)),
        "Fetal Biometry Ratios is not in the order",
    ),
    "fetus without a name": (
        lambda ds: setattr(first(first(ds, codes.BIOMETRY), codes.SUBJECT_ID), "TextValue", " "),
        "a fetus has no name",
    ),
    "two fetuses": (lambda ds: name_another_fetus(first(ds, codes.RATIOS)), "about 2 fetuses: 1, B"),
    "no group": (lambda ds: drop(first(ds, codes.BIOMETRY), codes.BIOMETRY_GROUP), "Biometry has no Biometry Group"),
    "empty group": (lambda ds: drop(groups(ds)[0], s.HEAD_CIRCUMFERENCE), "Biometry Group has no measurement"),
    "age before its measurement": (
        lambda ds: order(groups(ds)[0], lambda it: is_named(it, s.HEAD_CIRCUMFERENCE)), "Biometry Group is not in the",
    ),
    "two ages in a group": (lambda ds: repeat(groups(ds)[0], AGE), "Biometry Group has Gestational Age 2 times"),
    "measurement outside a group": (
        lambda ds: first(ds, codes.BIOMETRY).ContentSequence.append(deepcopy(first(ds, s.HEAD_CIRCUMFERENCE))),
        "Head Circumference does not belong into Fetal Biometry",
    ),
    "weight as text": (
        lambda ds: setattr(first(ds, WEIGHT), "ValueType", "TEXT"), "Estimated Weight does not belong into",
    ),
    "negative head": (
        lambda ds: number(first(ds, s.HEAD_CIRCUMFERENCE), "-5"), "Head Circumference cannot be -5 mm",
    ),
    "endless pregnancy": (lambda ds: number(first(ds, AGE), "99999"), "Gestational Age cannot be 99999 d"),
    "rank beyond all": (
        lambda ds: number(first(ds, codes.PERCENTILE_RANK), "100.5"), "Growth Percentile Rank cannot be 100.5 %",
    ),
    "two types in a group": (
        lambda ds: rename(groups(ds)[0].ContentSequence[0], s.QUANTITIES["AC"]), "holds 2 types of measurement",
    ),
    "two groups of a type": (
        lambda ds: rename(groups(ds)[2].ContentSequence[0], s.QUANTITIES["FL"]), "Femur Length has 2 groups",
    ),
    "type of another section": (
        lambda ds: rename(groups(ds)[2].ContentSequence[0], s.QUANTITIES["NT"]), "does not belong into Biometry Group",
    ),
    "nothing chosen": (lambda ds: drop(ds, codes.SELECTION_STATUS), "0 of 3 values of a biometry group are chosen"),
    "anonymous algorithm": (lambda ds: drop(groups(ds)[0], codes.ALGORITHM_NAME), "which algorithm gave it"),
    "nothing shown": (
        lambda ds: drop(groups(ds)[2], Concept("260753009", "SCT", "Source")), "does not show what was measured",
    ),
    "age in weeks": (lambda ds: unit(first(ds, AGE), "wk"), "Gestational Age is in wk instead of d"),
    "length in centimetres": (
        lambda ds: unit(first(ds, s.HEAD_CIRCUMFERENCE), "cm"), "Head Circumference is in cm instead of mm",
    ),
    "weight in kilograms": (lambda ds: unit(first(ds, WEIGHT), "kg"), "Estimated Weight is in kg instead of g"),
    "no equation": (lambda ds: drop(ds, codes.EQUATION), "does not say by which equation"),
    "equation of another table": (
        lambda ds: revalue(first(first(ds, AGE), codes.EQUATION), tid_5000.SURVEYED[0]), "is no equation for",
    ),
    "weight by an age equation": (
        lambda ds: revalue(first(first(ds, WEIGHT), codes.EQUATION), Concept("11932-1", "LN", "HC, Hadlock 1984")),
        "HC, Hadlock 1984 is no equation for Estimated Weight",
    ),
    "age by the equation of another size": (
        lambda ds: revalue(first(first(ds, AGE), codes.EQUATION), Concept("11920-6", "LN", "FL, Hadlock 1984")),
        "FL, Hadlock 1984 is no equation of the group's size",
    ),
    "no ratio": (lambda ds: rename(first(ds, codes.RATIOS).ContentSequence[1], WEIGHT), "does not belong into Fetal"),
    "no summary item": (
        lambda ds: rename(first(ds, WEIGHT), s.QUANTITIES["AC"]), "does not belong into Fetus Summary",
    ),
    "other derivation": (lambda ds: revalue(first(ds, codes.DERIVATION), NONSENSE), "is no value of Derivation"),
    "other selection": (
        lambda ds: revalue(first(ds, codes.SELECTION_STATUS), NONSENSE), "is no value of Selection Status",
    ),
    "borderline": (
        lambda ds: revalue(first(ds, s.NASAL_BONE), Concept("111848", "DCM", "Borderline")),
        "Borderline is no value of Nasal bone",
    ),
    "no structure of the survey": (
        lambda ds: rename(first(ds, s.NASAL_BONE), NONSENSE), "Nonsense does not belong into Fetal Anatomy Survey",
    ),
    "empty survey": (lambda ds: drop(ds, s.NASAL_BONE), "Fetal Anatomy Survey has no assessed structure"),
    "other date": (
        lambda ds: rename(first(ds, codes.LAST_MENSTRUAL_PERIOD), NONSENSE), "Nonsense does not belong into Summary",
    ),
    "not in evidence": (lambda ds: ds.pop("CurrentRequestedProcedureEvidenceSequence"), "is not in evidence"),
    "frame forgotten": (
        lambda ds: [it.pop("ReferencedFrameNumber") for it in items(ds) if "ReferencedFrameNumber" in it],
        "which frame of the cine",
    ),
    "outside": (
        lambda ds: [setattr(it, "GraphicData", [0.0, 0.0, 161.0, 5.0]) for it in items(ds) if "GraphicData" in it],
        "reaches outside its image",
    ),
}  # fmt: skip


def test_a_sound_report_passes(sound: Dataset) -> None:
    check("biometry_sr", part10(deepcopy(sound)), [CINE])


@pytest.mark.parametrize("size_mm", POSSIBLE_MM)
@pytest.mark.parametrize("age_days", POSSIBLE_DAYS)
def test_what_the_node_takes_for_possible_passes(size_mm: float, age_days: int) -> None:
    day = date(2026, 1, 2)
    told = ScannerReport("1.2.3", day, last_menstrual_period=day - timedelta(days=age_days))
    found = s.sizes(FIRST, HC=size_mm, AC=POSSIBLE_MM[1], FL=POSSIBLE_MM[0])
    report = build_report(s.analysis(found, scanner_report=told), [CINE], NodeIdentity("DICOM_NODE"))
    check("biometry_sr", part10(report), [CINE])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_report_is_held_back(fault: str, sound: Dataset) -> None:
    spoil, reason = FAULTS[fault]
    ds = deepcopy(sound)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on some faults
        spoil(ds)
        with pytest.raises(NonConformantObject, match=reason):
            check("biometry_sr", part10(ds), [CINE])


def test_every_structure_of_the_survey_is_one_that_the_model_finds() -> None:
    manifest = yaml.safe_load(
        (Path(__file__).parents[3] / "models" / "structures" / "manifest.yaml").read_text("utf-8")
    )
    found = {Concept(**output["concept"]): output["concept"]["meaning"] for output in manifest["outputs"]}
    for concept in tid_5000.SURVEYED:
        assert found[concept] == concept.meaning
