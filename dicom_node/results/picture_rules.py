"""Rules of the gate for secondary captures, still and moving: harmless, whole, and true to their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydicom import Dataset
from pydicom.encaps import generate_frames

from dicom_node.results.evidence import (
    frame_numbers,
    is_picture,
    needs_frame_numbers,
    number_of_frames,
    size_px,
    why_frames_are_wrong,
)

Rule = Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]]

_FORBIDDEN_ON_CAPTURE = ("PixelSpacing", "NominalScannedPixelSpacing", "SequenceOfUltrasoundRegions")
_JPEG_START = b"\xff\xd8\xff"


def _is_harmless(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check what makes a capture harmless: derived, marked, and nothing to measure on."""
    if list(ds.get("ImageType") or [])[:2] != ["DERIVED", "SECONDARY"]:
        yield "the capture does not say that it is derived"
    if ds.get("BurnedInAnnotation") != "YES":
        yield "the capture does not say that annotation is burned in"
    for keyword in _FORBIDDEN_ON_CAPTURE:
        if keyword in ds:
            yield f"the capture has {keyword}: nobody shall measure on it"


def _pixels_are_whole(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that the pixel data are all there, and that a compression with loss is owned up to."""
    frames = number_of_frames(ds)
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        size = frames * ds.Rows * ds.Columns * ds.SamplesPerPixel
        if len(ds.PixelData) != size + size % 2:
            yield f"the pixel data have {len(ds.PixelData)} bytes instead of {size}"
        return
    streams = list(generate_frames(ds.PixelData, number_of_frames=frames))
    if len(streams) != frames or not all(stream.startswith(_JPEG_START) for stream in streams):
        yield f"the pixel data hold {len(streams)} JPEG pictures instead of {frames}"
    if ds.PhotometricInterpretation != "YBR_FULL_422":
        yield f"JPEG pictures in colour space {ds.PhotometricInterpretation}"
    if ds.get("LossyImageCompression") != "01" or not ds.get("LossyImageCompressionRatio"):
        yield "the capture does not say that it was compressed with loss"


def _sources_are_in_the_study(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    for reference in ds.get("SourceImageSequence", []):
        source = sources.get(str(reference.ReferencedSOPInstanceUID))
        if source is None or not is_picture(source):
            yield f"the source image {reference.ReferencedSOPInstanceUID} is not in the study"
            continue
        yield from why_frames_are_wrong(reference, source)


def _lies_over_its_source(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    for reference in ds.get("SourceImageSequence", []):
        source = sources.get(str(reference.ReferencedSOPInstanceUID))
        if source is None:
            continue
        if size_px(source) != (ds.Rows, ds.Columns):
            yield "the capture has another geometry than its source"
        if needs_frame_numbers(source) and not reference.get("ReferencedFrameNumber"):
            yield "the capture does not say over which frame of the cine it lies"


def _plays(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each frame of a cine has a source, and that what tells their order is there (PS3.3 C.7.6.6)."""
    sources = ds.get("SourceImageSequence") or [Dataset()]
    if len(frame_numbers(sources[0])) != number_of_frames(ds):
        yield "the cine does not say which frame each of its own is of"
    pointer = ds.get("FrameIncrementPointer")
    if pointer is not None and pointer not in ds:
        yield "the cine does not say in which order its frames follow"


PAGE: tuple[Rule, ...] = (_is_harmless, _pixels_are_whole, _sources_are_in_the_study)
CAPTURE: tuple[Rule, ...] = (*PAGE, _lies_over_its_source)
CINE: tuple[Rule, ...] = (*CAPTURE, _plays)
