"""Every DICOM object that a test needs, made here: no patient data in the tree."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import (
    Classification,
    Detection,
    Finding,
    Graphic,
    HeatMap,
    Measurement,
    NotAssessable,
)
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.result import Algorithm, CineSampling, NotAnalysed, StudyAnalysis

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
RETIRED_US_IMAGE = "1.2.840.10008.5.1.4.1.1.6"
RETIRED_US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3"
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = STUDY_UID + ".1"
UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
LOSSLESS = (*UNCOMPRESSED, RLELossless, JPEGLSLossless, JPEG2000Lossless)

#: A person's name in each character set, by Specific Character Set.
NAMES: dict[str | tuple[str, ...], str] = {
    "ISO_IR 144": "Иванова^Анна",
    "GB18030": "Wang^XiaoDong=王^小东",
    ("", "ISO 2022 IR 87"): "Yamada^Hanako=山田^花子=やまだ^はなこ",
    ("", "ISO 2022 IR 149"): "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO_IR 192": "Grün^Zoë",
}


def picture(rows: int = 120, columns: int = 160, frame: int = 0, *, colour: bool = False) -> npt.NDArray[np.uint8]:
    """Draw an RGB picture, different for every frame number, smooth enough for a lossy codec."""
    y, x = np.mgrid[0:rows, 0:columns]
    grey = 90 + 60 * np.sin(x / 17 + frame) + 60 * np.cos(y / 13)
    rgb = np.repeat(grey[..., np.newaxis], 3, axis=2)
    if colour:
        rgb[..., 0] = 255 * x / columns
        rgb[..., 2] = 255 * y / rows
    return np.clip(rgb, 0, 255).astype(np.uint8)


def region(
    x0: int = 10, y0: int = 5, x1: int = 150, y1: int = 115, cm_per_px: float = 0.02, **changes: object
) -> Dataset:
    """Give a calibrated tissue region; ``changes`` replaces or, with None, removes attributes."""
    item = Dataset()
    item.RegionSpatialFormat = 1
    item.RegionDataType = 1
    item.RegionFlags = 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = cm_per_px
    return changed(item, **changes)


def changed(ds: Dataset, **changes: object) -> Dataset:
    """Set attributes of a data set in place, or remove those that are given as None; and give it back."""
    if "SpecificCharacterSet" in changes:  # before any name that is to be written in it
        ds.SpecificCharacterSet = changes.pop("SpecificCharacterSet")
    for keyword, value in changes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def header(sop_class_uid: str = US_IMAGE, number: int = 1, **changes: object) -> Dataset:
    """Give a scanner's header without pixels; ``number`` tells instances of one series apart."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = f"{SERIES_UID}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, SERIES_UID
    ds.PatientName, ds.PatientID = "Doe^Jane", "12345"
    ds.PatientBirthDate, ds.PatientSex = "19900101", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101500", "7"
    ds.StudyDescription = "Obstetric ultrasound"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A1", "Who^Doctor"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "US", 1, number
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Scanner"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    return changed(ds, **changes)


def image(
    frames: Sequence[npt.NDArray[np.uint8]] | None = None,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    sop_class_uid: str | None = None,
    number: int = 1,
    **changes: object,
) -> Dataset:
    """Make an ultrasound instance of RGB frames; several frames make a cine. ``changes`` as in :func:`changed`."""
    pictures = [picture()] if frames is None else list(frames)
    several = len(pictures) > 1
    ds = header(sop_class_uid or (US_MULTI_FRAME if several else US_IMAGE), number)
    ds.Rows, ds.Columns = pictures[0].shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.SequenceOfUltrasoundRegions = [region()]
    if several:
        ds.NumberOfFrames = len(pictures)
        ds.FrameTime, ds.FrameIncrementPointer = 40.0, pydicom.tag.Tag("FrameTime")
    syntax = UID(transfer_syntax_uid)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax == JPEGBaseline8Bit:
        ds.PixelData = encapsulate([jpeg(p) for p in pictures])
        ds["PixelData"].VR = "OB"
        ds.PhotometricInterpretation = "YBR_FULL_422"
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 10
        ds.file_meta.TransferSyntaxUID = syntax
    else:
        data = b"".join(p.tobytes() for p in pictures)
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB"
        if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        else:
            ds.file_meta.TransferSyntaxUID = syntax
    return changed(ds, **changes)


def jpeg(pixels: npt.NDArray[np.uint8], quality: int = 95) -> bytes:
    """Compress an RGB or grey picture as JPEG Baseline, 4:2:2."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=1)
        return file.getvalue()


def as_read(ds: Dataset) -> Dataset:
    """Give a header as a receiver reads it: from bytes, in the character set that it names."""
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with io.BytesIO() as file:
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
        return pydicom.dcmread(io.BytesIO(file.getvalue()))


def write(ds: Dataset, path: Path) -> Path:
    """Write a data set as a Part 10 file, as the transfer syntax in its meta information says."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


THALAMI = Concept("119406000", "SCT", "Thalamus")
NASAL_BONE = Concept("74386004", "SCT", "Nasal bone")
HEAD_CIRCUMFERENCE = Concept("11984-2", "LN", "Head Circumference")
HEAD = Concept("69536005", "SCT", "Head")
IMAGE_VIEW = Concept("111031", "DCM", "Image View")
BRAIN_TT = Concept("BRAIN_TT", "99FETALAI", "Transthalamic plane")
OTHER = Concept("OTHER", "99FETALAI", "Other plane")
CERVIX = Concept("CERVIX", "99FETALAI", "View of maternal cervix")
CNS = Concept("CNS_ANOMALY", "99FETALAI", "Fetal central nervous system appearance")
NO_ANOMALY = Concept("282332003", "SCT", "No abnormality detected - examination result")
ENCEPHALOCELE = Concept("55999004", "SCT", "Encephalocele")
ALGORITHMS = (
    Algorithm("planes", "PlaneNet", "1.0.0", "0" * 64),
    Algorithm("structures", "YOLO11n", "1.0.0", "1" * 64),
    Algorithm("biometry", "HeadUNet", "1.0.0", "2" * 64),
    Algorithm("anomalies", "ResNet34", "1.0.0", "3" * 64),
)


def reference(ds: Dataset, frame_number: int | None = None) -> FrameReference:
    """Name a frame of a data set."""
    return FrameReference(str(ds.SOPClassUID), str(ds.SOPInstanceUID), frame_number)


def findings(frame: FrameReference, *, millimetres: bool = True) -> tuple[Finding, ...]:
    """Find something of every kind in a frame of at least 160 x 120 pixels."""
    head = Graphic("ellipse", ((40.0, 60.0), (120.0, 60.0), (80.0, 30.0), (80.0, 90.0)))
    return (
        Classification(
            "planes", (frame,), "plane", IMAGE_VIEW, BRAIN_TT, "brain_tt", ((BRAIN_TT, 0.93), (OTHER, 0.07))
        ),
        Detection("structures", frame, "thalami", THALAMI, THALAMI, (60.0, 50.0, 90.0, 70.0), 0.87),
        Detection("structures", frame, "nasal bone", NASAL_BONE, NASAL_BONE, (20.5, 40.0, 35.0, 48.0), 0.612),
        Measurement(
            "biometry",
            frame,
            "HC",
            HEAD_CIRCUMFERENCE,
            44.312 if millimetres else 221.6,
            "mm" if millimetres else "{pixels}",
            head,
            HEAD,
            None if millimetres else "the image has no calibrated ultrasound region",
        ),
        NotAssessable("biometry", frame, "FL", "the plane shows no femur"),
    )


#: A fetus of 28 weeks (Hadlock 1984, table III), in millimetres; the BPD and OFD are those of an outer edge.
SIZES_28_WEEKS = {"HC": 266.0, "BPD": 74.0, "OFD": 94.0, "AC": 240.0, "FL": 54.0}
QUANTITIES = {
    "HC": HEAD_CIRCUMFERENCE,
    "BPD": Concept("11820-8", "LN", "Biparietal Diameter"),
    "OFD": Concept("11851-3", "LN", "Occipital-Frontal Diameter"),
    "AC": Concept("11979-2", "LN", "Abdominal Circumference"),
    "FL": Concept("11963-6", "LN", "Femur Length"),
    "NT": Concept("33069-6", "LN", "Nuchal Translucency"),
}


def sizes(frame: FrameReference, **values_mm: float) -> tuple[Measurement, ...]:
    """Measure sizes in a frame of at least 160 x 120 pixels; without values those of a fetus of 28 weeks."""
    ellipse = Graphic("ellipse", ((40.0, 60.0), (120.0, 60.0), (80.0, 30.0), (80.0, 90.0)))
    line = Graphic("polyline", ((40.0, 60.0), (120.0, 60.0)))
    return tuple(
        Measurement(
            "biometry", frame, name, QUANTITIES[name], value, "mm", ellipse if name in ("HC", "AC") else line, HEAD
        )
        for name, value in (values_mm or SIZES_28_WEEKS).items()
    )


def anomaly(*frames: FrameReference) -> tuple[Finding, ...]:
    """Find an anomaly over several frames, with a heat map of the first."""
    values = tuple(tuple(round(x * y / 12, 3) for x in range(5)) for y in range(4))
    return (
        Classification(
            "anomalies",
            frames,
            "anomaly",
            CNS,
            ENCEPHALOCELE,
            "encephalocele",
            ((NO_ANOMALY, 0.2), (ENCEPHALOCELE, 0.8)),
        ),
        HeatMap("anomalies", frames[0], "anomaly", ENCEPHALOCELE, "encephalocele", 0.9, values, "Grad-CAM"),
    )


def content_item(value_type: str, name: Concept, *content: Dataset, relationship: str = "CONTAINS") -> Dataset:
    """Make an item of a structured report's tree."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = relationship, value_type
    ds.ConceptNameCodeSequence = [code_item(name)]
    if content:
        ds.ContentSequence = list(content)
    if value_type == "CONTAINER":
        ds.ContinuityOfContent = "SEPARATE"
    return ds


def code_item(concept: Concept) -> Dataset:
    """Give a concept as an item of a code sequence."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = concept.value, concept.scheme, concept.meaning
    return ds


def number_item(name: Concept, value: float, unit: str, *content: Dataset) -> Dataset:
    """Make a NUM item; ``unit`` in UCUM."""
    ds, measured = content_item("NUM", name, *content), Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [code_item(Concept(unit, "UCUM", unit))]
    ds.MeasuredValueSequence = [measured]
    return ds


def marked(name: Concept, value: Concept, relationship: str = "HAS PROPERTIES") -> Dataset:
    """Make a CODE item."""
    return changed(content_item("CODE", name, relationship=relationship), ConceptCodeSequence=[code_item(value)])


def text_item(name: Concept, value: str, relationship: str = "HAS OBS CONTEXT") -> Dataset:
    """Make a TEXT item."""
    return changed(content_item("TEXT", name, relationship=relationship), TextValue=value)


def date_item(name: Concept, value: str) -> Dataset:
    """Make a DATE item."""
    return changed(content_item("DATE", name), Date=value)


SUBJECT_ID = Concept("121030", "DCM", "Subject ID")
LMP = Concept("8665-2", "LN", "LMP")
CHOSEN = marked(Concept("121404", "DCM", "Selection Status"), Concept("121410", "DCM", "User chosen value"))


def biometry_group(quantity: str, *values: tuple[float, str] | Dataset) -> Dataset:
    """Make a biometry group as scanners do: each value with its unit, or a whole item."""
    group = Concept("125005", "DCM", "Biometry Group")
    items = [it if isinstance(it, Dataset) else number_item(QUANTITIES[quantity], *it) for it in values]
    return content_item("CONTAINER", group, *items)


def biometry_section(*content: Dataset) -> Dataset:
    """Make the section of fetal biometry."""
    return content_item("CONTAINER", Concept("125002", "DCM", "Fetal Biometry"), *content)


def scanner_report(*content: Dataset, number: int = 9, **changes: object) -> Dataset:
    """Make what a scanner sends of its calliper measurements: a Comprehensive SR by TID 5000."""
    ds = header(
        "1.2.840.10008.5.1.4.1.1.88.33", number, Modality="SR", ImageType=None, SeriesInstanceUID=STUDY_UID + ".2"
    )
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.ContentDate, ds.ContentTime = "20260102", "103000"
    ds.CompletionFlag, ds.VerificationFlag = "PARTIAL", "UNVERIFIED"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code_item(Concept("125000", "DCM", "OB-GYN Ultrasound Procedure Report"))]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "5000"
    ds.ContentTemplateSequence = [template]
    ds.ContentSequence = list(content)
    return changed(ds, **changes)


def analysis(
    found: Sequence[Finding] = (), not_analysed: Sequence[NotAnalysed] = (), **changes: object
) -> StudyAnalysis:
    """Give the analysis of the synthetic study."""
    answer = StudyAnalysis(
        study_instance_uid=STUDY_UID,
        version=1,
        analysed_at=datetime(2026, 1, 2, 12, 30, 5, tzinfo=UTC),
        findings=tuple(found),
        not_analysed=tuple(not_analysed),
        algorithms=ALGORITHMS,
        sampling=(),
    )
    return dataclasses.replace(answer, **changes)  # type: ignore[arg-type]


def sampling(ds: Dataset, analysed: int) -> CineSampling:
    """Say that some frames of a cine were analysed."""
    return CineSampling(str(ds.SOPInstanceUID), int(ds.NumberOfFrames), analysed)
