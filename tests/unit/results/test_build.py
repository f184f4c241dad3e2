from __future__ import annotations

import copy
import dataclasses
import io
from datetime import date, timedelta
from functools import partial

import numpy as np
import pydicom
import pytest
import synthetic as s
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.domain.finding import Classification, Graphic, Measurement, Segmentation
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.domain.key_frames import SeenFrame
from dicom_node.domain.result import Algorithm, CineSampling, NotAnalysed, ResultObject
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.profile import SERIES_NUMBERS, Profile
from dicom_node.results import codes
from dicom_node.results.build import QuarantinedObject, build_objects
from dicom_node.results.evidence import INHERITED, patient_and_study
from dicom_node.results.findings_sr import Subject, outcome_of
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.loop_guard import is_own_result
from dicom_node.results.report import SOP_CLASS_UID, Predecessor

NODE = NodeIdentity("DICOM_NODE", institution="Clinic")
STILL = s.header(Rows=120, Columns=160)
FRAME = s.reference(STILL)
in_pixels = partial(s.findings, millimetres=False)  # without a report of biometry
ANALYSIS = s.analysis(in_pixels(FRAME))
KEY_FRAMES = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}


def read(result: object) -> Dataset:
    assert isinstance(result, ResultObject), result
    return pydicom.dcmread(io.BytesIO(result.part10))


def build(**changes: object) -> list[Dataset]:
    arguments = {"analysis": ANALYSIS, "headers": [STILL], "key_frames": KEY_FRAMES, "node": NODE} | changes
    return [read(result) for result in build_objects(**arguments)]  # type: ignore[arg-type]


def texts(ds: Dataset) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.keyword == "TextValue"]


def test_a_report_a_summary_page_and_an_overlay_are_made() -> None:
    results = build_objects(ANALYSIS, [STILL], KEY_FRAMES, NODE)
    assert [result.kind for result in results] == ["findings_sr", "secondary_capture", "secondary_capture"]


def test_a_heat_map_has_an_overlay_of_its_own_to_which_the_report_points() -> None:
    report, page, plain, heat = build(analysis=s.analysis([*in_pixels(FRAME), *s.anomaly(FRAME)]))
    assert "heat map (Grad-CAM)" in heat.DerivationDescription
    assert plain.SOPInstanceUID != heat.SOPInstanceUID
    assert page.SeriesInstanceUID == plain.SeriesInstanceUID == heat.SeriesInstanceUID
    assert (page.InstanceNumber, plain.InstanceNumber, heat.InstanceNumber) == (1, 2, 3)
    assert plain.PixelData != heat.PixelData
    items = [item for element in report.iterall() if element.VR == "SQ" for item in element.value]
    shown = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items
        if item.get("ValueType") == "IMAGE"
        and "ConceptNameCodeSequence" in item
        and item.ConceptNameCodeSequence[0].CodeValue == codes.VISUAL_EXPLANATION.value
    ]
    assert shown == [heat.SOPInstanceUID]
    assert len({ds.SOPInstanceUID for ds in build(analysis=s.analysis(s.anomaly(FRAME)))}) == 4


def test_a_heat_map_without_its_classification_is_drawn_and_not_pointed_to() -> None:
    report, _, _, heat = build(analysis=s.analysis(s.anomaly(FRAME)[1:]))
    assert heat.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert codes.VISUAL_EXPLANATION.value not in [str(e.value) for e in report.iterall() if e.keyword == "CodeValue"]


def test_a_repeat_makes_the_same_bytes() -> None:
    assert build_objects(ANALYSIS, [STILL], KEY_FRAMES, NODE) == build_objects(ANALYSIS, [STILL], KEY_FRAMES, NODE)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"algorithms": (*s.ALGORITHMS[:-1], Algorithm("biometry", "HeadUNet", "1.0.1", "2" * 64))},
        {"analysed_at": ANALYSIS.analysed_at + timedelta(microseconds=1)},
        {"findings": ANALYSIS.findings[:-1]},
        {"scanner_report": ScannerReport("1.2.3", date(2026, 1, 2))},
        {"sampling": (CineSampling("1.2", 9, 9),)},
    ],
)
def test_another_answer_makes_other_instances_in_other_series(changes: dict[str, object]) -> None:
    other = build(analysis=dataclasses.replace(ANALYSIS, **changes))  # type: ignore[arg-type]
    for uid in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert {ds[uid].value for ds in build()}.isdisjoint(ds[uid].value for ds in other)


def test_another_frame_of_a_cine_is_another_answer() -> None:
    first, second = (
        dataclasses.replace(ANALYSIS, sampling=(CineSampling("1.2", 9, 9, (SeenFrame(FRAME, "brain", sure, ()),)),))
        for sure in (0.9, 0.8)
    )
    assert first.digest != second.digest
    assert first.digest == dataclasses.replace(second, sampling=first.sampling).digest


def test_another_node_makes_other_instances() -> None:
    other = build(node=dataclasses.replace(NODE, ae_title="OTHER"))
    assert {ds.SOPInstanceUID for ds in build()}.isdisjoint(ds.SOPInstanceUID for ds in other)


def test_all_objects_name_one_patient_when_the_name_was_corrected_on_the_way() -> None:
    corrected = s.image(number=2, SpecificCharacterSet="ISO_IR 100", PatientName="Döe^Janet", PatientBirthDate=None)
    corrected.StudyInstanceUID = STILL.StudyInstanceUID
    second = s.reference(corrected)
    square = Graphic("polyline", ((10.0, 10.0), (90.0, 10.0), (90.0, 90.0), (10.0, 90.0), (10.0, 10.0)))
    outline = Segmentation("biometry", second, "head", s.HEAD, square, 0.9)
    made = build(
        analysis=s.analysis([*in_pixels(FRAME), *in_pixels(second), *s.anomaly(second), outline]),
        headers=[STILL, corrected],
        key_frames=KEY_FRAMES | {second: Frame(second, s.picture(), Calibration(reason="none"))},
        profile=Profile(objects=tuple(SERIES_NUMBERS)),
    )
    assert {ds.Modality for ds in made} == {"SR", "OT", "SEG", "PR", "KO"}
    assert {(str(ds.PatientName), ds.PatientBirthDate) for ds in made} == {("Doe^Jane", "19900101")}
    assert str(corrected.PatientName) == "Döe^Janet"


def test_the_patient_has_the_name_that_most_images_say() -> None:
    corrected = [s.image(number=number, PatientName="Roe^Jane") for number in (2, 3)]
    assert STILL.SOPInstanceUID < corrected[0].SOPInstanceUID
    assert {str(ds.PatientName) for ds in build(headers=[STILL, *corrected])} == {"Roe^Jane"}


def test_an_instance_that_names_nobody_does_not_make_all_objects_nameless() -> None:
    nameless = s.image(number=0, PatientID=None, PatientName=None)
    assert nameless.SOPInstanceUID < STILL.SOPInstanceUID
    made = build(
        headers=[nameless, STILL],
        analysis=s.analysis(in_pixels(FRAME), [NotAnalysed(str(nameless.SOPInstanceUID), "odd")]),
    )
    assert {(str(ds.PatientName), ds.PatientID) for ds in made} == {("Doe^Jane", "12345")}


def test_tracking_uids_stay_when_only_the_version_counts_up() -> None:
    def tracking(ds: Dataset) -> list[str]:
        return [str(element.value) for element in ds.iterall() if element.keyword == "UID"]

    assert tracking(build()[0]) == tracking(build(analysis=dataclasses.replace(ANALYSIS, version=2))[0])


def test_uids_lie_under_the_root_of_the_site() -> None:
    node = dataclasses.replace(NODE, uid_root="1.2.826.0.1.3680043.10.999")
    for ds in build(node=node):
        assert ds.SOPInstanceUID.startswith("1.2.826.0.1.3680043.10.999.")
        assert ds.SOPInstanceUID.is_valid


def test_the_scanners_header_is_not_changed() -> None:
    before = copy.deepcopy(STILL)
    build()
    assert before == STILL


def test_a_new_version_names_the_reports_that_it_replaces() -> None:
    report = build(previous=[Predecessor(SOP_CLASS_UID, "2.25.1", "2.25.2")])[0]
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == "2.25.2"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.1"


def test_a_report_begins_with_what_has_a_region_where_viewers_open_it() -> None:
    content = build(analysis=s.analysis([*s.anomaly(FRAME), *in_pixels(FRAME)]))[0].ContentSequence
    (measurements,) = (item for item in content if item.ConceptNameCodeSequence[0].CodeValue == "126010")
    has_region = [
        any(item.ValueType == "SCOORD" for item in group.ContentSequence) for group in measurements.ContentSequence
    ]
    assert True in has_region
    assert False in has_region
    assert has_region == sorted(has_region, reverse=True)


def test_the_reports_of_fetus_and_mother_are_series_of_their_own_because_viewers_open_one_of_a_series() -> None:
    shows_cervix = Classification("planes", (FRAME,), "plane", s.IMAGE_VIEW, s.CERVIX, "cervix", ((s.CERVIX, 1.0),))
    reports = [ds for ds in build(analysis=s.analysis([shows_cervix])) if ds.Modality == "SR"]
    assert len({ds.SeriesInstanceUID for ds in reports}) == len(reports) == 2


def test_a_measured_ellipse_is_a_line_in_the_report_of_findings_and_stays_inside_its_image() -> None:
    ends = ((10.0, 4.0), (150.0, 116.0), (112.0, 4.0), (48.0, 116.0))
    oblique = Measurement(
        "biometry", FRAME, "HC", s.HEAD_CIRCUMFERENCE, 400.0, "{pixels}", Graphic("ellipse", ends), s.HEAD
    )
    (shape,) = (item for item in build(analysis=s.analysis([oblique]))[0].iterall() if item.keyword == "GraphicData")
    points = np.array(shape.value).reshape(-1, 2)
    assert (points[0] == points[-1]).all()
    assert (points.min(axis=0) >= 0).all()
    assert (points.max(axis=0) <= (160, 120)).all()
    assert len(points) > 100


def test_what_could_not_be_analysed_is_said_once_per_reason() -> None:
    uid = str(STILL.SOPInstanceUID)
    analysis = s.analysis((), [NotAnalysed(uid, "no decoder"), NotAnalysed(uid, "model missing", task="biometry")])
    said = texts(build(analysis=analysis, key_frames={})[0])
    assert "no decoder" in said
    assert "biometry: model missing" in said


@pytest.mark.parametrize(
    ("found", "failed", "outcome"),
    [
        (in_pixels(FRAME), (), codes.ALL_SUCCEEDED_WITH_FINDINGS),
        (in_pixels(FRAME)[-1:], (), codes.ALL_SUCCEEDED_WITHOUT_FINDINGS),
        ((), (), codes.ALL_SUCCEEDED_WITHOUT_FINDINGS),
        (in_pixels(FRAME), (NotAnalysed("1", "x"),), codes.SOME_FAILED_WITH_FINDINGS),
        (in_pixels(FRAME)[-1:], (NotAnalysed("1", "x"),), codes.SOME_FAILED_WITHOUT_FINDINGS),
        ((), (NotAnalysed("1", "x"),), codes.NONE_SUCCEEDED),
    ],
)
def test_the_outcome_is_coded(found: tuple[object, ...], failed: tuple[NotAnalysed, ...], outcome: object) -> None:
    assert outcome_of(Subject("fetus", found, failed)) == outcome  # type: ignore[arg-type]


def test_a_finding_of_an_unknown_instance_quarantines_the_report_alone() -> None:
    stray = dataclasses.replace(FRAME, sop_instance_uid="1.2.3")
    analysis = dataclasses.replace(ANALYSIS, findings=(*ANALYSIS.findings, *in_pixels(stray)))
    report, _, capture = build_objects(analysis, [STILL], KEY_FRAMES, NODE)
    assert isinstance(report, QuarantinedObject)
    assert "1.2.3, which is not in evidence" in report.reason
    assert isinstance(capture, ResultObject)


def test_a_study_without_any_header_gives_no_report_but_the_reason() -> None:
    (report,) = build_objects(s.analysis(), [], {}, NODE)
    assert isinstance(report, QuarantinedObject)
    assert "the patient is not known" in report.reason


def test_the_overlay_keeps_geometry_and_tells_where_it_is_from() -> None:
    capture = build()[-1]
    assert (capture.Rows, capture.Columns) == (120, 160)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == STILL.SOPInstanceUID
    assert not np.array_equal(capture.pixel_array, s.picture())


@pytest.mark.parametrize("lossy", [None, "01"])
def test_the_overlay_keeps_the_lossy_history(lossy: str | None) -> None:
    source = s.header(Rows=120, Columns=160, LossyImageCompression=lossy)
    assert build(headers=[source])[-1].get("LossyImageCompression") == lossy


def test_contents_are_dated_in_the_time_zone_of_the_study() -> None:
    source = s.header(Rows=120, Columns=160, TimezoneOffsetFromUTC="+0530")
    assert [(ds.ContentTime, ds.TimezoneOffsetFromUTC) for ds in build(headers=[source])] == [("180005", "+0530")] * 3


@pytest.mark.parametrize(("charset", "name"), s.NAMES.items())
def test_a_name_survives_in_any_character_set(charset: str | tuple[str, ...], name: str) -> None:
    character_set = list(charset) if isinstance(charset, tuple) else charset
    source = s.as_read(s.header(Rows=120, Columns=160, PatientName=name, SpecificCharacterSet=character_set))
    assert [str(ds.PatientName) for ds in build(headers=[source])] == [name] * 3


def test_a_name_survives_beside_an_institution_that_its_character_set_cannot_hold() -> None:
    source = s.as_read(s.header(Rows=120, Columns=160, PatientName="Иванова^Анна", SpecificCharacterSet="ISO_IR 144"))
    report = build(headers=[source], node=dataclasses.replace(NODE, institution="東京病院"))[0]
    assert (str(report.PatientName), report.InstitutionName) == ("Иванова^Анна", "東京病院")
    assert report.SpecificCharacterSet == "ISO_IR 192"


def test_missing_type_2_attributes_are_there_and_empty() -> None:
    inherited = patient_and_study(Dataset())
    assert "AccessionNumber" in inherited
    assert inherited["AccessionNumber"].is_empty


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_of_an_old_scanner_with_leading_zeros_cost_no_result() -> None:
    uids = {"StudyInstanceUID": "1.2.03", "SeriesInstanceUID": "1.2.03.004", "SOPInstanceUID": "1.2.03.004.05"}
    source = s.as_read(s.header(Rows=120, Columns=160, **uids))
    frame = s.reference(source)
    report, _, capture = build(
        analysis=s.analysis(in_pixels(frame), study_instance_uid="1.2.03"),
        headers=[source],
        key_frames={frame: Frame(frame, s.picture(), Calibration(reason="none"))},
    )
    assert report.StudyInstanceUID == capture.StudyInstanceUID == "1.2.03"
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.03.004.05"
    assert report.SOPInstanceUID.is_valid


def test_a_local_procedure_code_of_the_clinic_costs_no_result() -> None:
    code = s.changed(Dataset(), CodeValue="US7", CodingSchemeDesignator="99CLINIC", CodeMeaning="")
    assert build(headers=[s.header(Rows=120, Columns=160, ProcedureCodeSequence=[code])])[0].ProcedureCodeSequence


ODD_VALUES = (b"", b"abc ", b"1", b"-3", b"3.7 ", b"\xff\xfe\xff", b"1\\2", b"9" * 20)


def with_odd(keyword: str, value: bytes) -> Dataset:
    """Give the header of a second instance, with an element as its bytes were read."""
    source = s.header(number=2, Rows=120, Columns=160)
    tag = Tag(keyword)
    source[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return source


@pytest.mark.filterwarnings("ignore")  # pydicom remarks on each of them
@pytest.mark.parametrize(
    "keyword",
    [
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SpecificCharacterSet",
        "BodyPartExamined",
        "LossyImageCompression",
        *INHERITED,
    ],
)
@pytest.mark.parametrize("patient_from", [1, 2])
def test_an_odd_value_in_a_header_costs_no_report(keyword: str, patient_from: int) -> None:
    for value in ODD_VALUES:
        odd = with_odd(keyword, value)
        if patient_from == 2:
            odd.SOPInstanceUID = f"{s.SERIES_UID}.0"
        analysis = s.analysis(in_pixels(FRAME), [NotAnalysed(str(odd.SOPInstanceUID), "odd")])
        results = build_objects(analysis, [STILL, odd], KEY_FRAMES, NODE)
        assert [type(result) for result in results] == [ResultObject] * 3, (value, results)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keyword", ["Rows", "Columns", "NumberOfFrames", "SOPClassUID", "SeriesInstanceUID"])
def test_an_odd_picture_gives_a_report_or_its_reason(keyword: str) -> None:
    for value in ODD_VALUES:
        odd = with_odd(keyword, value)
        frame = s.reference(odd)
        frames = {frame: Frame(frame, s.picture(), Calibration(reason="none"))}
        for result in build_objects(s.analysis(in_pixels(frame)), [odd], frames, NODE):
            assert isinstance(result, ResultObject) or result.reason


def test_our_own_results_are_known_again() -> None:
    assert all(is_own_result(ds) for ds in build())
    assert not is_own_result(STILL)
    assert not is_own_result(Dataset())
