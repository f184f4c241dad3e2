from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.simulator.scanner import Examination, cine, moving_frames, still, undecodable_cine, write_instance
from dicom_node.simulator.speckle import GreyImage

EXAM = Examination("test", "SIMULATED^TEST", "SIM-TEST", "A test")


@pytest.fixture
def grey() -> GreyImage:
    y, x = np.mgrid[0:121, 0:161]
    return np.asarray((np.sin(x / 9.0) + np.cos(y / 7.0) + 2.0) * 60.0, dtype=np.uint8)


@pytest.fixture
def colour(grey: GreyImage) -> GreyImage:
    return np.stack([grey, grey[:, ::-1], np.full_like(grey, 90)], axis=-1)


def validated(path: Path) -> str:
    """What dciodvfy prints; it exits with 0 only when it found no error."""
    done = subprocess.run(["/usr/bin/dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def decoded_by_dcmtk(path: Path, out: Path) -> int:
    command = ["/usr/bin/dcmj2pnm", "--all-frames", "--write-raw-pnm", str(path), str(out / "frame")]
    return subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.parametrize("calibration", [None, 0.12])
@pytest.mark.parametrize("picture", ["grey", "colour"])
def test_stills_conform_and_keep_every_pixel(
    picture: str, calibration: float | None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pixels = request.getfixturevalue(picture)
    path = write_instance(still(pixels, EXAM, 1, calibration), tmp_path / "still.dcm")
    assert "Error" not in validated(path)
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(ds.pixel_array, pixels)
    assert ("SequenceOfUltrasoundRegions" in ds) is (calibration is not None)


@pytest.mark.parametrize(("picture", "photometric"), [("grey", "MONOCHROME2"), ("colour", "YBR_FULL_422")])
def test_cines_conform_and_decode_in_pydicom_and_dcmtk(
    picture: str, photometric: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    frames = moving_frames(request.getfixturevalue(picture), 5, np.random.default_rng(1))
    path = write_instance(cine(frames, EXAM, 2, 0.2), tmp_path / "cine.dcm")
    assert "Error" not in validated(path)
    assert decoded_by_dcmtk(path, tmp_path) == 0
    assert len(list(tmp_path.glob("frame*"))) == 5
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (ds.PhotometricInterpretation, ds.NumberOfFrames) == (photometric, 5)
    assert ds[ds.FrameIncrementPointer].keyword == "FrameTime"
    if picture == "grey":
        assert np.abs(ds.pixel_array.astype(int) - np.stack(frames)).mean() < 3.0


def test_calibrated_region_states_centimetres_of_the_whole_picture(grey: GreyImage) -> None:
    region = still(grey, EXAM, 1, 0.123).SequenceOfUltrasoundRegions[0]
    assert (region.RegionSpatialFormat, region.RegionDataType) == (1, 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert region.PhysicalDeltaX == region.PhysicalDeltaY == pytest.approx(0.0123)
    assert (region.RegionLocationMaxX1, region.RegionLocationMaxY1) == (160, 120)


def test_an_undecodable_cine_is_a_sound_data_set_that_nobody_can_decode(grey: GreyImage, tmp_path: Path) -> None:
    path = write_instance(undecodable_cine([grey, grey], EXAM, 3), tmp_path / "broken.dcm")
    validated(path)
    assert decoded_by_dcmtk(path, tmp_path) != 0
    with pytest.raises((RuntimeError, ValueError)):
        _ = pydicom.dcmread(path).pixel_array


def test_an_earlier_jpeg_compression_is_stated(grey: GreyImage, tmp_path: Path) -> None:
    path = write_instance(still(grey, EXAM, 1, lossy_ratio=8.4), tmp_path / "still.dcm")
    validated(path)
    assert pydicom.dcmread(path).LossyImageCompressionRatio == pytest.approx(8.4)


def test_the_same_examination_gives_the_same_uids(grey: GreyImage) -> None:
    first, again, other = still(grey, EXAM, 1), still(grey, EXAM, 1), still(grey, EXAM, 2)
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.StudyInstanceUID == other.StudyInstanceUID


def test_a_moving_picture_moves_a_little(grey: GreyImage) -> None:
    frames = moving_frames(grey, 6, np.random.default_rng(2))
    assert all(frame.shape == grey.shape and frame.dtype == np.uint8 for frame in frames)
    assert all((frames[i] != frames[i + 1]).any() for i in range(5))
    assert np.corrcoef(frames[0].ravel(), frames[3].ravel())[0, 1] > 0.7
