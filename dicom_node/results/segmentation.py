"""Outlined structures as masks, for re-use: one Segmentation per picture (PS3.3 A.51), one binary segment each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from pydicom import Dataset
from pydicom.uid import UID
from pydicom.valuerep import DS

from dicom_node.domain.finding import Segmentation
from dicom_node.domain.frame import Calibration, FrameReference, Region
from dicom_node.domain.result import Algorithm, StudyAnalysis
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results import codes
from dicom_node.results.document import Series, new_object
from dicom_node.results.groups import coded
from dicom_node.results.identity import MANUFACTURER, MODEL_NAME, NodeIdentity
from dicom_node.results.image_stand_in import as_still, restore, take_over
from dicom_node.results.lettering import Colour
from dicom_node.results.render import colours_of
from dicom_node.results.tracking import tracking_uid_of

KIND: ObjectKind = "segmentation"
SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.66.4"
DESCRIPTION = "AI outlines, investigational, not verified"
_SUBPIXEL = 4
_FINER = 4

Mask = npt.NDArray[np.uint8]


def segmented_frames(analysis: StudyAnalysis) -> dict[FrameReference, list[Segmentation]]:
    """Group the outlines by the picture that they lie on."""
    frames: dict[FrameReference, list[Segmentation]] = {}
    for finding in analysis.findings:
        if isinstance(finding, Segmentation):
            frames.setdefault(finding.frame, []).append(finding)
    return frames


def build_segmentation(
    frame: FrameReference,
    outlines: Sequence[Segmentation],
    number: int,
    header: Dataset,
    *,
    calibration: Calibration | None,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
) -> Dataset:
    """Build the segmentation of one picture.

    :param header: of the instance that the picture is from.
    :param calibration: of the picture, where it was decoded.
    """
    picture = f"{frame.sop_instance_uid}/{frame.frame_number}"
    names = ", ".join(_said(it) for it in outlines)
    series = Series.of(profile, KIND, SOP_CLASS_UID, "SEG", f"AI outline of {names}, not verified"[:64], part=picture)
    ds = new_object(series, picture, patient, analysis, node)
    ds.InstanceNumber = number
    algorithms = {algorithm.task: algorithm for algorithm in analysis.algorithms}
    still = as_still(header)
    colours = colours_of(analysis.findings)  # as on the overlays
    described = [
        _described(place, it, colours[it.name], algorithms, node) for place, it in enumerate(outlines, start=1)
    ]
    masks = np.stack([mask_of(it, (still.Rows, still.Columns)) for it in outlines], axis=-1)
    made = SegmentationObject(
        source_images=[still],
        pixel_array=masks[np.newaxis],  # (1, rows, columns, segments)
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=ds.SeriesInstanceUID,
        series_number=ds.SeriesNumber,
        sop_instance_uid=ds.SOPInstanceUID,
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=node.software_version,
        device_serial_number=node.ae_title,
        content_label="AI_OUTLINES",
        content_description=DESCRIPTION,
        content_creator_name=f"{MODEL_NAME}^",
        omit_empty_frames=False,
    )
    ds.PatientOrientation = None
    take_over(ds, made, header)
    _name_dimensions(ds, node)
    if (region := _scale_of(outlines, calibration)) is not None:
        _lay_on_source(ds, region)
    restore(ds, frame)
    return ds


def mask_of(outline: Segmentation, shape: tuple[int, int]) -> Mask:
    """Fill an outline; gives a mask (rows, columns) of 1 where a pixel's centre lies inside, else 0.

    OpenCV counts the line itself as inside, so it fills a finer grid, of which the centres are taken.
    """
    fine = np.zeros((shape[0] * _FINER, shape[1] * _FINER), dtype=np.uint8)
    points = (np.array(outline.contour.points_px) * _FINER - 0.5) * (1 << _SUBPIXEL)
    cv2.fillPoly(fine, [np.rint(points).astype(np.int32)], 1, cv2.LINE_8, _SUBPIXEL)
    return np.ascontiguousarray(fine[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER])


def _described(
    number: int, outline: Segmentation, colour: Colour, algorithms: Mapping[str, Algorithm], node: NodeIdentity
) -> SegmentDescription:
    algorithm = algorithms[outline.task]
    return SegmentDescription(
        segment_number=number,
        segment_label=_said(outline),
        segmented_property_category=coded(codes.ANATOMICAL_STRUCTURE),
        segmented_property_type=coded(outline.structure),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=coded(codes.ARTIFICIAL_INTELLIGENCE),
            version=algorithm.version,
            parameters={"weights_sha256": algorithm.weights_sha256},
        ),
        tracking_uid=tracking_uid_of(outline, node, algorithm),
        tracking_id=outline.name,
        display_color=CIELabColor.from_rgb(*colour),
    )


def _said(outline: Segmentation) -> str:
    return outline.name.replace("_", " ")


def _name_dimensions(ds: Dataset, node: NodeIdentity) -> None:
    """Derive the Dimension Organization UID as all of ours: highdicom draws it by lot."""
    uid = UID(node.uid("dimensions", ds.SOPInstanceUID))
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _scale_of(outlines: Sequence[Segmentation], calibration: Calibration | None) -> Region | None:
    """Give the one calibrated region that holds every outline."""
    if calibration is None:
        return None
    holding = {calibration.region_for(np.array(it.contour.points_px)) for it in outlines}
    only = holding.pop()
    return only if isinstance(only, Region) and not holding else None


def _lay_on_source(ds: Dataset, region: Region) -> None:
    """Say how large a pixel is, and that rows and columns are those of the source.

    Viewers want to read both before they show a mask (OHIF 3.13). How thick the picture is, nobody knows, but 0 is not
    allowed: one pixel. It has no place in the patient either: the orientation is the one that viewers assume of such
    pictures, and without Frame of Reference and position nothing can be located by it.
    """
    height, width = (DS(mm, auto_format=True) for mm in (region.mm_per_px_y, region.mm_per_px_x))
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [height, width]
    measures.SliceThickness = height
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    (shared,) = ds.SharedFunctionalGroupsSequence
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
