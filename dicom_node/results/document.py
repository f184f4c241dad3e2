"""What every result object shares: patient, study, series, equipment, dates and the Part 10 file around it."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.domain.result import StudyAnalysis
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results.evidence import patient_and_study
from dicom_node.results.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
    MODEL_NAME,
    NodeIdentity,
)

_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d$")


@dataclass(frozen=True, slots=True)
class Series:
    """One series of results: a series holds one kind of object of one version.

    A viewer may open the last report or segmentation of a series and never show the others (OHIF 3.13), so each of
    those is a series of its own, named by ``part``.
    """

    kind: str
    sop_class_uid: str
    number: int
    modality: str
    description: str
    mark: str = ""  #: of the profile it is written for
    part: str = ""

    @classmethod
    def of(
        cls, profile: Profile, kind: ObjectKind, sop_class_uid: str, modality: str, description: str, *, part: str = ""
    ) -> Series:
        """Give the series of a kind, or of one object of a kind, as a profile wants it."""
        return cls(kind, sop_class_uid, profile.series_number(kind), modality, description, profile.mark, part)

    @property
    def _marks(self) -> list[str]:
        return [self.mark] if self.mark else []

    def uid(self, analysis: StudyAnalysis, node: NodeIdentity) -> str:
        """Derive the Series Instance UID."""
        return node.uid("series", node.ae_title, analysis.digest, self.kind, self.part, *self._marks)

    def instance_uid(self, about: str, analysis: StudyAnalysis, node: NodeIdentity) -> str:
        """Derive the SOP Instance UID of what says ``about`` this.

        The whole answer and its moment are in it: other bytes never have the same UID, wherever and however often a
        study is analysed.
        """
        return node.uid("instance", node.ae_title, analysis.digest, self.kind, about, *self._marks)


def new_object(series: Series, about: str, source: Dataset, analysis: StudyAnalysis, node: NodeIdentity) -> Dataset:
    """Start a result: its identity, the patient and study of its source, and our series and equipment.

    ``about`` says what the object is of within its series; with the answer, kind and node it makes the UID.
    """
    ds = patient_and_study(source)
    ds.SOPClassUID = UID(series.sop_class_uid)
    ds.SOPInstanceUID = UID(series.instance_uid(about, analysis, node))
    ds.StudyInstanceUID = analysis.study_instance_uid
    ds.SeriesInstanceUID = series.uid(analysis, node)
    ds.SeriesNumber = series.number
    ds.Modality = series.modality
    ds.SeriesDescription = series.description
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    ds.SoftwareVersions = node.software_version
    ds.DeviceSerialNumber = node.ae_title
    ds.StationName = node.ae_title
    if node.institution:
        ds.InstitutionName = node.institution
    at = local_time(analysis.analysed_at, ds)
    for event in ("Series", "Content", "InstanceCreation"):
        setattr(ds, f"{event}Date", at.strftime("%Y%m%d"))
        setattr(ds, f"{event}Time", at.strftime("%H%M%S"))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.FileMetaInformationVersion = b"\0\1"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return ds


def local_time(moment: datetime, ds: Dataset) -> datetime:
    """Give a moment in the time zone of the study, where the study states one, else in that of this machine.

    DICOM dates are local, and one offset holds for all dates of an object (PS3.3 C.12.1.1.8).
    """
    stated = str(ds.get("TimezoneOffsetFromUTC", "") or "").strip()
    if not _OFFSET.fullmatch(stated):
        return moment.astimezone()
    offset = timedelta(hours=int(stated[1:3]), minutes=int(stated[3:5]))
    return moment.astimezone(timezone(-offset if stated[0] == "-" else offset))


def part10(ds: Dataset) -> bytes:
    """Write the object as a Part 10 file: plain ASCII where that suffices, which every PACS reads, else UTF-8.

    The source's own character set could not be kept: our texts may not fit into it, and ISO 2022 escapes are not read
    everywhere.
    """
    ascii_only = all(str(element.value).isascii() for element in ds.iterall() if element.VR in _TEXT)
    if not ascii_only:
        ds.SpecificCharacterSet = "ISO_IR 192"
    with io.BytesIO() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values taken over from the scanner are written as the scanner wrote them
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()
