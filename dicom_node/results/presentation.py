"""The overlay that can be switched off: a softcopy presentation state per instance (PS3.3 A.33)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.pr import (
    AnnotationUnitsValues,
    ColorSoftcopyPresentationState,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from pydicom import Dataset

from dicom_node.domain.finding import Detection, Finding, Measurement, Segmentation, frames_of
from dicom_node.domain.frame import Frame
from dicom_node.domain.result import StudyAnalysis
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results.caption import BANNER, label_of
from dicom_node.results.document import Series, new_object
from dicom_node.results.identity import MANUFACTURER, MODEL_NAME, NodeIdentity
from dicom_node.results.image_stand_in import as_still, is_grey, restore, take_over
from dicom_node.results.render import extent, outline

KIND: ObjectKind = "presentation_state"
COLOUR_SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.11.2"
GREY_SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.11.1"
DESCRIPTION = "AI annotation, not for measurement"
_LAYER = "AI"
_PIXEL = AnnotationUnitsValues.PIXEL


def build_presentation_state(
    frames: Sequence[Frame],
    number: int,
    header: Dataset,
    *,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
) -> Dataset:
    """Annotate the key frames of one instance.

    Colour images have a Color, grey ones a Grayscale Softcopy Presentation State.

    :param frames: of the instance that ``header`` is of; at least one.
    """
    grey = is_grey(header)
    series = Series.of(profile, KIND, GREY_SOP_CLASS_UID if grey else COLOUR_SOP_CLASS_UID, "PR", DESCRIPTION)
    ds = new_object(series, str(header.SOPInstanceUID), patient, analysis, node)
    ds.InstanceNumber = number
    still = as_still(header)
    layer = GraphicLayer(layer_name=_LAYER, order=1, description="investigational AI result")
    common: dict[str, Any] = {
        "referenced_images": [still],
        "series_instance_uid": ds.SeriesInstanceUID,
        "series_number": ds.SeriesNumber,
        "sop_instance_uid": ds.SOPInstanceUID,
        "instance_number": number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": node.software_version,
        "device_serial_number": node.ae_title,
        "content_label": "AI_ANNOTATION",
        "content_description": BANNER,
        "content_creator_name": f"{MODEL_NAME}^",
        "graphic_layers": [layer],
        "graphic_annotations": [_annotation(frame, still, layer, analysis.findings) for frame in frames],
    }
    made = (
        GrayscaleSoftcopyPresentationState(**common)
        if grey
        else ColorSoftcopyPresentationState(**common, icc_profile=_srgb())
    )
    take_over(ds, made, header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        ds.PresentationLUTShape = "INVERSE"  # PS3.3 C.11.6: its highest values are black
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime  # are of no module of a presentation state
    for annotation, frame in zip(ds.GraphicAnnotationSequence, frames, strict=True):
        if frame.reference.frame_number is not None:
            annotation.ReferencedImageSequence[0].ReferencedFrameNumber = frame.reference.frame_number
    restore(ds, frames[0].reference)
    return ds


def _annotation(frame: Frame, still: Dataset, layer: GraphicLayer, findings: Sequence[Finding]) -> GraphicAnnotation:
    of_frame = [finding for finding in findings if frame.reference in frames_of(finding)]
    return GraphicAnnotation(
        referenced_images=[still],
        graphic_layer=layer,
        graphic_objects=[shape for finding in of_frame if (shape := _shape(finding)) is not None] or None,
        text_objects=[_banner(frame), *(text for it in of_frame if (text := _text(it, frame)) is not None)],
    )


def _shape(finding: Finding) -> GraphicObject | None:
    """Draw a finding in image pixels: (0, 0) is the upper left corner of the first pixel (PS3.3 C.10.5.1.2)."""
    match finding:
        case Detection():
            x0, y0, x1, y1 = finding.box_xyxy_px
            points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
            return GraphicObject(GraphicTypeValues.POLYLINE, points, _PIXEL)
        case Measurement() if finding.graphic.kind == "ellipse":
            return GraphicObject(GraphicTypeValues.ELLIPSE, np.array(finding.graphic.points_px), _PIXEL)
        case Measurement() | Segmentation():
            return GraphicObject(GraphicTypeValues.POLYLINE, outline(finding), _PIXEL)
        case _:
            return None


def _text(finding: Finding, frame: Frame) -> TextObject | None:
    """Name a finding at its right edge; the viewer chooses letters and colour."""
    box = extent(finding)
    match finding:
        case Detection():
            words = label_of(finding)
        case Measurement():
            words = f"{finding.name} {finding.value:.1f} mm" if finding.unit == "mm" else f"{finding.name}, no scale"
        case _:
            return None
    if box is None:
        return None
    rows, columns = frame.pixels.shape[:2]
    anchor = (float(min(box[2], columns)), float(min(max(box[1], 0.0), rows)))
    return TextObject(words, _PIXEL, anchor_point=anchor, anchor_point_visible=False)


def _banner(frame: Frame) -> TextObject:
    rows, columns = frame.pixels.shape[:2]
    box = (1.0, 0.94 * rows, float(columns) - 1, float(rows) - 1)
    return TextObject(BANNER, _PIXEL, bounding_box=box, text_justification=TextJustificationValues.CENTER)


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    """Read the sRGB profile that comes with highdicom: ultrasound images hardly ever have one."""
    return (Path(highdicom.__file__).parent / "_icc_profiles" / "sRGB_v4_ICC_preference.icc").read_bytes()
