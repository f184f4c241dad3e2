"""Pictures as Pixel Data: RGB as it is, or JPEG Baseline 4:2:2 with what the standard wants said about the loss."""

from __future__ import annotations

import io
from collections.abc import Iterable

from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.profile import Encoding
from dicom_node.results.lettering import Picture

MOST_RAW_BYTES = 16_000_000  #: a cine that is larger goes out as JPEG, whatever the profile says
_QUALITY = 92
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def put_pixels(ds: Dataset, pictures: Iterable[Picture], encoding: Encoding, source: Dataset | None) -> None:
    """Write pictures of one shape (rows, columns, 3), RGB uint8, into a data set (PS3.3 C.7.6.3, PS3.5 8.2.1).

    They are taken one at a time, and only what is written is kept.

    :param source: the header of the images underneath: that they once lost something is said too.
    """
    parts: list[bytes] = []
    shape, size = (0, 0), 0
    for picture in pictures:
        shape, size = (picture.shape[0], picture.shape[1]), size + picture.size
        parts.append(_jpeg(picture) if encoding == "jpeg" else picture.tobytes())
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel = 3
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    keep_lossy_history(ds, source)
    if encoding == "raw":
        ds.PhotometricInterpretation = "RGB"
        ds.add_new("PixelData", "OB", b"".join([*parts, b"\0" * (size % 2)]))
        return
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    _add_loss(ds, size / sum(len(part) for part in parts))
    ds.add_new("PixelData", "OB", encapsulate(parts))
    ds["PixelData"].is_undefined_length = True


def keep_lossy_history(ds: Dataset, source: Dataset | None) -> None:
    """Say that the source once was compressed with loss: that cannot be undone (PS3.3 C.7.6.1.1.5)."""
    if source is None or source.get("LossyImageCompression") != "01":
        return
    for keyword in _LOSSY:
        if keyword in source:
            ds[keyword] = source[keyword]


def _add_loss(ds: Dataset, ratio: float) -> None:
    """Add our own compression to the history; ratios and methods stay pairs."""
    ratios, methods = (_values(ds, keyword) for keyword in _LOSSY[1:])
    if len(ratios) != len(methods):
        ratios, methods = [], []
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = [*ratios, f"{ratio:.2f}"]
    ds.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]


def _values(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    if value in (None, ""):
        return []
    return [str(part) for part in value] if isinstance(value, MultiValue) else [str(value)]


def _jpeg(picture: Picture) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY, subsampling="4:2:2")
        return file.getvalue()
