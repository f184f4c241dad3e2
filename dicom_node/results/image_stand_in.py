"""One picture of a source in the words that highdicom wants for segmentations and presentation states.

highdicom refuses a cine without Frame of Reference, the retired classes, and sources with missing Type 2 attributes; so
it is shown a still that stands for the frame. The true class and the frame number go into the references afterwards.
"""

from __future__ import annotations

import copy

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.frame import FrameReference
from dicom_node.results.content_tree import items
from dicom_node.results.evidence import US_IMAGE, body_part, patient_and_study, size_px

_GREY = ("MONOCHROME1", "MONOCHROME2")


def as_still(header: Dataset) -> Dataset:
    """Describe an instance as a still US Image of the same size, of nobody: who it is of, our own object says."""
    image = patient_and_study(Dataset())
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = US_IMAGE
    image.SOPInstanceUID = header.SOPInstanceUID
    image.StudyInstanceUID = header.StudyInstanceUID
    image.SeriesInstanceUID = header.SeriesInstanceUID
    image.Modality = "US"
    image.PatientOrientation = None
    image.Rows, image.Columns = size_px(header)
    image.SamplesPerPixel = 1 if is_grey(header) else 3
    image.PhotometricInterpretation = "MONOCHROME2" if is_grey(header) else "RGB"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    return image


def is_grey(header: Dataset) -> bool:
    """Tell whether the pixels are grey values, which have presentation states of their own."""
    return str(header.get("PhotometricInterpretation", "")) in _GREY


def restore(ds: Dataset, frame: FrameReference) -> None:
    """Put the true class into every reference to the source of a frame, and its number where a mask is derived."""
    if "SourceImageSequence" in ds:  # its items are those of another sequence, which has no frame numbers
        ds.SourceImageSequence = copy.deepcopy(ds.SourceImageSequence)
    for item in (ds, *items(ds)):
        if item.get("ReferencedSOPInstanceUID") == frame.sop_instance_uid:
            item.ReferencedSOPClassUID = frame.sop_class_uid
        for source in item.get("SourceImageSequence", []):
            if frame.frame_number is not None:
                source.ReferencedFrameNumber = frame.frame_number


def take_over(ds: Dataset, made: Dataset, header: Dataset) -> None:
    """Add what highdicom made to an object of ours about an image; what is there already stays.

    Not taken is its Contributing Equipment, which holds the time of day: a repeat must make the same bytes.
    """
    for element in made:
        if element.tag not in ds and element.keyword not in {"ContributingEquipmentSequence", "Laterality"}:
            ds[element.tag] = element
    ds.BodyPartExamined = body_part(header)
