"""A class that is about a part of the frame, and that was learned from simulated pictures, says so everywhere."""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import synthetic as s

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.domain.result import ResultObject
from dicom_node.domain.summary import summarise
from dicom_node.results import codes
from dicom_node.results.build import build_objects
from dicom_node.results.content_tree import children, is_named
from dicom_node.results.identity import NodeIdentity

NORMALITY, NORMAL = Concept("121402", "DCM", "Normality"), Concept("17621005", "SCT", "Normal")
BORDERLINE, ABNORMAL = Concept("111848", "DCM", "Borderline"), Concept("263654008", "SCT", "Abnormal")
LEARNED = "learned from simulated changes only"
IMAGE = s.image()
FRAME = s.reference(IMAGE)
CATEGORY = Classification(
    "structures",
    (FRAME,),
    "nasal_bone_category",
    NORMALITY,
    BORDERLINE,
    "borderline",
    ((NORMAL, 0.3), (BORDERLINE, 0.6), (ABNORMAL, 0.1)),
    site=s.NASAL_BONE,
    qualifier=LEARNED,
    detection="nasal bone",
)


def report_of(*findings: Finding) -> tuple[pydicom.Dataset, bytes]:
    frames = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}
    found = build_objects(s.analysis(findings), [IMAGE], frames, NodeIdentity("DICOM_NODE"))[0]
    assert isinstance(found, ResultObject)
    return pydicom.dcmread(io.BytesIO(found.part10)), found.part10


def groups_of(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    return [it for it in walk(report) if is_named(it, codes.MEASUREMENT_GROUP)]


def answers(group: pydicom.Dataset, name: Concept) -> list[str]:
    return [it.ConceptCodeSequence[0].CodeMeaning for it in children(group, name)]


def test_a_class_stands_with_its_box_and_its_probabilities_beside_the_detectors_score() -> None:
    report, _ = report_of(*s.findings(FRAME), CATEGORY)
    (bone,) = [it for it in groups_of(report) if answers(it, codes.FINDING) == [s.NASAL_BONE.meaning]]
    assert bone.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert answers(bone, codes.NORMALITY) == ["Borderline"]
    said = {
        answers(it, codes.FINDING)[0]: float(it.MeasuredValueSequence[0].NumericValue)
        for it in children(bone, codes.PROBABILITY)
    }
    assert said == {"Normal": 0.3, "Borderline": 0.6, "Abnormal": 0.1}
    assert [it.TextValue for it in children(bone, codes.COMMENT)] == [LEARNED]
    others = [it for it in groups_of(report) if it is not bone]
    assert [answers(it, codes.NORMALITY) for it in others if answers(it, codes.NORMALITY)] == []


def test_a_class_stands_only_in_the_box_that_it_names() -> None:
    assert len(groups_of(report_of(*s.findings(FRAME), CATEGORY)[0])) == len(s.findings(FRAME)) + 1  # and the run
    for other in (replace(CATEGORY, task="biometry"), replace(CATEGORY, detection="thalamus")):
        assert len(groups_of(report_of(*s.findings(FRAME), other)[0])) == len(s.findings(FRAME)) + 2


OTHER_OF = {s.ENCEPHALOCELE: s.NO_ANOMALY, s.NO_ANOMALY: s.ENCEPHALOCELE}


@pytest.mark.parametrize(("answer", "said"), [(s.ENCEPHALOCELE, "Abnormal"), (s.NO_ANOMALY, "Normal")])
def test_an_anomaly_is_the_finding_and_says_if_it_is_normal(answer: Concept, said: str) -> None:
    anomaly = replace(s.anomaly(FRAME)[0], value=answer, probabilities=((answer, 0.8), (OTHER_OF[answer], 0.2)))
    (group,) = [it for it in groups_of(report_of(anomaly)[0]) if children(it, codes.PROBABILITY)]
    assert answers(group, codes.FINDING) == [answer.meaning]
    assert answers(group, s.CNS) == [answer.meaning]
    assert answers(group, codes.NORMALITY) == [said]


def test_the_quality_of_a_plane_is_rated() -> None:
    standard, other = codes.STANDARD_PLANE, Concept("NON_STANDARD", "99FETALAI", "Not a standard plane")
    question = Concept("PLANE_QUALITY", "99FETALAI", "Quality of the plane")
    quality = Classification(
        "structures", (FRAME,), "plane_quality", question, other, "non_standard", ((standard, 0.23), (other, 0.77))
    )
    (group,) = [it for it in groups_of(report_of(quality)[0]) if children(it, codes.PROBABILITY)]
    (rating,) = children(group, codes.IMAGE_QUALITY_RATING)
    measured = rating.MeasuredValueSequence[0]
    assert (float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue) == (23.0, "%")
    assert answers(group, question) == ["Not a standard plane"]


def test_a_report_says_of_which_structure_and_learned_from_what(tmp_path: Path) -> None:
    report, part10 = report_of(CATEGORY)
    (site,) = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in walk(report)
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Finding Site"
    ]
    assert site == s.NASAL_BONE.meaning
    assert [item.TextValue for item in walk(report) if item.get("TextValue") == LEARNED] == [LEARNED]
    path = tmp_path / "report.dcm"
    path.write_bytes(part10)
    checked = subprocess.run(["/usr/bin/dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    assert "Error" not in checked.stderr


def walk(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    """List the content items of a tree, all with a name."""
    children = item.get("ContentSequence", [])
    return [found for child in children for found in [child, *walk(child)] if "ConceptNameCodeSequence" in found]


def test_it_is_said_in_words_with_its_structure_and_reserve() -> None:
    (said,) = summarise([CATEGORY], [])
    assert said["name"] == f"{s.NASAL_BONE.meaning}: normality"
    assert (said["value"], said["note"]) == ("Borderline", f"60 %; {LEARNED}")
