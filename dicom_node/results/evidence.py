"""What a result takes over from the images it is about. The scanner's own header is never changed."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI_FRAME_IMAGE = "1.2.840.10008.5.1.4.1.1.3.1"
_MULTI_FRAME = frozenset("1.2.840.10008.5.1.4.1.1." + suffix for suffix in ("3", "3.1", "7.1", "7.2", "7.3", "7.4"))

#: Type 2 attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): present, if need be empty.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
#: What else belongs to the patient and the study, and must agree in all objects of a study.
_WHERE_PRESENT = (
    "TimezoneOffsetFromUTC",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthTime",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PhysiciansOfRecord",
    "ConsultingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "LastMenstrualDate",
    "PregnancyStatus",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
)
#: Body parts of which there is one: of any other, or of a word that is no term, a Laterality would be asked for.
_UNPAIRED = frozenset({"ABDOMEN", "ABDOMENPELVIS", "BRAIN", "HEAD", "PELVIS", "SKULL", "UTERUS"})
INHERITED = (*_ALWAYS, *_WHERE_PRESENT)  #: what is copied as the scanner wrote it


def patient_and_study(header: Dataset) -> Dataset:
    """Copy what identifies patient and study, with the attributes that must be present.

    Every text is decoded by the character set of the source, and the copy names none:
    :func:`dicom_node.results.document.part10` chooses one for the whole object. To change only the name of the
    character set would corrupt the patient's name.
    """
    inherited = Dataset()
    for keyword in INHERITED:
        if keyword in header:
            inherited.update(_as_text(header, keyword))
    for keyword in _ALWAYS:
        if keyword not in inherited:
            setattr(inherited, keyword, None)
    return inherited


def the_named_first(headers: Sequence[Dataset]) -> list[Dataset]:
    """Put a header first that names the patient as most of them do: an instance of a study may name nobody."""
    told = {id(header): (_stated(header, "PatientID"), _stated(header, "PatientName")) for header in headers}
    named = Counter(told.values())

    def rank(header: Dataset) -> tuple[bool, bool, int]:
        patient_id, name = told[id(header)]
        return not patient_id, not name, -named[patient_id, name]

    return sorted(headers, key=rank)


def _stated(header: Dataset, keyword: str) -> str:
    return str(_as_text(header, keyword).get(keyword) or "") if keyword in header else ""


def _as_text(header: Dataset, keyword: str) -> Dataset:
    """Copy one element with its text decoded; nothing, when it cannot be read: one bad value costs no report."""
    copied = Dataset()
    with warnings.catch_warnings():  # an undeclared or wrong character set is the scanner's; what can be read is kept
        warnings.simplefilter("ignore")
        try:
            copied.SpecificCharacterSet = header.get("SpecificCharacterSet")
            copied[keyword] = copy.deepcopy(header[keyword])
            copied.decode()
            copied.walk(_as_plain_text)
            copied.walk(_without_character_set)
        except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
            return Dataset()
    return copied


def _as_plain_text(_ds: Dataset, element: DataElement) -> None:
    """Turn person names, which remember their bytes, into text that is encoded anew."""
    if element.VR == "PN" and element.value:
        names = element.value if isinstance(element.value, Sequence) and not isinstance(element.value, str) else None
        element.value = [str(name) for name in names] if names is not None else str(element.value)


def _without_character_set(ds: Dataset, element: DataElement) -> None:
    if element.keyword == "SpecificCharacterSet":
        del ds[element.tag]


def body_part(header: Dataset) -> str:
    """Give the source's Body Part Examined where it is a known term (PS3.16 Annex L), else UTERUS: FETUS is none."""
    stated = str(header.get("BodyPartExamined") or "")
    return stated if stated in _UNPAIRED else "UTERUS"


def is_picture(header: Dataset) -> bool:
    """Tell whether an instance is an image that a report can refer to."""
    return min(size_px(header)) > 0


def instance_number(header: Dataset) -> int | None:
    """Read Instance Number, by which viewers name an image; None when absent or no number."""
    return _whole_number(header, "InstanceNumber", absent=0) or None


def size_px(header: Dataset) -> tuple[int, int]:
    """Read Rows and Columns; 0 for what is absent or no size."""
    return _whole_number(header, "Rows", absent=0), _whole_number(header, "Columns", absent=0)


def stand_in(header: Dataset) -> Dataset:
    """Describe an image in the words that highdicom knows, whatever class its scanner used.

    highdicom refuses the retired ultrasound classes and a US Image with several frames. The true class goes into
    every reference afterwards, by :func:`restore_sop_classes`.
    """
    frames = number_of_frames(header)
    image = Dataset()
    image.SOPClassUID = US_MULTI_FRAME_IMAGE if needs_frame_numbers(header) else US_IMAGE
    image.SOPInstanceUID = header.SOPInstanceUID
    image.StudyInstanceUID = header.StudyInstanceUID
    image.SeriesInstanceUID = header.SeriesInstanceUID
    image.Modality = "US"
    image.Rows, image.Columns = size_px(header)
    if needs_frame_numbers(header):
        image.NumberOfFrames = frames
    return image


def needs_frame_numbers(header: Dataset) -> bool:
    """Tell whether a reference to one picture of this instance must name the frame."""
    return number_of_frames(header) > 1 or str(header.SOPClassUID) in _MULTI_FRAME


def number_of_frames(header: Dataset) -> int:
    """Read Number of Frames; 1 when absent or no count."""
    return max(1, _whole_number(header, "NumberOfFrames", absent=1))


def why_frames_are_wrong(reference: Dataset, source: Dataset) -> Iterator[str]:
    """Say what is wrong with the frame numbers of a reference to an instance; nothing, when they are right."""
    frames = frame_numbers(reference)
    if frames and not needs_frame_numbers(source):
        yield "a still image is referenced with a frame number"
    if any(not 1 <= frame <= number_of_frames(source) for frame in frames):
        yield f"frame {max(frames)} of {number_of_frames(source)} frames is referenced"


def frame_numbers(reference: Dataset) -> list[int]:
    """Read Referenced Frame Number (0008,1160): none, one or several."""
    listed = reference.get("ReferencedFrameNumber")
    if listed is None:
        return []
    return [int(frame) for frame in (listed if isinstance(listed, Sequence | MultiValue) else [listed])]


def _whole_number(header: Dataset, keyword: str, *, absent: int) -> int:
    """Read a number as tolerantly as the decoding does; 0 when what is there is none."""
    try:
        stated = header.get(keyword)
        return absent if stated in (None, "") else max(0, int(stated))
    except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
        return 0


def restore_sop_classes(ds: Dataset, headers: Sequence[Dataset]) -> None:
    """Put the true SOP class into every reference to one of the images."""
    true_class = {str(header.SOPInstanceUID): str(header.SOPClassUID) for header in headers}

    def restore(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = true_class.get(str(item.get("ReferencedSOPInstanceUID", "")), element.value)

    ds.walk(restore)


def evidence_items(study_instance_uid: str, headers: Sequence[Dataset]) -> list[Dataset]:
    """List images for Current Requested Procedure Evidence (PS3.3 C.17.2.2), by series, in the given order."""
    by_series: dict[str, list[Dataset]] = {}
    for header in headers:
        reference = Dataset()
        reference.ReferencedSOPClassUID = header.SOPClassUID
        reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
        by_series.setdefault(str(header.SeriesInstanceUID), []).append(reference)
    if not by_series:
        return []
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_instance_uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_instance_uid
        series.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(series)
    return [study]
