"""The pictures for people: secondary captures that every viewer shows, one per key frame and heat map (PS3.3 A.8.1).

Written by hand: highdicom's SCImage leaves out the source image, the burned-in annotation and the lossy history.
"""

from __future__ import annotations

from pydicom import Dataset

from dicom_node.domain.finding import HeatMap, frames_of
from dicom_node.domain.frame import Frame
from dicom_node.domain.result import StudyAnalysis
from dicom_node.results import codes
from dicom_node.results.document import Series, new_object
from dicom_node.results.heat import heat_overlay
from dicom_node.results.identity import MANUFACTURER, MODEL_NAME, NodeIdentity
from dicom_node.results.render import overlay

KIND = "secondary_capture"
SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"


def build_capture(
    frame: Frame,
    number: int,
    header: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    *,
    heat_map: HeatMap | None = None,
) -> Dataset:
    """Draw the findings of one frame over it, at the geometry of the source, without anything to measure on.

    :param number: Instance Number within the series, from 1.
    :param header: of the instance that the frame is from.
    :param heat_map: to be drawn alone, instead of the other findings.
    """
    reference = frame.reference
    series = Series(KIND, SOP_CLASS_UID, 903, node.capture_modality, "AI overlay, not for measurement")
    about = f"{reference.sop_instance_uid}/{reference.frame_number}"
    if heat_map is not None:
        about += f"/heat map/{heat_map.task}/{heat_map.name}/{heat_map.value_name}"
    ds = new_object(series, about, header, analysis, node)
    ds.InstanceNumber = number
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceID = node.ae_title
    ds.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = node.software_version
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    what = f"heat map ({heat_map.method})" if heat_map else "result overlay"
    ds.DerivationDescription = f"AI {what} {MODEL_NAME} {node.software_version}"
    ds.SourceImageSequence = [_source(frame)]
    ds.PatientOrientation = None
    # Without a body part the unpaired organ would ask for a Laterality; FETUS is no defined term (PS3.16 Annex L).
    ds.BodyPartExamined = header.get("BodyPartExamined") or "UTERUS"
    _keep_lossy_history(ds, header)

    of_frame = [finding for finding in analysis.findings if reference in frames_of(finding)]
    picture = heat_overlay(frame, heat_map) if heat_map else overlay(frame, of_frame)
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = picture.tobytes()
    ds.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    return ds


def _source(frame: Frame) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = frame.reference.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.reference.sop_instance_uid
    if frame.reference.frame_number is not None:
        item.ReferencedFrameNumber = frame.reference.frame_number
    item.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
    return item


def _keep_lossy_history(ds: Dataset, header: Dataset) -> None:
    """Say that the source once was compressed with loss: that cannot be undone (PS3.3 C.7.6.1.1.5)."""
    if header.get("LossyImageCompression") != "01":
        return
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in header:
            ds[keyword] = header[keyword]
