"""The conformance gate: no result leaves the node that breaks a rule which the validators do not know.

It reads the very bytes that would be sent. Public validators run in the tests; what they cannot see (PS3.16 templates,
points outside the picture, missing tracking) is checked here, on every object, at run time.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import pydicom
from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.domain.identifiers import uid_fault
from dicom_node.errors import NonConformantObject
from dicom_node.profile import SR_CLASSES, ObjectKind
from dicom_node.results import annotation_rules, codes, picture_rules, tid_1500, tid_5000
from dicom_node.results.content_tree import code_of, content, items, meaning, unit_of
from dicom_node.results.evidence import INHERITED, needs_frame_numbers, size_px, why_frames_are_wrong

Rule = Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]]
#: What has rules of its own: each kind of object, and the capture that is drawn from nothing and lies over no frame.
Held = ObjectKind | Literal["summary_page"]

_TYPE_2_COMMON = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "Manufacturer",
)  # fmt: skip
_TYPE_1_COMMON = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_TYPE_1_REPORT = (
    *_TYPE_1_COMMON, "SeriesNumber", "InstanceNumber", "CompletionFlag", "VerificationFlag", "ContentDate",
    "ContentTime", "ValueType", "ConceptNameCodeSequence", "ContinuityOfContent", "ContentSequence",
)  # fmt: skip
_TYPE_2_REPORT = (*_TYPE_2_COMMON, "ReferencedPerformedProcedureStepSequence", "PerformedProcedureCodeSequence")
_TYPE_1_PAGE = (
    *_TYPE_1_COMMON, "ConversionType", "ImageType", "BurnedInAnnotation", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelData",
)  # fmt: skip
_TYPE_1_CAPTURE = (*_TYPE_1_PAGE, "SourceImageSequence")
_TYPE_1_CINE = (*_TYPE_1_CAPTURE, "NumberOfFrames", "FrameIncrementPointer")
_TYPE_1_SEGMENTATION = (
    *_TYPE_1_COMMON, "SeriesNumber", "InstanceNumber", "ContentLabel", "SegmentSequence", "SegmentationType",
    "ReferencedSeriesSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames",
    "DimensionOrganizationSequence", "PixelData",
)  # fmt: skip
_TYPE_1_PRESENTATION = (
    *_TYPE_1_COMMON, "SeriesNumber", "InstanceNumber", "ContentLabel", "PresentationCreationDate",
    "PresentationCreationTime", "ReferencedSeriesSequence", "DisplayedAreaSelectionSequence",
    "GraphicAnnotationSequence", "GraphicLayerSequence",
)  # fmt: skip
_TYPE_1_KEY_OBJECT = (
    *_TYPE_1_COMMON, "SeriesNumber", "InstanceNumber", "ContentDate", "ContentTime", "ValueType",
    "ConceptNameCodeSequence", "ContinuityOfContent", "ContentSequence", "CurrentRequestedProcedureEvidenceSequence",
)  # fmt: skip
_TYPE_2_CAPTURE = (*_TYPE_2_COMMON, "SeriesNumber", "InstanceNumber", "PatientOrientation")

_OUR_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
_MAX_SHORT, _MAX_MEANING = 16, 64  # VR SH and LO (PS3.5 6.2)
_REASONS_SHOWN = 5


def check(kind: Held, part10: bytes, headers: Sequence[Dataset]) -> None:
    """Hold an object to the rules of its kind.

    :param part10: the object as it would be sent.
    :param headers: of all instances of the study that it may speak of.
    :raises NonConformantObject: with the reasons.
    """
    sources = {str(header.SOPInstanceUID): header for header in headers}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities that were taken over from the scanner
            ds = pydicom.dcmread(io.BytesIO(part10))
            ds.decode()
            reasons = [reason for rule in _RULES[kind] for reason in rule(ds, sources)]
    except Exception as error:
        raise NonConformantObject(f"the object cannot be read back: {type(error).__name__}: {error}") from error
    if reasons:
        more = len(reasons) - _REASONS_SHOWN
        raise NonConformantObject("; ".join(reasons[:_REASONS_SHOWN]) + (f"; and {more} more" if more > 0 else ""))


def _present(type_1: Sequence[str], type_2: Sequence[str]) -> Rule:
    """Make the rule that Type 1 attributes have a value and Type 2 attributes are there."""

    def rule(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
        for keyword in type_1:
            if keyword not in ds or ds[keyword].is_empty:
                yield f"{keyword} has no value"
        for keyword in type_2:
            if keyword not in ds:
                yield f"{keyword} is missing"

    return rule


def _uids_are_valid(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check our own UIDs strictly, and those of scanners as reception does: old ones write leading zeros."""
    own = {id(ds[keyword]) for keyword in _OUR_UIDS if keyword in ds}
    for element in _without_inherited(ds).iterall():
        if element.VR != "UI" or not element.value:
            continue
        value = str(element.value)
        is_ours = id(element) in own or element.keyword == "UID"  # the latter are observers and tracking
        if not UID(value).is_valid if is_ours else uid_fault(value):
            yield f"{element.keyword} {value} is no valid UID"
    if ds.file_meta.MediaStorageSOPInstanceUID != ds.SOPInstanceUID:
        yield "the file meta information names another instance"


def _is_of_the_study(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    if any(header.StudyInstanceUID != ds.StudyInstanceUID for header in sources.values()):
        yield "an image of another study is in evidence"


def _is_of_the_patient(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that the object names the patient whom an image names: an answer in another's folder is the worst error."""
    named = {_patient(header) for header in sources.values()}
    if named and _patient(ds) not in named:
        yield "the patient is not the one of the images"
    for keyword in ("PatientBirthDate", "StudyDate", "AccessionNumber") if sources else ():
        if str(ds.get(keyword) or "") not in {str(header.get(keyword) or "") for header in sources.values()}:
            yield f"{keyword} is not that of the images"


def _patient(ds: Dataset) -> tuple[str, ...]:
    return tuple(str(ds.get(keyword) or "") for keyword in ("PatientName", "PatientID", "IssuerOfPatientID"))


def _codes_are_whole(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check each code: value, scheme and meaning within their lengths, and a private scheme declared."""
    declared = {item.CodingSchemeDesignator for item in ds.get("CodingSchemeIdentificationSequence", [])}
    for item in items(_without_inherited(ds)):
        if "CodeMeaning" not in item:
            continue
        value, scheme, meaning = item.get("CodeValue"), str(item.get("CodingSchemeDesignator", "")), item.CodeMeaning
        if not (value or item.get("LongCodeValue") or item.get("URNCodeValue")) or not scheme or not meaning:
            yield f"a code is incomplete: {value} {scheme} {meaning}"
        elif len(value or "") > _MAX_SHORT or len(scheme) > _MAX_SHORT or len(meaning) > _MAX_MEANING:
            yield f"a code is too long: {value} {scheme} {meaning}"
        elif scheme.startswith("99") and scheme not in declared:
            yield f"the private coding scheme {scheme} is not declared"


def _meanings_are_those_of_the_codes(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that no code that we know is called something else: no validator compares the two."""
    for item in items(_without_inherited(ds)):
        if "CodeMeaning" not in item:
            continue
        said, known = code_of(item), codes.meanings()
        if said.meaning.casefold() not in known.get((said.scheme, said.value), {said.meaning.casefold()}):
            yield f"{said.scheme} {said.value} does not mean {said.meaning}"


def _is_a_report(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    if ds.SOPClassUID not in SR_CLASSES.values() or ds.Modality != "SR" or ds.get("CompletionFlag") != "COMPLETE":
        yield "the object is no complete structured report"


def _never_verified(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    if ds.get("VerificationFlag") != "UNVERIFIED" or ds.get("PreliminaryFlag") != "PRELIMINARY":
        yield "a report of an algorithm must be PRELIMINARY and UNVERIFIED"


def _numbers_have_units(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    for item in content(ds, "NUM"):
        unit = unit_of(item)
        if unit is None or unit.scheme != "UCUM" or not math.isfinite(item.MeasuredValueSequence[0].NumericValue):
            yield f"{meaning(item)} has no finite value with a unit"


def _references_are_in_evidence(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check each image reference: known, of the true class, in evidence, and on a frame that exists."""
    evidence = {
        str(reference.ReferencedSOPInstanceUID)
        for study in ds.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    for item in content(ds, "IMAGE"):
        reference = item.ReferencedSOPSequence[0]
        uid = str(reference.ReferencedSOPInstanceUID)
        if uid not in evidence or uid not in sources:
            yield f"image {uid} is not in evidence"
        elif reference.ReferencedSOPClassUID != sources[uid].SOPClassUID:
            yield f"image {uid} is referenced as another class"
        else:
            yield from why_frames_are_wrong(reference, sources[uid])


def _shapes_lie_on_their_frame(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check each SCOORD (PS3.3 C.18.6): its number of points, one picture of its own, and points inside it."""
    for item in content(ds, "SCOORD"):
        values = [float(value) for value in item.GraphicData]
        images = [child for child in item.get("ContentSequence", []) if child.ValueType == "IMAGE"]
        if len(values) % 2 or (item.GraphicType == "ELLIPSE" and len(values) != 8):  # noqa: PLR2004
            yield f"a shape of type {item.GraphicType} has {len(values)} coordinates"
        if len(images) != 1:
            yield "a shape does not say on which image it lies"
            continue
        reference = images[0].ReferencedSOPSequence[0]
        source = sources.get(str(reference.ReferencedSOPInstanceUID))
        if source is None:
            continue
        if needs_frame_numbers(source) and not reference.get("ReferencedFrameNumber"):
            yield "a shape does not say on which frame of the cine it lies"
        x, y = values[0::2], values[1::2]
        rows, columns = size_px(source)
        if not all(0 <= v <= columns for v in x) or not all(0 <= v <= rows for v in y):
            yield "a shape reaches outside its image"


_COMMON: tuple[Rule, ...] = (
    *(_uids_are_valid, _is_of_the_study, _is_of_the_patient),
    *(_codes_are_whole, _meanings_are_those_of_the_codes),
)
_REPORT: tuple[Rule, ...] = (_present(_TYPE_1_REPORT, _TYPE_2_REPORT), *_COMMON, _is_a_report, _never_verified)
_MEASURED: tuple[Rule, ...] = (_numbers_have_units, _references_are_in_evidence, _shapes_lie_on_their_frame)
_RULES: Mapping[Held, tuple[Rule, ...]] = {
    "findings_sr": (*_REPORT, *tid_1500.RULES, *_MEASURED),
    "biometry_sr": (*_REPORT, *tid_5000.RULES, *_MEASURED),
    "summary_page": (_present(_TYPE_1_PAGE, _TYPE_2_CAPTURE), *_COMMON, *picture_rules.PAGE),
    "secondary_capture": (_present(_TYPE_1_CAPTURE, _TYPE_2_CAPTURE), *_COMMON, *picture_rules.CAPTURE),
    "cine_capture": (_present(_TYPE_1_CINE, _TYPE_2_CAPTURE), *_COMMON, *picture_rules.CINE),
    "segmentation": (
        _present(_TYPE_1_SEGMENTATION, _TYPE_2_COMMON),
        *_COMMON,
        *annotation_rules.SEGMENTATION,
    ),
    "presentation_state": (
        _present(_TYPE_1_PRESENTATION, _TYPE_2_COMMON),
        *_COMMON,
        *annotation_rules.PRESENTATION_STATE,
    ),
    "key_object": (
        _present(_TYPE_1_KEY_OBJECT, _TYPE_2_COMMON),
        *_COMMON,
        *annotation_rules.KEY_OBJECT,
        _references_are_in_evidence,
    ),
}


def _without_inherited(ds: Dataset) -> Dataset:
    """Give what the node itself wrote: a local procedure code of the clinic's is not ours to judge."""
    ours = Dataset()
    ours.update({element.tag: element for element in ds if element.keyword not in INHERITED})
    return ours
