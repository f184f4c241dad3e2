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
from dicom_node.profile import ObjectKind
from dicom_node.results import annotation_rules, codes, picture_rules, tid_5000
from dicom_node.results.content_tree import children, code_of, content, is_named, items, meaning, unit_of, value_of
from dicom_node.results.evidence import INHERITED, needs_frame_numbers, size_px, why_frames_are_wrong
from dicom_node.results.public_codes import ASKED

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
_MEANING_NORMAL = {codes.NORMAL.meaning, codes.NO_ABNORMALITY.meaning}
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


def _never_verified(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    if ds.get("VerificationFlag") != "UNVERIFIED" or ds.get("PreliminaryFlag") != "PRELIMINARY":
        yield "a report of an algorithm must be PRELIMINARY and UNVERIFIED"


def _root_is_tid_1500(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check the mandatory rows of TID 1500, 1001, 1004 and 1008."""
    if not is_named(ds, codes.IMAGING_MEASUREMENT_REPORT) or _templates(ds) != ["1500"]:
        yield "the root is not TID 1500"
    mandatory = (codes.LANGUAGE, codes.OBSERVER_TYPE, codes.DEVICE_OBSERVER_UID, codes.PROCEDURE_REPORTED)
    for concept in (*mandatory, codes.IMAGING_MEASUREMENTS):
        if not children(ds, concept):
            yield f"{concept} is missing"
    if children(ds, codes.SUBJECT_CLASS) and not children(ds, codes.SUBJECT_ID):
        yield "the fetus has no Subject ID"
    if not _groups(ds):
        yield "the report has no measurement group"


def _groups_are_of_their_template(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a group with a region is of TID 1410, and any other of TID 1501."""
    for group in _groups(ds):
        due = ["1410" if any(content(group, "SCOORD")) else "1501"]
        if _templates(group) != due:
            yield f"a measurement group is of TID {', '.join(_templates(group)) or 'none'} instead of {due[0]}"


def _groups_are_tracked(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each group can be known again, and that each number says which algorithm gave it."""
    uids: list[str] = []
    for group in _groups(ds):
        tracking = children(group, codes.TRACKING_UID)
        if not tracking or not children(group, codes.TRACKING_IDENTIFIER):
            yield "a measurement group has no tracking identifier"
        uids.extend(str(item.UID) for item in tracking)
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        if numbers and not (children(group, codes.ALGORITHM_NAME) and children(group, codes.ALGORITHM_VERSION)):
            yield "a number does not say which algorithm gave it"
    if len(uids) != len(set(uids)):
        yield "two measurement groups have the same tracking UID"


def _classes_are_whole(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check each classification: every probability says of which class, one class is given, and if that is normal."""
    for group in _groups(ds):
        probabilities = children(group, codes.PROBABILITY)
        classes = {_words(of_class) for it in probabilities for of_class in children(it, codes.FINDING)}
        if len(classes) != len(probabilities):
            yield "a probability does not say of which class it is"
        if probabilities and classes.isdisjoint(_words(it) for it in group.ContentSequence):
            yield "a group has probabilities, and does not say which class is given"
        if classes & _MEANING_NORMAL and not children(group, codes.NORMALITY):
            yield "an answer does not say whether it is normal"


def _words(item: Dataset) -> str:
    """Give the answer of an item: a profile without private codes writes words in their place."""
    value = value_of(item)
    return value.meaning if value else str(item.get("TextValue", "")).rpartition(ASKED)[2]


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
_REPORT: tuple[Rule, ...] = (_present(_TYPE_1_REPORT, _TYPE_2_REPORT), *_COMMON, _never_verified)
_MEASURED: tuple[Rule, ...] = (_numbers_have_units, _references_are_in_evidence, _shapes_lie_on_their_frame)
_RULES: Mapping[Held, tuple[Rule, ...]] = {
    "findings_sr": (
        *(*_REPORT, _root_is_tid_1500, _groups_are_of_their_template, _groups_are_tracked, _classes_are_whole),
        *_MEASURED,
    ),
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


def _groups(ds: Dataset) -> list[Dataset]:
    return [
        group
        for measurements in children(ds, codes.IMAGING_MEASUREMENTS)
        for group in children(measurements, codes.MEASUREMENT_GROUP)
    ]


def _templates(container: Dataset) -> list[str]:
    return [str(item.TemplateIdentifier) for item in container.get("ContentTemplateSequence", [])]
