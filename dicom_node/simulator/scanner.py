"""An ultrasound machine's output: pictures become US Image Storage and US Multi-frame Image Storage instances.

IODs: PS3.3 A.6 and A.7; US Region Calibration: PS3.3 C.8.5.5; US Image: PS3.3 C.8.5.6; Cine: PS3.3 C.7.6.5.
Stills are Explicit VR Little Endian, cines JPEG Baseline (PS3.5 A.4.1), as scanners send them.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from dicom_node.simulator.speckle import GreyImage

UID_NAMESPACE = uuid.UUID("5e0a8a38-2f52-4b6c-9d55-0f1f5b8f6a01")
FIRST_LIGHT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)  #: the simulated machine's clock, so that files repeat
FRAME_TIME_MS = 40.0
JPEG_QUALITY = 92

# PS3.3 C.8.5.5.1: spatial format 1 = 2D, data type 1 = tissue, units 3 = cm
REGION_2D, REGION_TISSUE, UNIT_CM = 1, 1, 3
REGION_HIGH_PRIORITY_NOT_SCALED = 0  #: PS3.3 C.8.5.5.1.3, no bit set: opaque, not protected, high priority


@dataclass(frozen=True, slots=True)
class Examination:
    """Whose study it is and when; the UIDs follow from `key`, so the same key gives the same study."""

    key: str
    patient_name: str
    patient_id: str
    description: str
    started: datetime = FIRST_LIGHT
    phantom: bool = True  #: the pictures are simulated, not of a person

    @property
    def study_instance_uid(self) -> UID:
        """The study's UID, in the UUID-derived form of PS3.5 B.2."""
        return uid_for(self.key, "study")


def uid_for(*names: object) -> UID:
    """Derive a repeatable UID under 2.25 from names."""
    return UID(f"2.25.{uuid.uuid5(UID_NAMESPACE, '/'.join(map(str, names))).int}")


def still(
    pixels: GreyImage,
    exam: Examination,
    instance_number: int,
    mm_per_px: float | None = None,
    lossy_ratio: float | None = None,
) -> Dataset:
    """Make a US Image of one picture, uncompressed: (H, W) becomes MONOCHROME2, (H, W, 3) becomes RGB.

    With `mm_per_px` the instance holds one calibrated 2D tissue region over the whole picture, else none.
    `lossy_ratio` states a JPEG compression that the picture has been through before (PS3.3 C.7.6.1.1.5).
    """
    ds = _instance(exam, UltrasoundImageStorage, ExplicitVRLittleEndian, series_number=1, number=instance_number)
    _describe_pixels(ds, pixels, "RGB" if pixels.ndim > 2 else "MONOCHROME2")  # noqa: PLR2004 - (H, W, 3) is colour
    _calibrate(ds, pixels, mm_per_px)
    ds.LossyImageCompression = "00" if lossy_ratio is None else "01"
    if lossy_ratio is not None:
        _state_jpeg(ds, lossy_ratio)
    raw = pixels.tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OB"
    return ds


def cine(
    frames: Sequence[GreyImage], exam: Examination, instance_number: int, mm_per_px: float | None = None
) -> Dataset:
    """Make a US Multi-frame Image of frames of one shape, JPEG Baseline: MONOCHROME2 or YBR_FULL_422."""
    ds = _instance(exam, UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit, series_number=2, number=instance_number)
    first = frames[0]
    _describe_pixels(ds, first, "YBR_FULL_422" if first.ndim > 2 else "MONOCHROME2")  # noqa: PLR2004 - as in still
    _calibrate(ds, first, mm_per_px)
    ds.NumberOfFrames = len(frames)
    ds.FrameTime = FRAME_TIME_MS
    ds.FrameIncrementPointer = Tag("FrameTime")
    coded = [jpeg(frame) for frame in frames]
    ds.LossyImageCompression = "01"
    _state_jpeg(ds, sum(frame.nbytes for frame in frames) / sum(map(len, coded)))
    ds.PixelData = encapsulate(coded)
    ds["PixelData"].VR = "OB"
    return ds


def undecodable_cine(frames: Sequence[GreyImage], exam: Examination, instance_number: int) -> Dataset:
    """Make a cine as after a broken transfer: a sound data set, each JPEG stream cut off before its picture."""
    ds = cine(frames, exam, instance_number)
    ds.PixelData = encapsulate([jpeg(frame)[:120] for frame in frames])
    ds["PixelData"].VR = "OB"
    return ds


def jpeg(pixels: GreyImage) -> bytes:
    """Encode one frame as JPEG Baseline, colour with 4:2:2 chroma as YBR_FULL_422 asks (PS3.5 8.2.1)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    return stream.getvalue()


def moving_frames(pixels: GreyImage, count: int, rng: Generator) -> list[GreyImage]:
    """Turn a picture into a short loop: it drifts by a few pixels and a fraction of a degree, and its gain breathes."""
    height, width = pixels.shape[:2]
    drift, turn = rng.uniform(1.0, 0.008 * width, 2), rng.uniform(0.2, 0.8)
    frames = []
    for phase in np.linspace(0.0, 2.0 * np.pi, count, endpoint=False):
        motion = cv2.getRotationMatrix2D((width / 2.0, height / 2.0), turn * np.sin(phase), 1.0)
        motion[:, 2] += drift * (np.sin(phase), 1.0 - np.cos(phase))
        moved = cv2.warpAffine(pixels, motion, (width, height), flags=cv2.INTER_LINEAR)
        noise = np.asarray(rng.normal(0.0, 1.5, moved.shape), dtype=np.float32) * (moved > 0)
        breathing = moved.astype(np.float32) * np.float32(1.0 + 0.03 * np.sin(2.0 * phase))
        frames.append(np.clip(breathing + noise, 0.0, 255.0).astype(np.uint8))
    return frames


def write_instance(ds: Dataset, path: Path) -> Path:
    """Write a DICOM file (PS3.10) and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def _instance(exam: Examination, sop_class: UID, syntax: UID, *, series_number: int, number: int) -> Dataset:
    """Start an instance with every attribute that does not depend on its pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    sop_instance_uid = uid_for(exam.key, series_number, number)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    ds.file_meta.TransferSyntaxUID = syntax
    date, time = exam.started.strftime("%Y%m%d"), exam.started.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = time
    ds.AcquisitionDateTime = f"{date}{time}"
    ds.PatientName = exam.patient_name
    ds.PatientID = exam.patient_id
    ds.PatientBirthDate = "19950101"
    ds.PatientSex = "F"
    ds.StudyInstanceUID = exam.study_instance_uid
    ds.StudyID = exam.patient_id[-16:]
    ds.AccessionNumber = f"A{uid_for(exam.key, 'order')[-12:]}"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = exam.description
    ds.Modality = "US"
    ds.SeriesInstanceUID = uid_for(exam.key, "series", series_number)
    ds.SeriesNumber = series_number
    ds.InstanceNumber = number
    ds.PatientOrientation = ""
    ds.BodyPartExamined = "UTERUS"  # unpaired, so Laterality (Type 2C) is absent
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OBSTETRICAL", "0001"]  # PS3.3 C.8.5.6.1.1; 0001: 2D imaging
    ds.Manufacturer = "DICOM node simulator"
    ds.ManufacturerModelName = "SIM S1"
    ds.StationName = "SIMSCANNER"
    ds.DeviceSerialNumber = "SIM-0001"
    ds.SoftwareVersions = "1"
    if exam.phantom:
        ds.QualityControlImage = "YES"  # PS3.3 C.7.6.1: a quality control or phantom image
    return ds


def _state_jpeg(ds: Dataset, ratio: float) -> None:
    ds.LossyImageCompressionRatio = round(ratio, 2)
    ds.LossyImageCompressionMethod = "ISO_10918_1"


def _describe_pixels(ds: Dataset, pixels: GreyImage, photometric_interpretation: str) -> None:
    ds.SamplesPerPixel = 1 if photometric_interpretation == "MONOCHROME2" else 3
    ds.PhotometricInterpretation = photometric_interpretation
    if ds.SamplesPerPixel > 1:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.UltrasoundColorDataPresent = 0


def _calibrate(ds: Dataset, pixels: GreyImage, mm_per_px: float | None) -> None:
    """Add the calibrated region, or nothing: an unknown pixel size is not guessed."""
    if mm_per_px is None:
        return
    height, width = pixels.shape[:2]
    region = Dataset()
    region.RegionSpatialFormat = REGION_2D
    region.RegionDataType = REGION_TISSUE
    region.RegionFlags = REGION_HIGH_PRIORITY_NOT_SCALED
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = width - 1, height - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = UNIT_CM
    region.PhysicalDeltaX = region.PhysicalDeltaY = mm_per_px / 10.0
    ds.SequenceOfUltrasoundRegions = [region]
