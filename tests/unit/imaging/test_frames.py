from __future__ import annotations

import contextlib
import os
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import synthetic as s
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.frame import Frame
from dicom_node.domain.result import NotAnalysed
from dicom_node.errors import NoPixelData, UndecodableFrame, UnreadableDataset
from dicom_node.imaging.frames import colour_share, frames_of, one_frame, open_instance, sample_frame_numbers

DATA = Path(os.environ.get("DICOM_NODE_DATA", Path(__file__).parents[4] / "shared" / "data")) / "dicom_us"


def frames(path: Path) -> list[Frame | NotAnalysed]:
    instance = open_instance(path)
    return list(frames_of(instance, sample_frame_numbers(instance.number_of_frames, 64)))


def test_frames_come_in_order_and_numbered(tmp_path: Path) -> None:
    pictures = [s.picture(frame=i) for i in range(5)]
    path = s.write(s.image(pictures), tmp_path / "cine.dcm")
    read = frames(path)
    assert [f.reference.frame_number for f in read if isinstance(f, Frame)] == [1, 2, 3, 4, 5]
    for frame, picture in zip(read, pictures, strict=True):
        assert isinstance(frame, Frame)
        assert np.array_equal(frame.pixels, picture)
    assert np.array_equal(one_frame(path, 4).pixels, pictures[3])


def test_a_still_has_no_frame_number(tmp_path: Path) -> None:
    still = one_frame(s.write(s.image(), tmp_path / "still.dcm"), None)
    assert still.reference.frame_number is None
    stated = open_instance(s.write(s.image(NumberOfFrames=1), tmp_path / "stated.dcm"))
    assert stated.reference(1).frame_number is None


def test_a_multi_frame_class_is_numbered_even_with_one_frame(tmp_path: Path) -> None:
    path = s.write(s.image(sop_class_uid=s.US_MULTI_FRAME, NumberOfFrames=1), tmp_path / "one.dcm")
    assert open_instance(path).reference(1).frame_number == 1


def test_a_still_class_with_frames_is_numbered(tmp_path: Path) -> None:
    path = s.write(s.image([s.picture(), s.picture(frame=1)], sop_class_uid=s.US_IMAGE), tmp_path / "two.dcm")
    assert [f.reference.frame_number for f in frames(path) if isinstance(f, Frame)] == [1, 2]


def test_a_cine_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = s.write(s.image([s.picture(240, 320)] * 60), tmp_path / "cine.dcm")
    instance = open_instance(path)
    tracemalloc.start()
    for _ in frames_of(instance, range(1, 61)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 240 * 320 * 3  # the file has sixty frames


def test_one_damaged_frame_does_not_cost_the_others(tmp_path: Path) -> None:
    ds = s.image([s.picture(frame=i) for i in range(4)], JPEGBaseline8Bit)
    pieces = [s.jpeg(s.picture(frame=i)) for i in range(4)]
    pieces[1] = pieces[1][:2] + b"\0" * 400
    pieces[2] = s.jpeg(s.picture(60, 80))
    ds.PixelData = s.encapsulate(pieces)
    read = frames(s.write(ds, tmp_path / "cine.dcm"))
    assert [isinstance(f, Frame) for f in read] == [True, False, False, True]
    assert [f.frame_number for f in read if isinstance(f, NotAnalysed)] == [2, 3]
    assert [f.reason for f in read if isinstance(f, NotAnalysed)] == [
        "the compressed picture is damaged: it states no size",
        "the compressed picture is 80 x 60, the header says 160 x 120",
    ]


def test_truncated_pixel_data_cost_only_the_frames_that_are_gone(tmp_path: Path) -> None:
    path = s.write(s.image([s.picture()] * 4), tmp_path / "cine.dcm")
    path.write_bytes(path.read_bytes()[: -2 * 120 * 160 * 3 + 10])
    read = frames(path)
    assert [isinstance(f, Frame) for f in read] == [True, True, False, False]
    last = read[-1]
    assert isinstance(last, NotAnalysed)
    assert "damaged or truncated" in last.reason


@pytest.mark.parametrize("stated", [0, -3])
def test_no_frames_is_undecodable(stated: int, tmp_path: Path) -> None:
    path = s.write(s.image(NumberOfFrames=stated), tmp_path / "none.dcm")
    assert open_instance(path).number_of_frames == 0
    with pytest.raises(UndecodableFrame, match="no frames"):
        one_frame(path, None)


def test_more_frames_stated_than_stored(tmp_path: Path) -> None:
    path = s.write(s.image([s.picture()] * 2, NumberOfFrames=5), tmp_path / "cine.dcm")
    assert [isinstance(f, Frame) for f in frames(path)] == [True, True, False, False, False]


def test_no_pixel_data(tmp_path: Path) -> None:
    ds = s.header()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    with pytest.raises(NoPixelData):
        open_instance(s.write(ds, tmp_path / "report.dcm"))


@pytest.mark.parametrize("content", [b"", b"hello", bytes(128) + b"DICM", bytes(400)])
def test_not_dicom(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(UnreadableDataset):
        open_instance(path)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDataset, match="No such file"):
        open_instance(tmp_path / "gone.dcm")


def test_every_truncation_of_a_file_is_a_plain_error(tmp_path: Path) -> None:
    whole = s.write(s.image([s.picture(8, 8)] * 2, JPEGBaseline8Bit), tmp_path / "whole.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with contextlib.suppress(UnreadableDataset, NoPixelData, UndecodableFrame):
            for item in frames(path):
                assert isinstance(item, Frame | NotAnalysed)


@given(total=st.integers(1, 5000), max_frames=st.integers(1, 200))
def test_samples_are_few_distinct_ordered_and_even(total: int, max_frames: int) -> None:
    numbers = sample_frame_numbers(total, max_frames)
    assert len(numbers) == min(total, max_frames)
    assert numbers == sorted(set(numbers))
    assert numbers[0] >= 1
    assert numbers[-1] <= total
    if len(numbers) > 1:
        steps = np.diff(numbers)
        assert (numbers[0], numbers[-1]) == (1, total)
        assert steps.max() - steps.min() <= 1


def test_samples_by_hand() -> None:
    assert sample_frame_numbers(0, 8) == []
    assert sample_frame_numbers(5, 1) == [3]
    assert sample_frame_numbers(120, 4) == [1, 41, 80, 120]


def test_colour_is_told_from_grey() -> None:
    assert colour_share(s.picture()) == 0
    assert colour_share(s.picture(colour=True)) > 0.5


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
@pytest.mark.parametrize(
    ("name", "shape", "mean", "scale_mm"),
    [
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", (768, 1024), 17.36, 0.25477),
        ("OBXXXX1A.dcm", (600, 800), 12.44, 0.26229),
        ("OBXXXX1A_2frame.dcm", (600, 800), 12.44, 0.26229),
        ("OBXXXX1A_expb.dcm", (600, 800), 12.44, 0.26229),
        ("OBXXXX1A_rle.dcm", (600, 800), 12.44, 0.26229),
        ("US1_J2KR.dcm", (480, 640), 34.53, None),
        ("US1_UNCR.dcm", (480, 640), 34.53, None),
        ("color3d_jpeg_baseline.dcm", (480, 640), 9.56, 0.51050),
        ("deid_EPIQ5G_GREYSCALE_IMAGE.dcm", (768, 1024), 20.49, 0.06490),
        ("gdcm-US-ALOKA-16.dcm", (480, 640), 29.73, 0.38265),
        ("pydicom_examples_ybr_color.dcm", (240, 320), 9.48, None),
    ],
)
def test_real_scanners_frames(name: str, shape: tuple[int, int], mean: float, scale_mm: float | None) -> None:
    read = frames(DATA / name)
    for frame in read:
        assert isinstance(frame, Frame)
        assert frame.pixels.shape == (*shape, 3)
        assert frame.pixels.dtype == np.uint8
        assert [region.mm_per_px_x for region in frame.calibration.regions[:1]] == pytest.approx(
            [scale_mm] if scale_mm else [], abs=1e-5
        )
    first = read[0]
    assert isinstance(first, Frame)
    assert float(first.pixels.mean()) == pytest.approx(mean, abs=0.1)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
def test_one_picture_is_the_same_in_every_syntax() -> None:
    stills = [one_frame(DATA / f"OBXXXX1A{kind}.dcm", None).pixels for kind in ("", "_rle", "_expb")]
    assert np.array_equal(stills[0], stills[1])
    assert np.array_equal(stills[0], stills[2])
    assert np.array_equal(one_frame(DATA / "US1_J2KR.dcm", None).pixels, one_frame(DATA / "US1_UNCR.dcm", None).pixels)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
@pytest.mark.parametrize(
    "name",
    [
        "JPGLosslessP14SV1_1s_1f_8b.dcm",
        "OBXXXX1A.dcm",
        "OBXXXX1A_expb.dcm",
        "OBXXXX1A_rle.dcm",
        "US1_UNCR.dcm",
        "color3d_jpeg_baseline.dcm",
        "deid_EPIQ5G_GREYSCALE_IMAGE.dcm",
        "pydicom_examples_ybr_color.dcm",
    ],
)
def test_dcmtk_shows_the_same_picture(name: str, tmp_path: Path) -> None:
    shown = tmp_path / "shown.bmp"
    subprocess.run(["/usr/bin/dcmj2pnm", "--write-24-bit-bmp", DATA / name, shown], check=True, capture_output=True)
    with Image.open(shown) as image:
        difference = np.abs(np.asarray(image.convert("RGB")).astype(int) - one_frame(DATA / name, 1).pixels)
    assert difference.max() <= 5  # how a codec rounds and interpolates colour
    assert difference.mean() < 0.2
