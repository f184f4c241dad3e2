"""The flag in the worklist: a Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010) of what a reader must see first."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection
from pydicom import Dataset

from dicom_node.domain.finding import HeatMap, frames_of
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.result import StudyAnalysis
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results import codes
from dicom_node.results.document import Series, new_object
from dicom_node.results.evidence import evidence_items, restore_sop_classes, stand_in
from dicom_node.results.groups import coded
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import observer
from dicom_node.results.suspicion import is_suspicious

KIND: ObjectKind = "key_object"
SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.88.59"
DESCRIPTION = "AI key images, investigational, not verified"
_WHY = "Investigational AI result, not verified: these images gave an answer that is not normal."


def suspicious_frames(analysis: StudyAnalysis) -> list[FrameReference]:
    """List the frames that gave an answer other than normal; a normal study has none, and no key object.

    Where heat maps explain an answer over many frames, it is theirs: the others do not show it as well.
    """
    frames: dict[FrameReference, None] = {}
    for finding in analysis.findings:
        if is_suspicious(finding):
            explained = [it.frame for it in analysis.findings if isinstance(it, HeatMap) and it.explains(finding)]
            frames |= dict.fromkeys(explained or frames_of(finding))
    return list(frames)


def explains_suspicion(heat_map: HeatMap, analysis: StudyAnalysis) -> bool:
    """Tell whether a heat map is of an answer other than normal: one may also explain a plane."""
    return any(is_suspicious(finding) and heat_map.explains(finding) for finding in analysis.findings)


def build_key_object(
    frames: Sequence[FrameReference],
    headers: Sequence[Dataset],
    pictures: Sequence[Dataset],
    *,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
) -> Dataset:
    """Select images as "Of Interest".

    :param headers: of the instances that the frames are of.
    :param pictures: captures that explain the answer, by their identity; they are selected too.
    """
    series = Series.of(profile, KIND, SOP_CLASS_UID, "KO", DESCRIPTION)
    ds = new_object(series, "of interest", patient, analysis, node)
    ds.InstanceNumber = 1
    content = KeyObjectSelection(
        document_title=coded(codes.OF_INTEREST),
        referenced_objects=[*(stand_in(header) for header in headers), *pictures],
        observer_device_context=observer(node),
        description=_WHY,
    )[0]
    for element in content:
        ds[element.tag] = element
    for item in ds.ContentSequence:
        if item.ValueType == "COMPOSITE":  # highdicom knows images by their size, which an identity does not tell
            item.ValueType = "IMAGE"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = evidence_items(analysis.study_instance_uid, [*headers, *pictures])
    restore_sop_classes(ds, headers)
    _name_frames(ds, frames)
    return ds


def _name_frames(ds: Dataset, frames: Sequence[FrameReference]) -> None:
    numbers: dict[str, list[int]] = {}
    for frame in frames:
        if frame.frame_number is not None:
            numbers.setdefault(frame.sop_instance_uid, []).append(frame.frame_number)
    for item in ds.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", []):
            if of_instance := numbers.get(str(reference.ReferencedSOPInstanceUID)):
                reference.ReferencedFrameNumber = sorted(of_instance)
