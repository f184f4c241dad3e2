from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import synthetic as s
from pydicom import Dataset
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSNearLossless,
)

from dicom_node.domain.frame import Frame
from dicom_node.errors import UndecodableFrame, UnreadableDataset
from dicom_node.imaging import decode
from dicom_node.imaging.frames import one_frame


def read(ds: Dataset, folder: Path) -> np.ndarray:
    frame = one_frame(s.write(ds, folder / "image.dcm"), None)
    assert isinstance(frame, Frame)
    assert frame.pixels.dtype == np.uint8
    return frame.pixels


def grey(values: np.ndarray, bits_stored: int = 8, photometric: str = "MONOCHROME2", **changes: object) -> Dataset:
    """Make a one-sample image of the given stored values."""
    ds = s.image()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    del ds.PlanarConfiguration
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated = 8 * values.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits_stored, bits_stored - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    ds.PixelData = values.tobytes()
    ds["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    return s.changed(ds, **changes)


@pytest.mark.parametrize("syntax", s.LOSSLESS, ids=lambda uid: uid.name)
def test_lossless_syntaxes_give_the_very_picture(syntax: str, tmp_path: Path) -> None:
    picture = s.picture(colour=True)
    assert np.array_equal(read(s.image([picture], syntax), tmp_path), picture)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000, JPEGLSNearLossless], ids=lambda uid: uid.name)
def test_lossy_syntaxes_give_nearly_the_picture(syntax: str, tmp_path: Path) -> None:
    picture = s.picture(colour=True)
    if syntax == JPEGBaseline8Bit:
        ds = s.image([picture], syntax)
    else:
        ds = s.image([picture])
        options = {"j2k_cr": [4]} if syntax == JPEG2000 else {"jls_error": 2}
        ds.compress(syntax, generate_instance_uid=False, **options)
    difference = np.abs(read(ds, tmp_path).astype(int) - picture)
    assert difference.mean() < 3


def test_both_planar_configurations(tmp_path: Path) -> None:
    picture = s.picture(colour=True)
    ds = s.image([picture], PlanarConfiguration=1)
    ds.PixelData = picture.transpose(2, 0, 1).tobytes()
    assert np.array_equal(read(ds, tmp_path), picture)


def test_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    picture = s.picture(colour=True)
    ds = s.image([picture], PhotometricInterpretation="YBR_FULL")
    ds.PixelData = convert_color_space(picture.copy(), "RGB", "YBR_FULL").tobytes()
    assert np.abs(read(ds, tmp_path).astype(int) - picture).max() <= 2


def test_native_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    picture = np.repeat(s.picture(colour=True)[:, ::2], 2, axis=1)  # pairs of equal pixels survive 4:2:2
    ybr = convert_color_space(picture.copy(), "RGB", "YBR_FULL")
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    ds = s.image([picture], PhotometricInterpretation="YBR_FULL_422")
    ds.PixelData = packed.astype(np.uint8).tobytes()
    assert np.abs(read(ds, tmp_path).astype(int) - picture).max() <= 2


def test_grey_is_repeated_and_monochrome1_inverted(tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    assert np.array_equal(read(grey(values), tmp_path), np.repeat(values[..., None], 3, axis=2))
    assert np.array_equal(read(grey(values, photometric="MONOCHROME1"), tmp_path)[..., 0], 255 - values)


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [(np.uint16, 16, 0, 65535), (np.uint16, 12, 0, 4095), (np.int16, 16, -32768, 32767), (np.int16, 12, -2048, 2047)],
)
def test_sixteen_bits_are_scaled_over_the_stored_range(
    dtype: type, bits: int, low: int, high: int, tmp_path: Path
) -> None:
    values = np.array([[low, (low + high + 1) // 2], [high, low]], dtype=dtype)
    assert read(grey(values, bits), tmp_path)[..., 0].tolist() == [[0, 128], [255, 0]]


def test_a_window_is_applied_as_a_viewer_does(tmp_path: Path) -> None:
    values = np.array([[0, 1000], [1500, 4000]], dtype=np.uint16)
    shown = read(grey(values, 12, WindowCenter=1500, WindowWidth=1000), tmp_path)[..., 0]
    assert shown.tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_colours(bits: int, tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    ds = grey(values, photometric="PALETTE COLOR")
    scale = 257 if bits == 16 else 1
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        table = np.array([(3 * i + 40 * channel) % 256 * scale for i in range(256)], f"<u{bits // 8}")
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
    assert read(ds, tmp_path)[0].tolist() == [[0, 40, 80], [3, 43, 83]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 0}, "Rows or Columns is missing or zero"),
        ({"Columns": None}, "Rows or Columns is missing or zero"),
        ({"Rows": 65535, "Columns": 65535}, "larger than any ultrasound picture"),
        ({"Rows": 500}, "damaged or truncated"),
        ({"SamplesPerPixel": 4}, "4 samples per pixel"),
        ({"PhotometricInterpretation": "CMYK"}, "colour space CMYK"),
        ({"PhotometricInterpretation": None}, "colour space unknown"),
        ({"BitsAllocated": None}, "damaged or truncated"),
    ],
)
def test_a_lying_header_is_a_plain_reason(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UndecodableFrame, match=reason):
        read(s.image(**changes), tmp_path)  # type: ignore[arg-type]


def test_a_video_is_not_decoded(tmp_path: Path) -> None:
    ds = s.image([s.picture()] * 2, JPEGBaseline8Bit)
    ds.file_meta.TransferSyntaxUID = MPEG4HP41
    with pytest.raises(UndecodableFrame, match="no decoder for MPEG-4"):
        one_frame(s.write(ds, tmp_path / "video.dcm"), 1)


def test_a_jpeg_of_other_components_is_refused(tmp_path: Path) -> None:
    ds = s.image([s.picture()], JPEGBaseline8Bit)
    ds.PixelData = s.encapsulate([s.jpeg(s.picture()[..., 0])])
    with pytest.raises(UndecodableFrame, match="has 1 samples per pixel"):
        read(ds, tmp_path)


def test_a_jpeg_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    ds = s.image([s.picture()], JPEGBaseline8Bit)
    bomb = bytearray(s.jpeg(s.picture()))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xff\xff\xff"
    ds.PixelData = s.encapsulate([bytes(bomb)])
    with pytest.raises(UndecodableFrame, match="65535 x 65535"):
        read(ds, tmp_path)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_INFLATED_BYTES", 50_000)
    with pytest.raises(UnreadableDataset, match="inflates to more"):
        read(s.image([np.zeros((480, 640, 3), np.uint8)], DeflatedExplicitVRLittleEndian), tmp_path)


def test_damaged_deflated_data_are_unreadable(tmp_path: Path) -> None:
    path = s.write(s.image([s.picture()], DeflatedExplicitVRLittleEndian), tmp_path / "x.dcm")
    content = bytearray(path.read_bytes())
    content[-4000:-3000] = bytes(1000)
    path.write_bytes(content)
    with pytest.raises((UnreadableDataset, UndecodableFrame)):
        one_frame(path, None)


def test_the_header_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = s.write(s.image(), tmp_path / "x.dcm")
    with decode.open_source(path) as source:
        assert "PixelData" not in decode.read_header(source)
    assert "PixelData" in pydicom.dcmread(path)
    assert zlib.crc32(path.read_bytes())


def test_sizes_of_codestreams() -> None:
    assert decode.codestream_size(s.jpeg(s.picture(60, 80))) == (80, 60, 3)
    assert decode.codestream_size(b"\x00" * 64) is None
    with pytest.raises(UndecodableFrame, match="states no size"):
        decode.codestream_size(b"\xff\xd8\xff\xd9")
