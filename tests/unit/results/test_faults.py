"""Deliberate faults in a good report, and who catches each: no tool catches all, and some only our gate does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
import spoiling
import synthetic as s
import validators
from pydicom import Dataset

from dicom_node.domain.concept import Concept
from dicom_node.errors import NonConformantObject
from dicom_node.results import codes
from dicom_node.results.content_tree import children, content, name_of, value_of
from dicom_node.results.document import part10
from dicom_node.results.findings_sr import build_report, subjects_of
from dicom_node.results.gate import check
from dicom_node.results.identity import NodeIdentity

SOURCE = s.image()


@dataclass(frozen=True)
class Fault:
    """One fault, the public validators that catch it, and what our own gate says of it."""

    put: Callable[[Dataset], object]
    tools: tuple[str, ...] = ()
    gate: str | None = None


def report() -> Dataset:
    frame = s.reference(SOURCE)
    analysis = s.analysis([*s.findings(frame), *s.anomaly(frame)])
    # A copy to break: highdicom gives every report of the process the same item for its language.
    return deepcopy(build_report(subjects_of(analysis)[0], analysis, [SOURCE], NodeIdentity("DICOM_NODE")))


def shape(ds: Dataset, graphic_type: str) -> Dataset:
    return next(it for it in content(ds, "SCOORD") if it.GraphicType == graphic_type)


def in_three_dimensions(ds: Dataset) -> None:
    item = shape(ds, "POLYLINE")
    item.ValueType, item.ReferencedFrameOfReferenceUID = "SCOORD3D", "1.2.3"
    item.GraphicData = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    del item.ContentSequence


def ellipse_of_two_points(ds: Dataset) -> None:
    item = shape(ds, "POLYLINE")
    item.GraphicType, item.GraphicData = "ELLIPSE", [0.0, 0.0, 1.0, 1.0]


def long_code(ds: Dataset) -> None:
    spoiling.first_of_type(ds, "CODE").ConceptCodeSequence[0].CodeValue = "12345678901234567"


def other_meaning(ds: Dataset) -> None:
    code = next(it for it in content(ds, "CODE") if value_of(it) == codes.FETUS)
    code.ConceptCodeSequence[0].CodeMeaning = "Mother"


def other_procedure(ds: Dataset) -> None:
    spoiling.first(ds, codes.PROCEDURE_REPORTED).ConceptCodeSequence = [codes.code_item(codes.OBSTETRIC_ULTRASOUND)]


def other_template(ds: Dataset) -> None:
    spoiling.first(ds, codes.MEASUREMENT_GROUP).ContentTemplateSequence[0].TemplateIdentifier = "1411"


def unknown_role(ds: Dataset) -> None:
    """Say that the device performs, which CID 7445 does not know."""
    role = s.content_item("CODE", Concept("113876", "DCM", "Device Role in Procedure"), relationship="HAS OBS CONTEXT")
    role.ConceptCodeSequence = [codes.code_item(Concept("121094", "DCM", "Performing"))]
    before = list(ds.ContentSequence)
    after = before.index(spoiling.first(ds, codes.DEVICE_OBSERVER_UID)) + 1
    ds.ContentSequence = [*before[:after], role, *before[after:]]


def probability_of_nothing(ds: Dataset) -> None:
    del spoiling.first(ds, codes.PROBABILITY).ContentSequence


def without_answer(ds: Dataset) -> None:
    group = next(it for it in spoiling.parents(ds) if children(it, codes.PROBABILITY))
    group.ContentSequence = [it for it in group.ContentSequence if it.ValueType != "CODE"]


def a_view(ds: Dataset) -> Dataset:
    groups = [it for it in spoiling.parents(ds) if children(it, codes.PROBABILITY)]
    return next(it for group in groups for it in group.ContentSequence if value_of(it) == s.BRAIN_TT)


def of_views_alone(ds: Dataset) -> None:
    """Leave a report without region and anomaly, and without its fetus: it could be the mother's."""
    (measurements,) = children(ds, codes.IMAGING_MEASUREMENTS)
    views = [it for it in children(measurements, codes.MEASUREMENT_GROUP) if children(it, codes.IMAGE_VIEW)]
    measurements.ContentSequence = [*children(measurements, codes.MEASUREMENT_GROUP)[-1:], *views]
    without_fetus(ds)


def in_unit(ds: Dataset, concept: Concept, code: str) -> None:
    spoiling.first(ds, concept).MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [
        codes.code_item(Concept(code, "UCUM", code))
    ]


def without_comment_beside(ds: Dataset, concept: Concept) -> None:
    group = next(
        it for it in spoiling.parents(ds) if any(concept in (name_of(of), value_of(of)) for of in it.ContentSequence)
    )
    spoiling.drop(group, codes.COMMENT)


def without_probabilities_of_the_anomaly(ds: Dataset) -> None:
    group = next(it for it in spoiling.parents(ds) if children(it, codes.NORMALITY))
    spoiling.drop(group, codes.PROBABILITY)


def all_alike(ds: Dataset) -> None:
    group = next(it for it in spoiling.parents(ds) if children(it, codes.NORMALITY))
    for number in children(group, codes.PROBABILITY):
        number.MeasuredValueSequence[0].NumericValue = "0.9"


def certain_of_all(ds: Dataset) -> None:
    for number in spoiling.every(ds, codes.PROBABILITY):
        number.MeasuredValueSequence[0].NumericValue = "1"


def without_fetus(ds: Dataset) -> None:
    spoiling.drop(ds, codes.SUBJECT_CLASS)
    spoiling.drop(ds, codes.SUBJECT_ID)


def without_findings(ds: Dataset) -> None:
    for group in spoiling.every(ds, codes.MEASUREMENT_GROUP):
        told = (codes.FINDING, codes.FINDING_SITE)
        group.ContentSequence = [it for it in group.ContentSequence if name_of(it) not in told]


def put_number(ds: Dataset, concept: Concept, value: str) -> None:
    spoiling.first(ds, concept).MeasuredValueSequence[0].NumericValue = value


def without_units(ds: Dataset) -> None:
    del spoiling.first(ds, codes.CERTAINTY).MeasuredValueSequence[0].MeasurementUnitsCodeSequence


FAULTS = {
    "no patient id": Fault(lambda ds: ds.pop("PatientID"), ("dciodvfy", "dcentvfy"), "PatientID is missing"),
    "another patient": Fault(lambda ds: setattr(ds, "PatientID", "4711"), ("dcentvfy",), "not the one of the images"),
    "a shape without its image": Fault(
        lambda ds: shape(ds, "POLYLINE").pop("ContentSequence"), ("dciodvfy", "pixelmed"), "on which image it lies"
    ),
    "an illegal relationship": Fault(
        lambda ds: setattr(shape(ds, "POLYLINE"), "RelationshipType", "HAS PROPERTIES"), ("dsrdump", "pixelmed")
    ),
    "a shape in three dimensions": Fault(in_three_dimensions, ("dciodvfy", "dsrdump")),
    "a number without units": Fault(without_units, ("dciodvfy", "dsrdump"), "no finite value with a unit"),
    "an image that is not in evidence": Fault(
        lambda ds: ds.pop("CurrentRequestedProcedureEvidenceSequence"), ("dciodvfy",), "is not in evidence"
    ),
    "half a point": Fault(
        lambda ds: setattr(shape(ds, "POLYLINE"), "GraphicData", [0.0, 0.0, 1.0]), ("dsrdump",), "has 3 coordinates"
    ),
    "an ellipse of two points": Fault(
        ellipse_of_two_points,
        ("dciodvfy", "dsrdump", "pixelmed"),
        "has 4 coordinates",
    ),
    "a code value of 17 characters": Fault(long_code, ("dciodvfy",), "a code is too long"),
    "no observer": Fault(
        lambda ds: spoiling.drop(ds, codes.DEVICE_OBSERVER_UID), ("pixelmed",), "Device Observer UID is missing"
    ),
    "a procedure that is not in CID 100": Fault(other_procedure, ("pixelmed",)),
    "a role that is not in CID 7445": Fault(unknown_role, ("pixelmed",)),
    "another name": Fault(
        lambda ds: setattr(ds, "PatientName", "Roe^Jane"), ("dcentvfy",), "not the one of the images"
    ),
    "another study date": Fault(
        lambda ds: setattr(ds, "StudyDate", "20260103"), ("dcentvfy",), "StudyDate is not that"
    ),
    "another code meaning": Fault(other_meaning, gate="121026 does not mean Mother"),
    "another root title": Fault(
        lambda ds: setattr(ds, "ConceptNameCodeSequence", [codes.code_item(codes.OBSTETRIC_REPORT)]),
        gate="the root is not TID 1500",
    ),
    "no procedure": Fault(lambda ds: spoiling.drop(ds, codes.PROCEDURE_REPORTED), gate="Procedure reported is missing"),
    "no tracking uid": Fault(lambda ds: spoiling.drop(ds, codes.TRACKING_UID), gate="no tracking identifier"),
    "no fetus id": Fault(lambda ds: spoiling.drop(ds, codes.SUBJECT_ID), gate="no Subject ID"),
    "a probability of nothing": Fault(probability_of_nothing, gate="does not say of which class it is"),
    "probabilities without an answer": Fault(without_answer, gate="does not say which class is given"),
    "an anomaly that is neither normal nor abnormal": Fault(
        lambda ds: spoiling.drop(ds, codes.NORMALITY), gate="does not say whether it is normal"
    ),
    "a fetus without a name": Fault(
        lambda ds: setattr(spoiling.first(ds, codes.SUBJECT_ID), "TextValue", " "), gate="no Subject ID"
    ),
    "no fetus at all": Fault(without_fetus, gate="stands in the report of the mother"),
    "an empty tracking uid": Fault(
        lambda ds: setattr(spoiling.first(ds, codes.TRACKING_UID), "UID", ""), gate="no tracking identifier"
    ),
    "no finding": Fault(without_findings, gate="does not say what was found"),
    "a probability of seven": Fault(lambda ds: put_number(ds, codes.PROBABILITY, "7"), gate="Probability cannot be 7"),
    "a certainty below nothing": Fault(
        lambda ds: put_number(ds, codes.CERTAINTY, "-500"), gate="Certainty of Finding cannot be -500"
    ),
    "no algorithm family": Fault(
        lambda ds: spoiling.drop(ds, codes.ALGORITHM_FAMILY), gate="does not say which algorithm"
    ),
    "a line of one point": Fault(
        lambda ds: setattr(shape(ds, "POLYLINE"), "GraphicData", [1.0, 1.0]), gate="fewer than two points"
    ),
    "another modality": Fault(lambda ds: setattr(ds, "Modality", "CT"), gate="no complete structured report"),
    "a partial report": Fault(lambda ds: setattr(ds, "CompletionFlag", "PARTIAL"), gate="no complete structured"),
    "another birth date": Fault(
        lambda ds: setattr(ds, "PatientBirthDate", "19000101"), gate="PatientBirthDate is not that"
    ),
    "another accession number": Fault(
        lambda ds: setattr(ds, "AccessionNumber", "X"), gate="AccessionNumber is not that"
    ),
    "an anomaly called normal": Fault(
        lambda ds: spoiling.revalue(spoiling.first(ds, codes.NORMALITY), codes.NORMAL),
        gate="Encephalocele is called Normal",
    ),
    "an answer that is not the likeliest": Fault(
        lambda ds: put_number(ds, codes.PROBABILITY, "0.01"), gate="is given, and another class is likelier"
    ),
    "a plane of the mother": Fault(
        lambda ds: spoiling.revalue(a_view(ds), next(iter(codes.MATERNAL))), gate="stands in the report of the fetus"
    ),
    "a negative size": Fault(
        lambda ds: put_number(ds, s.HEAD_CIRCUMFERENCE, "-5"), gate="Head Circumference cannot be -5"
    ),
    "no weights": Fault(
        lambda ds: spoiling.drop(ds, codes.ALGORITHM_PARAMETERS), gate="does not say which weights gave it"
    ),
    "no fetus, and nothing but views": Fault(of_views_alone, gate="stands in the report of the mother"),
    "a size in centimetres": Fault(
        lambda ds: in_unit(ds, s.HEAD_CIRCUMFERENCE, "cm"), gate="Head Circumference is in cm"
    ),
    "a probability in per cent": Fault(lambda ds: in_unit(ds, codes.PROBABILITY, "%"), gate="Probability is in %"),
    "a size that no fetus has": Fault(
        lambda ds: put_number(ds, s.HEAD_CIRCUMFERENCE, "29274"), gate="Head Circumference cannot be 29274"
    ),
    "probabilities that are more than one": Fault(all_alike, gate="probabilities are .* together"),
    "probabilities of one each": Fault(certain_of_all, gate="probabilities are .* together"),
    "an anomaly without probabilities": Fault(
        without_probabilities_of_the_anomaly, gate="an answer has no probabilities"
    ),
    "a box without a score": Fault(
        lambda ds: spoiling.drop(ds, codes.CERTAINTY), gate="a region has neither a size nor a score"
    ),
    "not assessable without a reason": Fault(
        lambda ds: without_comment_beside(ds, codes.NOT_ASSESSABLE), gate="does not say why"
    ),
    "no disclaimer": Fault(lambda ds: without_comment_beside(ds, codes.RUN_SUMMARY), gate="that it is investigational"),
    "another sub-template": Fault(other_template, gate="of TID 1411 instead of 1410"),
}
TOOLS: dict[str, Callable[[Path, Path], str]] = {
    "dciodvfy": lambda path, _source: validators.dciodvfy(path),
    "dsrdump": lambda path, _source: validators.dsrdump(path),
    "dcentvfy": lambda path, source: validators.dcentvfy([source], [path]),
}


def spoilt(fault: str, folder: Path) -> Path:
    ds = report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on some faults
        FAULTS[fault].put(ds)
        return s.write(ds, folder / f"{fault.replace(' ', '-')}.dcm")


@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_has_anything_against_the_good_report(tool: str, tmp_path: Path) -> None:
    good, source = s.write(report(), tmp_path / "good.dcm"), s.write(SOURCE, tmp_path / "source.dcm")
    assert not TOOLS[tool](good, source)


@pytest.mark.parametrize(
    ("fault", "tool"), [(name, tool) for name, fault in FAULTS.items() for tool in fault.tools if tool in TOOLS]
)
def test_a_tool_catches_the_fault(fault: str, tool: str, tmp_path: Path) -> None:
    assert TOOLS[tool](spoilt(fault, tmp_path), s.write(SOURCE, tmp_path / "source.dcm"))


@pytest.mark.slow
def test_pixelmed_catches_the_faults_that_are_its_own(tmp_path: Path) -> None:
    good = s.write(report(), tmp_path / "good.dcm")
    bad = {spoilt(name, tmp_path): name for name, fault in FAULTS.items() if "pixelmed" in fault.tools}
    said = {path: validators.complaints_about_tid_1500(it) for path, it in validators.pixelmed([good, *bad]).items()}
    assert not said[good]
    assert [bad[path] for path in bad if not said[path]] == []


def test_the_gate_lets_the_good_report_pass() -> None:
    check("findings_sr", part10(report()), [SOURCE])


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.gate])
def test_our_gate_holds_the_faulty_report_back(fault: str, tmp_path: Path) -> None:
    with pytest.raises(NonConformantObject, match=FAULTS[fault].gate):
        check("findings_sr", spoilt(fault, tmp_path).read_bytes(), [SOURCE])


def test_somebody_catches_each_fault() -> None:
    assert [name for name, fault in FAULTS.items() if not fault.tools and fault.gate is None] == []
