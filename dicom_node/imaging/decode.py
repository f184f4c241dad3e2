"""One frame of pixel data, in any syntax and colour space that scanners use, to RGB.

Sources: PS3.5 section 8 and Annex A (encodings), PS3.3 C.7.6.3 (Image Pixel), PS3.3 C.11 (grey-scale pipeline).
"""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import (
    _at_pixel_data,
    _read_file_meta_info,
    read_file_meta_info,
    read_partial,
    read_preamble,
)
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from dicom_node.domain.identifiers import uid_fault
from dicom_node.elements import TooManyElements, check_size, drop_unreadable
from dicom_node.errors import BadInput, NoPixelData, UndecodableFrame, UnreadableDataset

#: A frame larger than this (4K has 8.3 million) is no ultrasound picture; decoding it would only fill the memory.
MAX_PIXELS_PER_FRAME = 10_000_000
MAX_BITS = 32  #: for one sample
#: What a deflated data set may inflate to (a whole data set must be inflated to reach any frame).
MAX_INFLATED_BYTES = 1 << 28
#: What the compressed frames of an instance may have together: a header can make all of them one frame.
MAX_COMPRESSED_BYTES = 1 << 29
#: An element outside the pixel data that is larger is left on the disk: it is private, and no LUT.
MAX_ELEMENT_BYTES = 1 << 20

RGB = npt.NDArray[np.uint8]
_INFLATED_AT_ONCE = 1 << 20
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)


@contextmanager
def open_source(path: Path) -> Iterator[BinaryIO]:
    """Open a Part 10 file so that its frames can be reached without reading all of it.

    A deflated file (PS3.5 A.5) has to be inflated first and is given as its Explicit VR Little Endian twin.

    :raises UnreadableDataset: when it is no Part 10 file, or inflates beyond :data:`MAX_INFLATED_BYTES`.
    """
    deflated = _transfer_syntax(path) == DeflatedExplicitVRLittleEndian
    with path.open("rb") as file:
        yield _inflated(file) if deflated else file


def read_header(source: BinaryIO) -> Dataset:
    """Read everything before the pixel data; elements that cannot be read are left out.

    :raises UnreadableDataset: when the bytes are no data set, are truncated, or do not name their instance.
    :raises NoPixelData: when the data set ends without pixel data.
    """
    header, next_tag = _read(source)
    if next_tag not in _PIXEL_DATA:
        raise NoPixelData
    return header


def read_report(path: Path) -> Dataset:
    """Read an instance that holds no picture, as :func:`read_header` does.

    :raises UnreadableDataset: as there.
    """
    with open_source(path) as source:
        return _read(source)[0]


def _read(source: BinaryIO) -> tuple[Dataset, int | None]:
    try:
        with warnings.catch_warnings():  # what pydicom finds odd in a scanner's header does not concern the picture
            warnings.simplefilter("ignore")
            _check_size(source)
            header = read_partial(source, stop_when=_at_pixel_data, defer_size=MAX_ELEMENT_BYTES)
            next_tag = _next_tag(source, header)
            drop_unreadable(header)
            uids = {keyword: str(header.get(keyword, "")) for keyword in _IDENTITY}
    except Exception as error:
        raise UnreadableDataset(f"the data set cannot be read: {_first_line(error)}") from error
    for keyword, uid in uids.items():
        if not uid:
            raise UnreadableDataset(f"the data set is truncated or has no {keyword}")
        if fault := uid_fault(uid):  # a report that named it would be none
            raise UnreadableDataset(f"the {keyword} {fault}")
    return header, next_tag


def decode_frame(source: BinaryIO, header: Dataset, index: int) -> RGB:
    """Decode one frame (0-based index) to RGB, shape (rows, columns, 3), dtype uint8, as a viewer would show it.

    :raises UndecodableFrame: with a plain reason.
    """
    check_decodable(header)
    try:
        with warnings.catch_warnings():  # a lying header is judged by its picture, not by pydicom's remarks
            warnings.simplefilter("ignore")
            _check_codestream(source, header, index)
            source.seek(0)
            stored = next(iter_pixels(source, indices=[index]))
            return _to_rgb(stored, header)
    except BadInput:
        raise
    except MemoryError as error:
        raise UndecodableFrame("the frame does not fit into the memory") from error
    except Exception as error:
        raise UndecodableFrame(f"the pixel data are damaged or truncated{_detail(error)}") from error


def _detail(error: Exception) -> str:
    """Give what an error adds; that every plug-in failed in a way of its own adds nothing for a reader."""
    line = _first_line(error)
    return "" if "raised by all available plugins" in line else f": {line}"


def check_decodable(header: Dataset) -> None:
    """Check what the header alone can tell about its frames.

    :raises UndecodableFrame: when no frame of the instance can be decoded.
    """
    rows, columns = _whole_number(header, "Rows"), _whole_number(header, "Columns")
    if rows < 1 or columns < 1:
        raise UndecodableFrame("Rows or Columns is missing or zero")
    if rows * columns > MAX_PIXELS_PER_FRAME:
        raise UndecodableFrame(f"a frame of {columns} x {rows} pixels is larger than any ultrasound picture")
    if _whole_number(header, "BitsAllocated") > MAX_BITS:
        raise UndecodableFrame(f"more than {MAX_BITS} bits for a sample are no ultrasound picture")
    syntax = _syntax(header)
    try:
        get_decoder(syntax)
    except NotImplementedError as error:
        raise UndecodableFrame(f"no decoder for {syntax.name}") from error
    photometric = str(header.get("PhotometricInterpretation", ""))
    samples = _whole_number(header, "SamplesPerPixel")
    if (photometric in (*_GREY, "PALETTE COLOR") and samples == 1) or (photometric in _COLOUR and samples == 3):  # noqa: PLR2004
        return
    raise UndecodableFrame(f"{samples} samples per pixel in colour space {photometric or 'unknown'} are not supported")


def _syntax(header: Dataset) -> UID:
    return UID(str(header.file_meta.get("TransferSyntaxUID", "")))


def _whole_number(header: Dataset, keyword: str) -> int:
    try:
        return int(header.get(keyword) or 0)
    except (TypeError, ValueError) as error:
        raise UndecodableFrame(f"{keyword} is no number") from error


def _transfer_syntax(path: Path) -> str:
    """Read the transfer syntax from the file meta information."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    except OSError:
        raise
    except Exception as error:
        raise UnreadableDataset(f"not a DICOM file: {_first_line(error)}") from error


def _inflated(file: BinaryIO) -> BinaryIO:
    """Give the Explicit VR Little Endian twin of a deflated file, in memory."""
    (group_length,) = struct.unpack_from("<L", file.read(144), 140)
    file.seek(144 + group_length)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    try:
        while not unpacker.eof and (packed := unpacker.unconsumed_tail or file.read(_INFLATED_AT_ONCE)):
            data += unpacker.decompress(packed, _INFLATED_AT_ONCE)
            if len(data) > MAX_INFLATED_BYTES:
                raise UnreadableDataset("the deflated data set inflates to more than any ultrasound instance")
    except zlib.error as error:
        raise UnreadableDataset(f"the deflated data set is damaged: {error}") from error
    syntax = ExplicitVRLittleEndian.encode() + b"\0"
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    head = bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta)) + meta
    return io.BytesIO(head + data)


def _check_size(source: BinaryIO) -> None:
    """Refuse a data set whose elements would fill the memory, and leave the source at its beginning.

    What is not walked over to its end is not refused: pydicom knows more ways to read it.
    """
    source.seek(0)
    read_preamble(source, force=False)
    syntax = str(_read_file_meta_info(source).get("TransferSyntaxUID", ""))
    start = source.tell()
    with contextlib.ExitStack() as stack:
        if isinstance(source, io.BytesIO):
            whole = stack.enter_context(source.getbuffer())
        else:
            mapped = stack.enter_context(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
            whole = stack.enter_context(memoryview(mapped))
        with whole[start:] as data_set:
            try:
                check_size(data_set, syntax)
            except TooManyElements:
                raise
            except UnreadableDataset:
                pass
    source.seek(0)


def _next_tag(source: BinaryIO, header: Dataset) -> int | None:
    """Read the tag at which the header ended, or None at the end of the file."""
    head = source.read(4)
    if len(head) < 4:  # noqa: PLR2004
        return None
    group, element = struct.unpack("<HH" if _syntax(header).is_little_endian else ">HH", head)
    return int(group) << 16 | int(element)


def _check_codestream(source: BinaryIO, header: Dataset, index: int) -> None:
    """Compare the size that a compressed frame states with the header, before anything is decoded."""
    syntax = _syntax(header)
    if not syntax.is_encapsulated:
        return
    source.seek(0)
    read_partial(source, stop_when=_at_pixel_data)
    start = source.seek(12 if not syntax.is_implicit_VR else 8, io.SEEK_CUR)  # tag, VR, reserved, length
    if source.seek(0, io.SEEK_END) - start > MAX_COMPRESSED_BYTES:
        raise UndecodableFrame("the compressed pictures are larger than those of any ultrasound instance")
    source.seek(start)
    frame = get_frame(source, index, number_of_frames=max(1, _whole_number(header, "NumberOfFrames")))
    if syntax == RLELossless:
        _check_rle(frame, header)
        return
    size = codestream_size(frame)
    if size is None:
        return
    columns, rows, samples = size
    if (rows, columns) != (header.Rows, header.Columns):
        raise UndecodableFrame(
            f"the compressed picture is {columns} x {rows}, the header says {header.Columns} x {header.Rows}"
        )
    if samples != header.SamplesPerPixel:
        raise UndecodableFrame(
            f"the compressed picture has {samples} samples per pixel, the header says {header.SamplesPerPixel}"
        )


def _check_rle(frame: bytes, header: Dataset) -> None:
    """See that no segment (PS3.5 G.5) is longer than a plane that does not shrink: it can grow by 64 when decoded."""
    rows, columns = int(header.Rows), int(header.Columns)
    count, *offsets = struct.unpack_from("<16L", frame)
    starts = offsets[:count]
    longest = max((end - start for start, end in pairwise([*starts, len(frame)])), default=0)
    if longest > rows * (columns + columns // 128 + 2) + 2:
        raise UndecodableFrame("the compressed picture is larger than it would be without compression")


def codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Read (columns, rows, components) of a JPEG, JPEG-LS (SOF, T.81 B.2.2) or JPEG 2000 (SIZ, T.800 A.5.1) stream.

    None when it is another kind of stream (RLE).
    """
    if frame[:4] == b"\xff\x4f\xff\x51":
        x1, y1, x0, y0 = struct.unpack_from(">LLLL", frame, 8)
        (components,) = struct.unpack_from(">H", frame, 40)
        return x1 - x0, y1 - y0, components
    if frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 10 <= len(frame):
        if frame[position] != 0xFF:  # noqa: PLR2004
            break
        marker = frame[position + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # noqa: PLR2004
            position += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:  # noqa: PLR2004
            rows, columns, components = struct.unpack_from(">HHB", frame, position + 5)
            return columns, rows, components
        (length,) = struct.unpack_from(">H", frame, position + 2)
        position += 2 + length
    raise UndecodableFrame("the compressed picture is damaged: it states no size")


def _to_rgb(stored: npt.NDArray[Any], header: Dataset) -> RGB:
    """Bring decoded samples, (rows, columns) or (rows, columns, 3), to 8-bit RGB."""
    photometric = str(header.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        return _eight_bit_palette(apply_color_lut(stored, header))
    if photometric in _GREY:
        grey = _displayed_grey(stored, header)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if stored.dtype == np.uint8:
        return stored
    return _scaled(stored, 0, float((1 << int(header.BitsStored)) - 1))


def _eight_bit_palette(colours: npt.NDArray[Any]) -> RGB:
    """Bring the entries of a palette to 8 bits. Some scanners put 8-bit entries into a palette said to have 16."""
    if colours.dtype == np.uint8:
        return colours
    top = int(colours.max(initial=0))
    return (colours if top <= 255 else colours >> 8).astype(np.uint8)  # noqa: PLR2004


def _displayed_grey(stored: npt.NDArray[Any], header: Dataset) -> RGB:
    """Apply modality LUT and first window as a viewer does (PS3.3 C.11.1, C.11.2); else the full stored range."""
    bits, signed = int(header.BitsStored), int(header.get("PixelRepresentation") or 0) == 1
    low = -(2.0 ** (bits - 1)) if signed else 0.0
    high = low + 2.0**bits - 1
    windowed = header.get("VOILUTSequence") or header.get("WindowCenter") is not None
    shown = stored
    if windowed:
        shown = apply_voi_lut(apply_modality_lut(stored, header), header)
        low, high = _output_range(header, low, high)
    grey = shown if shown.dtype == np.uint8 and (low, high) == (0, 255) else _scaled(shown, low, high)
    return np.invert(grey) if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _output_range(header: Dataset, low: float, high: float) -> tuple[float, float]:
    """Give the range that pydicom's windowing fills: that of a VOI LUT's entries, or the rescaled stored range."""
    if header.get("VOILUTSequence"):
        return 0, float((1 << int(header.VOILUTSequence[0].LUTDescriptor[2])) - 1)
    if header.get("ModalityLUTSequence"):
        return 0, float((1 << int(header.ModalityLUTSequence[0].LUTDescriptor[2])) - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> RGB:
    """Map [low, high] to [0, 255], rounded and clipped."""
    scaled = (values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6))
    rounded: RGB = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return rounded


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
