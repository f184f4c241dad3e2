"""Summary page, still and moving overlays as objects: encoding, speed, order, and who they say they are of."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import synthetic as s
from pydicom import Dataset
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.finding import Detection, Graphic, Segmentation
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.domain.key_frames import SeenFrame
from dicom_node.domain.result import CineSampling, ResultObject, StudyAnalysis
from dicom_node.errors import NonConformantObject
from dicom_node.profile import SERIES_NUMBERS, Profile
from dicom_node.results import captures, pixels
from dicom_node.results.build import QuarantinedObject, build_objects
from dicom_node.results.document import part10
from dicom_node.results.gate import check
from dicom_node.results.identity import NodeIdentity

NODE = NodeIdentity("DICOM_NODE")
CINE = s.header(
    s.US_MULTI_FRAME, NumberOfFrames=12, Rows=120, Columns=160, FrameTime=40.0, LossyImageCompression="01",
    LossyImageCompressionRatio=9.5, LossyImageCompressionMethod="ISO_10918_1",
)  # fmt: skip
EVERYTHING = Profile(objects=tuple(SERIES_NUMBERS))


def sampled(numbers: Sequence[int], header: Dataset = CINE) -> StudyAnalysis:
    """Analyse numbered frames of a cine; each shows something of every kind."""
    references = [s.reference(header, number) for number in numbers]
    seen = tuple(SeenFrame(reference, "brain", 0.9, s.findings(reference)) for reference in references)
    return s.analysis(
        s.findings(references[0]), sampling=[CineSampling(str(header.SOPInstanceUID), 12, len(seen), seen)]
    )


def frames(_uid: str, numbers: Sequence[int]) -> Iterator[Frame]:
    for number in numbers:
        yield Frame(s.reference(CINE, number), s.picture(frame=number), Calibration(reason="none"))


def built(analysis: StudyAnalysis, profile: Profile = EVERYTHING, header: Dataset = CINE) -> dict[str, list[Dataset]]:
    key = analysis.findings[0].frames[0]  # type: ignore[union-attr]
    results = build_objects(
        analysis, [header], {key: next(frames("", [key.frame_number or 1]))}, NODE, profile=profile, read_frames=frames
    )
    objects: dict[str, list[Dataset]] = {}
    for result in results:
        assert isinstance(result, ResultObject), result
        objects.setdefault(result.kind, []).append(pydicom.dcmread(io.BytesIO(result.part10)))
    return objects


def test_the_summary_page_stands_first_in_its_series() -> None:
    page, overlay = built(sampled([1, 7]))["secondary_capture"]
    assert page.SeriesInstanceUID == overlay.SeriesInstanceUID
    assert (page.InstanceNumber, overlay.InstanceNumber) == (1, 2)
    assert "summary" in page.SeriesDescription
    assert page.SourceImageSequence[0].ReferencedFrameNumber == 1
    assert (page.Rows, page.Columns) == (960, 1280)


def test_a_cine_keeps_the_time_of_its_source_also_when_frames_are_left_out() -> None:
    (all_frames,) = built(sampled(range(1, 13)))["cine_capture"]
    (some,) = built(sampled([1, 4, 7, 10]))["cine_capture"]
    assert (all_frames.NumberOfFrames, all_frames.FrameTime, all_frames.CineRate) == (12, 40, 25)
    assert (some.NumberOfFrames, some.FrameTime, some.CineRate) == (4, 120, 8)
    assert some.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
    assert list(some.SourceImageSequence[0].ReferencedFrameNumber) == [1, 4, 7, 10]


def test_uneven_times_of_the_source_are_kept_on_average() -> None:
    header = s.changed(pydicom.dcmread(io.BytesIO(part10(complete(CINE)))), FrameTime=None)
    header.FrameTimeVector = [0, *([30.0, 50.0] * 6)][:12]
    (cine,) = built(sampled([1, 3, 5], header), header=header)["cine_capture"]
    assert cine.FrameTime == 80


def test_a_source_without_times_gives_frames_with_names() -> None:
    header = s.changed(pydicom.dcmread(io.BytesIO(part10(complete(CINE)))), FrameTime=None)
    (cine,) = built(sampled([1, 3, 5], header), header=header)["cine_capture"]
    assert "FrameTime" not in cine
    assert cine.FrameIncrementPointer == pydicom.tag.Tag("FrameLabelVector")
    assert list(cine.FrameLabelVector) == ["frame 1", "frame 3", "frame 5"]


@pytest.mark.parametrize("times", [{"FrameTime": 0.0}, {"FrameTime": None, "FrameTimeVector": [0.0] * 12}])
def test_times_that_stand_still_are_no_times(times: dict[str, object]) -> None:
    header = s.changed(pydicom.dcmread(io.BytesIO(part10(complete(CINE)))), **times)
    (cine,) = built(sampled([1, 3], header), header=header)["cine_capture"]
    assert "FrameTime" not in cine


def complete(header: Dataset) -> Dataset:
    """Give a copy that can be written."""
    copied = s.as_read(header)
    copied.file_meta.MediaStorageSOPClassUID = copied.SOPClassUID
    copied.file_meta.MediaStorageSOPInstanceUID = copied.SOPInstanceUID
    return copied


def test_a_cine_is_raw_below_the_limit_and_jpeg_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (raw,) = built(sampled([1, 7]))["cine_capture"]
    assert raw.PhotometricInterpretation == "RGB"
    assert raw.LossyImageCompressionRatio == 9.5  # the source's own
    monkeypatch.setattr(captures, "MOST_RAW_BYTES", 2 * 120 * 160 * 3 - 1)
    (jpeg,) = built(sampled([1, 7]))["cine_capture"]
    assert jpeg.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert jpeg.PhotometricInterpretation == "YBR_FULL_422"
    assert jpeg.LossyImageCompression == "01"
    assert list(jpeg.LossyImageCompressionMethod) == ["ISO_10918_1"] * 2
    assert jpeg.LossyImageCompressionRatio[0] == 9.5
    assert 1 < jpeg.LossyImageCompressionRatio[1] < 50
    difference = pixel_array(jpeg).astype(int) - pixel_array(raw)  # both as RGB
    assert abs(difference).mean() < 6


def test_a_still_overlay_is_jpeg_where_the_profile_wants_it() -> None:
    analysis = sampled([1, 7])
    _, raw = built(analysis)["secondary_capture"]
    page, jpeg = built(analysis, dataclasses.replace(EVERYTHING, encoding="jpeg"))["secondary_capture"]
    assert page.LossyImageCompressionMethod == "ISO_10918_1"
    assert jpeg.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert jpeg.SOPInstanceUID != raw.SOPInstanceUID
    assert len(jpeg.PixelData) < len(raw.PixelData) / 2


def test_one_frame_of_a_cine_is_held_at_a_time() -> None:
    alive: list[int] = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(1, 5):
            alive.append(number)
            yield s.picture(frame=number)

    ds = Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    pixels.put_pixels(ds, pictures(), "jpeg", None)
    assert alive == [1, 2, 3, 4]
    assert len(ds.PixelData) < 120 * 160 * 3


def test_a_cine_on_which_nothing_is_drawn_has_no_overlay() -> None:
    analysis = sampled([1, 7])
    empty = tuple(dataclasses.replace(frame, findings=frame.findings[:1]) for frame in analysis.sampling[0].seen)
    plain = dataclasses.replace(analysis, sampling=(dataclasses.replace(analysis.sampling[0], seen=empty),))
    assert "cine_capture" not in built(plain)


def test_by_default_there_are_no_cine_overlays() -> None:
    assert set(built(sampled([1, 7]), Profile())) == {"findings_sr", "biometry_sr", "secondary_capture"}


def test_a_profile_decides_modality_series_numbers_and_the_class_of_reports() -> None:
    wanted = Profile(
        objects=("findings_sr", "secondary_capture"), sr_class="comprehensive_3d", capture_modality="US",
        series_numbers={"secondary_capture": 77},
    )  # fmt: skip
    objects = built(sampled([1, 7]), wanted)
    assert {(ds.Modality, ds.SeriesNumber) for ds in objects["secondary_capture"]} == {("US", 77)}
    (report,) = objects["findings_sr"]
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.SeriesNumber == 901
    default = built(sampled([1, 7]), Profile())
    assert report.SOPInstanceUID != default["findings_sr"][0].SOPInstanceUID


def test_what_is_written_for_two_profiles_shares_no_instance_and_no_series() -> None:
    analysis = sampled([1, 7])
    frame = s.reference(CINE, 1)
    square = ((40.0, 30.0), (80.0, 30.0), (80.0, 70.0), (40.0, 30.0))
    outline = Segmentation("biometry", frame, "head", s.HEAD, Graphic("polyline", square), 0.9)
    analysis = dataclasses.replace(analysis, findings=(*analysis.findings, outline, *s.anomaly(frame)))
    profiles = [Profile(), EVERYTHING]
    profiles += [dataclasses.replace(EVERYTHING, **{name: other}) for name, other in (
        ("sr_class", "comprehensive_3d"), ("capture_modality", "US"), ("encoding", "jpeg"), ("private_codes", False),
        ("series_numbers", {"key_object": 12}),
    )]  # fmt: skip
    seen: set[str] = set()
    for profile in profiles:
        objects = built(analysis, profile)
        assert set(objects) == set(profile.objects)
        uids = {
            str(uid)
            for of_kind in objects.values()
            for ds in of_kind
            for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID)
        }
        assert not uids & seen
        seen |= uids


def test_a_repeat_makes_the_same_bytes() -> None:
    def once() -> list[ResultObject | QuarantinedObject]:
        analysis = sampled([1, 4, 7])
        key = {s.reference(CINE, 1): next(frames("", [1]))}
        return build_objects(analysis, [CINE], key, NODE, profile=EVERYTHING, read_frames=frames)

    assert once() == once()


def test_a_frame_that_cannot_be_decoded_again_costs_the_cine_alone() -> None:
    def broken(uid: str, numbers: Sequence[int]) -> Iterator[Frame]:
        yield from frames(uid, numbers[:1])
        raise NonConformantObject("damaged")

    key = {s.reference(CINE, 1): next(frames("", [1]))}
    results = build_objects(sampled([1, 7]), [CINE], key, NODE, profile=EVERYTHING, read_frames=broken)
    assert [result.kind for result in results if isinstance(result, QuarantinedObject)] == ["cine_capture"]


FAULTS = {
    "no increment": (lambda ds: ds.pop("FrameTime"), "in which order its frames follow"),
    "a frame too many": (lambda ds: setattr(ds, "NumberOfFrames", 3), "instead of"),
    "source frames": (
        lambda ds: setattr(ds.SourceImageSequence[0], "ReferencedFrameNumber", [1]), "which frame each of its own is",
    ),
    "no such frame": (
        lambda ds: setattr(ds.SourceImageSequence[0], "ReferencedFrameNumber", [1, 13]), "frame 13 of 12 frames",
    ),
    "loss": (lambda ds: ds.pop("LossyImageCompression"), "compressed with loss"),
    "colours": (lambda ds: setattr(ds, "PhotometricInterpretation", "RGB"), "in colour space RGB"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_cine_is_held_back(fault: str, tmp_path: Path) -> None:
    spoil, reason = FAULTS[fault]
    jpeg = dataclasses.replace(EVERYTHING, encoding="jpeg")
    (ds,) = built(sampled([1, 7]), jpeg)["cine_capture"]
    spoil(ds)  # type: ignore[no-untyped-call]
    with pytest.raises(NonConformantObject, match=reason):
        check("cine_capture", s.write(ds, tmp_path / "cine.dcm").read_bytes(), [CINE])


def test_a_still_capture_says_over_which_frame_of_a_cine_it_lies(tmp_path: Path) -> None:
    (ds,) = (it for it in built(sampled([1, 7]), Profile())["secondary_capture"] if it.Rows == CINE.Rows)
    check("secondary_capture", s.write(ds, tmp_path / "sound.dcm").read_bytes(), [CINE])
    del ds.SourceImageSequence[0].ReferencedFrameNumber
    with pytest.raises(NonConformantObject, match="over which frame of the cine"):
        check("secondary_capture", s.write(ds, tmp_path / "spoilt.dcm").read_bytes(), [CINE])


def test_a_structure_has_the_same_colour_in_every_picture_of_the_study() -> None:
    one, other = s.image(number=1), s.image(number=2)
    (bone,) = [it for it in s.findings(s.reference(one)) if it.name == "nasal bone"]
    assert isinstance(bone, Detection)
    taken = [  # whose colours come before that of the bone
        dataclasses.replace(bone, name=name, box_xyxy_px=(100.0, 80.0, 120.0, 100.0)) for name in "abcdefghi"
    ]
    elsewhere = dataclasses.replace(bone, frame=s.reference(other))
    shown = {
        s.reference(ds): Frame(s.reference(ds), np.zeros((120, 160, 3), np.uint8), Calibration(reason="none"))
        for ds in (one, other)
    }
    results = build_objects(s.analysis([*taken, bone, elsewhere]), [one, other], shown, NODE)
    pictures = [
        pixel_array(pydicom.dcmread(io.BytesIO(it.part10)))
        for it in results
        if isinstance(it, ResultObject) and it.kind == "secondary_capture"
    ][1:]
    x, y = int(bone.box_xyxy_px[0]), int(bone.box_xyxy_px[1] + bone.box_xyxy_px[3]) // 2
    first, second = (picture[y, x - 2 : x + 3].max(axis=0).tolist() for picture in pictures)
    assert first == second != [0, 0, 0]
