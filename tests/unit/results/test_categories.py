"""A class that is about a part of the frame, and that was learned from simulated pictures, says so everywhere."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pydicom
import synthetic as s

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.domain.result import ResultObject
from dicom_node.domain.summary import summarise
from dicom_node.results.build import build_objects
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
)


def test_a_report_says_of_which_structure_and_learned_from_what(tmp_path: Path) -> None:
    frames = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}
    found = build_objects(s.analysis([CATEGORY]), [IMAGE], frames, NodeIdentity("DICOM_NODE"))[0]
    assert isinstance(found, ResultObject)
    report = pydicom.dcmread(io.BytesIO(found.part10))
    (site,) = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in walk(report)
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Finding Site"
    ]
    assert site == s.NASAL_BONE.meaning
    assert [item.TextValue for item in walk(report) if item.get("TextValue") == LEARNED] == [LEARNED]
    path = tmp_path / "report.dcm"
    path.write_bytes(found.part10)
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
