"""Rules of the gate for what lies beside the images: segmentations, presentation states and key objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from pydicom import Dataset

from dicom_node.results import codes
from dicom_node.results.content_tree import content, items
from dicom_node.results.evidence import needs_frame_numbers, size_px, why_frames_are_wrong

Rule = Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]]

_COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"


def _sources_are_known(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check every reference to an instance: of the study, of its true class, and on a frame that exists."""
    for reference in items(ds):
        uid = str(reference.get("ReferencedSOPInstanceUID", ""))
        if not uid:
            continue
        source = sources.get(uid)
        if source is None:
            yield f"the referenced instance {uid} is not in the study"
        elif reference.ReferencedSOPClassUID != source.SOPClassUID:
            yield f"instance {uid} is referenced as another class"
        else:
            yield from why_frames_are_wrong(reference, source)


def _segments_are_whole(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each segment says what it is, who found it and that it is not empty."""
    for segment in ds.SegmentSequence:
        label = segment.get("SegmentLabel", "")
        if segment.get("SegmentAlgorithmType") != "AUTOMATIC" or not segment.get("SegmentAlgorithmName"):
            yield f"segment {label} does not say which algorithm found it"
        if not segment.get("SegmentedPropertyTypeCodeSequence") or not segment.get("TrackingUID"):
            yield f"segment {label} does not say what it is, or has no tracking UID"
    bits = np.unpackbits(np.frombuffer(ds.PixelData, dtype=np.uint8), bitorder="little")
    size = ds.Rows * ds.Columns
    if bits.size < size * ds.NumberOfFrames:
        yield f"the pixel data have {len(ds.PixelData)} bytes for {ds.NumberOfFrames} masks"
        return
    masks = bits[: size * ds.NumberOfFrames].reshape(ds.NumberOfFrames, size)
    for number in np.flatnonzero(~masks.any(axis=1)):
        yield f"mask {number + 1} is empty"


def _masks_lie_on_one_picture(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each mask names one picture of its own size, and the frame in a cine."""
    groups = [*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence]
    references = [
        reference
        for group in groups
        for derivation in group.get("DerivationImageSequence", [])
        for reference in derivation.SourceImageSequence
    ]
    if not references:
        yield "no mask says on which picture it lies"
    for reference in references:
        source = sources.get(str(reference.ReferencedSOPInstanceUID))
        if source is None:
            continue
        if needs_frame_numbers(source) and not reference.get("ReferencedFrameNumber"):
            yield "a mask does not say on which frame of the cine it lies"
        if size_px(source) != (ds.Rows, ds.Columns):
            yield "a mask has another size than its picture"


def _graphics_lie_in_their_image(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that no shape or text is drawn outside of the picture, in pixels of it, and on which frame it lies."""
    for annotation in ds.GraphicAnnotationSequence:
        references = annotation.get("ReferencedImageSequence", [])
        known = [source for it in references if (source := sources.get(str(it.ReferencedSOPInstanceUID))) is not None]
        if not known:
            yield "an annotation does not say on which image it lies"
            continue
        if needs_frame_numbers(known[0]) and not references[0].get("ReferencedFrameNumber"):
            yield "an annotation does not say on which frame of the cine it lies"
        rows, columns = size_px(known[0])
        for points in _drawn(annotation):
            x, y = points[0::2], points[1::2]
            if not all(0 <= v <= columns for v in x) or not all(0 <= v <= rows for v in y):
                yield "an annotation reaches outside its image"


def _says_what_it_is(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    if not any("NOT FOR MEASUREMENT" in text.UnformattedTextValue for text in _texts(ds)):
        yield "the annotation does not say that it is not for measurement"
    if ds.SOPClassUID == _COLOUR and not ds.get("ICCProfile"):
        yield "ICCProfile has no value"


def _is_of_interest(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    title = ds.ConceptNameCodeSequence[0]
    if (title.CodeValue, title.CodingSchemeDesignator) != (codes.OF_INTEREST.value, codes.OF_INTEREST.scheme):
        yield "the title of the key object is not Of Interest"
    if not any(item.ValueType == "IMAGE" for item in ds.ContentSequence):
        yield "the key object selects no image"


def _selects_frames(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that of a cine frames are selected: all of it is nothing to look at first."""
    for item in content(ds, "IMAGE"):
        reference = item.ReferencedSOPSequence[0]
        source = sources.get(str(reference.ReferencedSOPInstanceUID))
        if source is not None and needs_frame_numbers(source) and not reference.get("ReferencedFrameNumber"):
            yield "the key object does not say which frame of the cine it selects"


def _texts(ds: Dataset) -> list[Dataset]:
    return [text for annotation in ds.GraphicAnnotationSequence for text in annotation.get("TextObjectSequence", [])]


def _drawn(annotation: Dataset) -> Iterator[Sequence[float]]:
    """Give the coordinates (x0, y0, x1, y1, ...) of every shape and text."""
    for shape in annotation.get("GraphicObjectSequence", []):
        yield shape.GraphicData
    for text in annotation.get("TextObjectSequence", []):
        for keyword in ("AnchorPoint", "BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner"):
            if keyword in text:
                yield text[keyword].value


SEGMENTATION: tuple[Rule, ...] = (_sources_are_known, _segments_are_whole, _masks_lie_on_one_picture)
PRESENTATION_STATE: tuple[Rule, ...] = (_sources_are_known, _graphics_lie_in_their_image, _says_what_it_is)
KEY_OBJECT: tuple[Rule, ...] = (_sources_are_known, _is_of_interest, _selects_frames)
