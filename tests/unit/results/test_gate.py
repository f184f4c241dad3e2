"""Each rule of the gate is shown to fail on the fault that it is there for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy

import pytest
import synthetic as s
from pydicom import Dataset
from spoiling import drop, first
from spoiling import first_of_type as of_type

from dicom_node.domain.finding import Detection
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.errors import NonConformantObject
from dicom_node.profile import Profile
from dicom_node.results import codes
from dicom_node.results.captures import build_capture
from dicom_node.results.document import part10
from dicom_node.results.findings_sr import build_report, subjects_of
from dicom_node.results.gate import check
from dicom_node.results.identity import NodeIdentity

NODE = NodeIdentity("DICOM_NODE")
CINE = s.header(s.US_MULTI_FRAME, NumberOfFrames=4, Rows=120, Columns=160)
FRAME = s.reference(CINE, 2)


def report() -> Dataset:
    analysis = s.analysis(s.findings(FRAME))
    # A copy to break: highdicom gives every report of the process the same item for its language.
    return deepcopy(build_report(subjects_of(analysis)[0], analysis, [CINE], NODE))


def capture() -> Dataset:
    analysis = s.analysis(s.findings(FRAME))
    frame = Frame(FRAME, s.picture(), Calibration(reason="none"))
    return build_capture(frame, 1, CINE, patient=CINE, analysis=analysis, node=NODE, profile=Profile())


def image_of_shape(ds: Dataset) -> Dataset:
    return of_type(ds, "SCOORD").ContentSequence[0].ReferencedSOPSequence[0]


def same_tracking(ds: Dataset) -> None:
    uids = [i for i in ds.iterall() if i.keyword == "UID"]
    for element in uids:
        element.value = "2.25.5"


FAULTS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "no patient name": (lambda ds: ds.pop("PatientName"), "PatientName is missing"),
    "empty completion flag": (lambda ds: setattr(ds, "CompletionFlag", ""), "CompletionFlag has no value"),
    "verified": (lambda ds: setattr(ds, "VerificationFlag", "VERIFIED"), "UNVERIFIED"),
    "bad uid": (lambda ds: setattr(ds, "SeriesInstanceUID", "1.02.3"), "no valid UID"),
    "other study": (lambda ds: setattr(ds, "StudyInstanceUID", "1.2.3"), "another study"),
    "no group": (lambda ds: drop(ds, codes.MEASUREMENT_GROUP), "no measurement group"),
    "tracked twice": (same_tracking, "same tracking UID"),
    "anonymous algorithm": (lambda ds: drop(ds, codes.ALGORITHM_NAME), "which algorithm"),
    "no scheme declared": (lambda ds: ds.pop("CodingSchemeIdentificationSequence"), "99FETALAI is not declared"),
    "long code": (
        lambda ds: setattr(of_type(ds, "CODE").ConceptCodeSequence[0], "CodeMeaning", "x" * 65), "a code is too long",
    ),
    "code without meaning": (
        lambda ds: setattr(of_type(ds, "CODE").ConceptCodeSequence[0], "CodeMeaning", ""), "a code is incomplete",
    ),
    "unit": (
        lambda ds: setattr(
            first(ds, codes.CERTAINTY).MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0],
            "CodingSchemeDesignator", "DCM",
        ),
        "no finite value with a unit",
    ),
    "other class": (
        lambda ds: setattr(image_of_shape(ds), "ReferencedSOPClassUID", s.US_IMAGE), "referenced as another class",
    ),
    "no such frame": (lambda ds: setattr(image_of_shape(ds), "ReferencedFrameNumber", 9), "frame 9 of 4 frames"),
    "frame forgotten": (lambda ds: image_of_shape(ds).pop("ReferencedFrameNumber"), "which frame of the cine"),
    "outside": (
        lambda ds: setattr(of_type(ds, "SCOORD"), "GraphicData", [0.0, 0.0, 161.0, 5.0]), "reaches outside its image",
    ),
}  # fmt: skip


def test_a_sound_report_passes() -> None:
    check("findings_sr", part10(report()), [CINE])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_report_is_held_back(fault: str) -> None:
    spoil, reason = FAULTS[fault]
    ds = report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on some faults
        spoil(ds)
    with pytest.raises(NonConformantObject, match=reason):
        check("findings_sr", part10(ds), [CINE])


CAPTURE_FAULTS: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "measurable": (lambda ds: setattr(ds, "PixelSpacing", [1, 1]), "has PixelSpacing"),
    "short pixels": (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]), "57598 bytes instead of 57600"),
    "original": (lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY"]), "does not say that it is derived"),
    "not burned in": (lambda ds: setattr(ds, "BurnedInAnnotation", "NO"), "burned in"),
    "no source": (lambda ds: ds.pop("SourceImageSequence"), "SourceImageSequence has no value"),
    "unknown source": (
        lambda ds: setattr(ds.SourceImageSequence[0], "ReferencedSOPInstanceUID", "1.2"), "is not in the study",
    ),
    "other geometry": (lambda ds: (setattr(ds, "Rows", 160), setattr(ds, "Columns", 120)), "another geometry"),
}  # fmt: skip


def test_a_sound_capture_passes() -> None:
    check("secondary_capture", part10(capture()), [CINE])


@pytest.mark.parametrize("fault", CAPTURE_FAULTS)
def test_a_faulty_capture_is_held_back(fault: str) -> None:
    spoil, reason = CAPTURE_FAULTS[fault]
    ds = capture()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on some faults
        spoil(ds)
    with pytest.raises(NonConformantObject, match=reason):
        check("secondary_capture", part10(ds), [CINE])


def test_bytes_that_cannot_be_read_back_are_held_back() -> None:
    with pytest.raises(NonConformantObject, match="cannot be read back"):
        check("findings_sr", part10(report())[:300][:100], [CINE])


def test_a_box_outside_the_picture_is_held_back() -> None:
    analysis = s.analysis(
        [Detection("structures", FRAME, "thalami", s.THALAMI, s.THALAMI, (-3.0, 0.0, 20.0, 20.0), 0.5)]
    )
    ds = build_report(subjects_of(analysis)[0], analysis, [CINE], NODE)
    with pytest.raises(NonConformantObject, match="outside its image"):
        check("findings_sr", part10(ds), [CINE])
