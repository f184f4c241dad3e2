"""Segmentations, presentation states and key objects: where they lie, what they say, and what the gate holds back."""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import synthetic as s
from highdicom.color import CIELabColor
from highdicom.seg import segread
from pydicom import Dataset

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding, Graphic, Segmentation
from dicom_node.domain.frame import Calibration, Frame, Region
from dicom_node.domain.result import ResultObject, StudyAnalysis
from dicom_node.errors import NonConformantObject
from dicom_node.profile import SERIES_NUMBERS, ObjectKind, Profile
from dicom_node.results.build import QuarantinedObject, build_objects
from dicom_node.results.gate import check
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.loop_guard import is_own_result
from dicom_node.results.render import colours_of
from dicom_node.results.segmentation import mask_of

NODE = NodeIdentity("DICOM_NODE")
EVERYTHING = Profile(objects=tuple(SERIES_NUMBERS))
CINE = s.header(s.US_MULTI_FRAME, NumberOfFrames=4, Rows=120, Columns=160)
FRAME = s.reference(CINE, 2)
NORMALITY, NORMAL = Concept("121402", "DCM", "Normality"), Concept("17621005", "SCT", "Normal")
ABNORMAL = Concept("263654008", "SCT", "Abnormal")


def outlined(*points: tuple[float, float], name: str = "head") -> Segmentation:
    return Segmentation("biometry", FRAME, name, s.HEAD, Graphic("polyline", (*points, points[0])), 0.9)


SQUARE = ((40.0, 30.0), (80.0, 30.0), (80.0, 70.0), (40.0, 70.0))
OVERLAPPING = ((60.0, 50.0), (100.0, 50.0), (100.0, 90.0), (60.0, 90.0))


UNKNOWN = Calibration(reason="none")


def built(
    findings: Sequence[Finding], header: Dataset = CINE, profile: Profile = EVERYTHING, scale: Calibration = UNKNOWN
) -> dict[str, Dataset]:
    frame = s.reference(header, FRAME.frame_number if "NumberOfFrames" in header else None)
    pictures = {frame: Frame(frame, s.picture(), scale)}
    objects = {}
    for result in build_objects(s.analysis(findings), [header], pictures, NODE, profile=profile):
        assert isinstance(result, ResultObject), result
        objects[result.kind] = pydicom.dcmread(io.BytesIO(result.part10))
    return objects


def test_a_mask_covers_the_pixels_whose_centres_lie_in_the_outline() -> None:
    mask = mask_of(outlined(*SQUARE), (120, 160))
    assert mask[30:70, 40:80].all()
    assert int(mask.sum()) == 40 * 40


def test_a_segmentation_holds_each_outline_apart_even_where_they_overlap(tmp_path: Path) -> None:
    ds = built([outlined(*SQUARE), outlined(*OVERLAPPING, name="abdomen")])["segmentation"]
    read = segread(s.write(ds, tmp_path / "seg.dcm"))
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["head", "abdomen"]
    masks = read.get_pixels_by_source_frame(FRAME.sop_instance_uid, [2])[0]
    for place, points in enumerate((SQUARE, OVERLAPPING)):
        rows, columns = np.nonzero(masks[..., place])
        assert abs(columns.min() - points[0][0]) <= 1
        assert abs(rows.max() + 1 - points[2][1]) <= 1
    assert masks[60, 70].all()


def test_a_mask_has_the_scale_of_the_region_that_holds_it_or_none(tmp_path: Path) -> None:
    region = Region(20, 10, 120, 100, mm_per_px_x=0.2, mm_per_px_y=0.25)
    ds = built([outlined(*SQUARE)], scale=Calibration((region,)))["segmentation"]
    (shared,) = ds.SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.25, 0.2]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    masks = segread(s.write(ds, tmp_path / "seg.dcm")).get_pixels_by_source_frame(FRAME.sop_instance_uid, [2])
    assert masks[0, 50, 60, 0]
    reaching_out = outlined((5.0, 30.0), (80.0, 30.0), (80.0, 70.0))
    for findings in ([reaching_out], [outlined(*SQUARE), reaching_out]):
        ds = built(findings, scale=Calibration((region,)))["segmentation"]
        assert "PixelMeasuresSequence" not in ds.SharedFunctionalGroupsSequence[0]


def test_every_mask_is_a_series_of_its_own_because_viewers_open_one_of_a_series() -> None:
    frames = [s.reference(CINE, number) for number in (1, 2)]
    pictures = {frame: Frame(frame, s.picture(), UNKNOWN) for frame in frames}
    findings = [Segmentation("biometry", it, "head", s.HEAD, outlined(*SQUARE).contour, 0.9) for it in frames]
    made = build_objects(s.analysis(findings), [CINE], pictures, NODE, profile=EVERYTHING)
    assert len({it.series_instance_uid for it in made if it.kind == "segmentation"}) == 2


def test_a_segment_is_tracked_by_the_name_that_the_report_uses() -> None:
    objects = built([outlined(*SQUARE)])
    tracked = objects["segmentation"].SegmentSequence[0].TrackingUID
    assert tracked in [str(e.value) for e in objects["findings_sr"].iterall() if e.keyword == "UID"]


def test_a_mask_has_the_colour_of_its_structure_on_the_overlays() -> None:
    findings = [outlined(*SQUARE)]
    (segment,) = built(findings)["segmentation"].SegmentSequence
    stated = CIELabColor(*lab(segment.RecommendedDisplayCIELabValue)).to_rgb()
    assert stated == pytest.approx(colours_of(findings)[findings[0].name], abs=2)


def lab(value: Sequence[int]) -> tuple[float, float, float]:
    """Undo the scaling of PS3.3 C.10.7.1.1."""
    l_star, a_star, b_star = value
    return l_star * 100 / 65535, a_star * 255 / 65535 - 128, b_star * 255 / 65535 - 128


def test_a_mask_of_a_cine_names_class_and_frame() -> None:
    ds = built([outlined(*SQUARE)])["segmentation"]
    (reference,) = ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert (reference.ReferencedSOPClassUID, reference.ReferencedFrameNumber) == (s.US_MULTI_FRAME, 2)
    (source,) = ds.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedFrameNumber) == (s.US_MULTI_FRAME, 2)
    listed = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert listed.ReferencedSOPClassUID == s.US_MULTI_FRAME


def test_a_presentation_state_draws_boxes_ellipses_and_words_on_their_frame() -> None:
    ds = built(s.findings(FRAME))["presentation_state"]
    (annotation,) = ds.GraphicAnnotationSequence
    assert annotation.ReferencedImageSequence[0].ReferencedFrameNumber == 2
    shapes = {shape.GraphicType for shape in annotation.GraphicObjectSequence}
    assert shapes == {"POLYLINE", "ELLIPSE"}
    assert list(annotation.GraphicObjectSequence[0].GraphicData)[:4] == [60, 50, 90, 50]
    words = [text.UnformattedTextValue for text in annotation.TextObjectSequence]
    assert words[0] == "AI RESULT, NOT FOR MEASUREMENT, INVESTIGATIONAL"
    assert "thalami 87 %" in words
    assert "HC 44.3 mm" in words


@pytest.mark.parametrize(
    ("photometric", "sop_class_uid"),
    [("RGB", "1.2.840.10008.5.1.4.1.1.11.2"), ("PALETTE COLOR", "1.2.840.10008.5.1.4.1.1.11.2"),
     ("YBR_FULL_422", "1.2.840.10008.5.1.4.1.1.11.2"), ("MONOCHROME2", "1.2.840.10008.5.1.4.1.1.11.1"),
     ("MONOCHROME1", "1.2.840.10008.5.1.4.1.1.11.1")],
)  # fmt: skip
def test_the_kind_of_presentation_state_follows_the_pixels(photometric: str, sop_class_uid: str) -> None:
    header = s.header(Rows=120, Columns=160, PhotometricInterpretation=photometric)
    ds = built(s.findings(s.reference(header)), header)["presentation_state"]
    assert ds.SOPClassUID == sop_class_uid
    shapes = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
    assert ds.get("PresentationLUTShape") == shapes.get(photometric)
    assert ("ICCProfile" in ds) == (photometric not in shapes)


def test_a_key_object_selects_the_frames_of_an_anomaly_and_its_heat_map() -> None:
    objects = built([*s.findings(FRAME), *s.anomaly(FRAME, s.reference(CINE, 4))])  # the heat map is of the first
    ko, heat_map = objects["key_object"], objects["secondary_capture"]  # the last capture
    assert ko.ConceptNameCodeSequence[0].CodeValue == "113000"
    selected = [item.ReferencedSOPSequence[0] for item in ko.ContentSequence if item.ValueType == "IMAGE"]
    assert [it.ReferencedSOPInstanceUID for it in selected] == [FRAME.sop_instance_uid, heat_map.SOPInstanceUID]
    assert selected[0].ReferencedFrameNumber == 2


def test_a_heat_map_of_something_else_is_not_selected() -> None:
    explained_plane = dataclasses.replace(s.anomaly(FRAME)[1], task="planes", value=s.BRAIN_TT)  # type: ignore[type-var]
    ko = built([*s.findings(FRAME), s.anomaly(FRAME)[0], explained_plane])["key_object"]
    assert len([item for item in ko.ContentSequence if item.ValueType == "IMAGE"]) == 1


def test_an_answer_without_a_heat_map_is_shown_by_all_its_frames() -> None:
    ko = built([*s.findings(FRAME), *s.anomaly(FRAME, s.reference(CINE, 4))[:1]])["key_object"]
    (selected,) = [item.ReferencedSOPSequence[0] for item in ko.ContentSequence if item.ValueType == "IMAGE"]
    assert list(selected.ReferencedFrameNumber) == [2, 4]


def test_a_normal_study_has_no_key_object_and_one_without_outlines_no_segmentation() -> None:
    normal = Classification(
        "structures",
        (FRAME,),
        "x_category",
        NORMALITY,
        NORMAL,
        "normal",
        ((NORMAL, 0.9), (ABNORMAL, 0.1)),
        site=s.THALAMI,
    )
    assert {"key_object", "segmentation"}.isdisjoint(built([*s.findings(FRAME), normal]))


def test_by_default_there_are_none_of_them() -> None:
    objects = built([*s.findings(FRAME), outlined(*SQUARE), *s.anomaly(FRAME)], profile=Profile())
    assert set(objects) == {"findings_sr", "biometry_sr", "secondary_capture"}


def test_they_are_ours_and_keep_the_patient_and_repeat_byte_for_byte() -> None:
    header = s.as_read(s.changed(s.header(Rows=120, Columns=160), SpecificCharacterSet="ISO_IR 144",
                                 PatientName="Иванова^Анна"))  # fmt: skip
    frame = s.reference(header)
    found = [dataclasses.replace(outlined(*SQUARE), frame=frame), *s.findings(frame), *s.anomaly(frame)]
    first, again = built(found, header), built(found, header)
    assert set(first) == set(SERIES_NUMBERS) - {"cine_capture"}
    for kind, ds in first.items():
        assert str(ds.PatientName) == "Иванова^Анна"
        assert is_own_result(ds), kind
        assert ds == again[kind]
        assert ds.SeriesNumber == SERIES_NUMBERS[kind]  # type: ignore[index]


def test_an_empty_outline_costs_the_segmentation_alone() -> None:
    dot = outlined((10.2, 10.2), (10.3, 10.2), (10.3, 10.3))
    far = dataclasses.replace(dot, contour=Graphic("polyline", ((500.0, 500.0), (501.0, 500.0), (500.0, 500.0))))
    frame = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}
    results = build_objects(s.analysis([far]), [CINE], frame, NODE, profile=Profile(objects=("segmentation",)))
    (result,) = results
    assert isinstance(result, QuarantinedObject)
    assert "is empty" in result.reason


FAULTS: dict[str, tuple[ObjectKind, Callable[[Dataset], object], str]] = {
    "mask without frame": (
        "segmentation",
        lambda ds: ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0].pop(
            "ReferencedFrameNumber"
        ),
        "which frame of the cine",
    ),
    "mask of another class": (
        "segmentation",
        lambda ds: setattr(
            ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0], "ReferencedSOPClassUID", s.US_IMAGE
        ),
        "referenced as another class",
    ),
    "short masks": ("segmentation", lambda ds: setattr(ds, "PixelData", ds.PixelData[:-100]), "bytes for 1 masks"),
    "nameless segment": (
        "segmentation", lambda ds: ds.SegmentSequence[0].pop("SegmentAlgorithmName"), "which algorithm found it",
    ),
    "untracked segment": ("segmentation", lambda ds: ds.SegmentSequence[0].pop("TrackingUID"), "no tracking UID"),
    "annotation without frame": (
        "presentation_state",
        lambda ds: ds.GraphicAnnotationSequence[0].ReferencedImageSequence[0].pop("ReferencedFrameNumber"),
        "which frame of the cine",
    ),
    "annotation outside": (
        "presentation_state",
        lambda ds: setattr(ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0], "GraphicData", [0.0, 0.0, 161.0]),
        "reaches outside its image",
    ),
    "no warning": (
        "presentation_state",
        lambda ds: setattr(ds.GraphicAnnotationSequence[0].TextObjectSequence[0], "UnformattedTextValue", "AI"),
        "not for measurement",
    ),
    "no profile": ("presentation_state", lambda ds: ds.pop("ICCProfile"), "ICCProfile has no value"),
    "another title": (
        "key_object", lambda ds: setattr(ds.ConceptNameCodeSequence[0], "CodeValue", "113001"), "not Of Interest",
    ),
    "an unknown image": (
        "key_object",
        lambda ds: setattr(ds.ContentSequence[-1].ReferencedSOPSequence[0], "ReferencedSOPInstanceUID", "1.2.3"),
        "1.2.3 is not in",
    ),
    "a whole cine": (
        "key_object",
        lambda ds: [
            reference.pop("ReferencedFrameNumber")
            for item in ds.ContentSequence
            for reference in item.get("ReferencedSOPSequence", [])
            if "ReferencedFrameNumber" in reference
        ],
        "which frame of the cine it selects",
    ),
    "a mask of another meaning": (
        "segmentation",
        lambda ds: setattr(ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0], "CodeMeaning", "Tail"),
        "69536005 does not mean Tail",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> tuple[dict[str, Dataset], list[Dataset]]:
    objects = built([outlined(*SQUARE), *s.findings(FRAME), *s.anomaly(FRAME)])
    return objects, [CINE, objects["secondary_capture"]]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_one_is_held_back(fault: str, sound: tuple[dict[str, Dataset], list[Dataset]], tmp_path: Path) -> None:
    kind, spoil, reason = FAULTS[fault]
    objects, study = sound
    whole = s.write(objects[kind], tmp_path / "whole.dcm")
    check(kind, whole.read_bytes(), study)
    ds = pydicom.dcmread(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spoil(ds)
    with pytest.raises(NonConformantObject, match=reason):
        check(kind, s.write(ds, tmp_path / "spoilt.dcm").read_bytes(), study)


def test_an_analysis_is_not_changed_by_building() -> None:
    analysis: StudyAnalysis = s.analysis([outlined(*SQUARE)])
    frame = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}
    before = frame[FRAME].pixels.copy()
    build_objects(analysis, [CINE], frame, NODE, profile=EVERYTHING)
    assert np.array_equal(before, frame[FRAME].pixels)
