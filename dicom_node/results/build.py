"""From an analysis to finished objects: the one entry of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom import Dataset

from dicom_node.domain.finding import HeatMap
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.result import ResultObject, StudyAnalysis
from dicom_node.errors import NonConformantObject
from dicom_node.results import biometry_sr, captures, findings_sr
from dicom_node.results.document import part10
from dicom_node.results.findings_sr import Subject
from dicom_node.results.gate import check_biometry, check_capture, check_report
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import Predecessor

Check = Callable[[bytes, Sequence[Dataset]], None]


@dataclass(frozen=True, slots=True)
class QuarantinedObject:
    """An object that failed the conformance gate: kept for a person to look at, never sent.

    ``part10`` is empty when it could not even be built; its UIDs then only stand in its place.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    part10: bytes
    reason: str


def build_objects(
    analysis: StudyAnalysis,
    headers: Sequence[Dataset],
    key_frames: Mapping[FrameReference, Frame],
    node: NodeIdentity,
    previous: Sequence[Predecessor] = (),
) -> list[ResultObject | QuarantinedObject]:
    """Build all objects of one answer: reports, one overlay per key frame, one per heat map; all pass the gate.

    There is a report of findings always, one of biometry where something was measured in millimetres. The former
    points to the heat maps. The same arguments always give the same bytes.

    :param headers: of every readable instance of the study, data sets before the pixel data. They are not changed.
    :param key_frames: the decoded pictures to draw on.
    :param previous: the reports of the version that this one replaces.
    """
    headers = sorted(headers, key=lambda header: str(header.SOPInstanceUID))
    measured = biometry_sr.has_biometry(analysis)
    by_uid = {str(header.SOPInstanceUID): header for header in headers}

    def report(subject: Subject) -> Dataset:
        if not headers:
            raise NonConformantObject("no instance of the study has a readable header: the patient is not known")
        replaced = [it for it in previous if it.kind != biometry_sr.KIND or not measured]
        return findings_sr.build_report(subject, analysis, headers, node, replaced, explanations=explanations)

    def biometry() -> Dataset:
        replaced = [it for it in previous if it.kind == biometry_sr.KIND]
        return biometry_sr.build_report(analysis, headers, node, replaced)

    def capture(number: int, frame: Frame, heat_map: HeatMap | None) -> Dataset:
        uid = frame.reference.sop_instance_uid
        if uid not in by_uid:
            raise NonConformantObject(f"a key frame is of instance {uid}, which has no header")
        return captures.build_capture(frame, number, by_uid[uid], analysis, node, heat_map=heat_map)

    frames = sorted(
        key_frames.values(), key=lambda frame: (frame.reference.sop_instance_uid, frame.reference.frame_number or 0)
    )
    drawn: list[tuple[Frame, HeatMap | None]] = [(frame, None) for frame in frames]
    drawn += [(key_frames[it.frame], it) for it in analysis.findings if isinstance(it, HeatMap)]
    unbuilt = partial(node.uid, "unbuilt", analysis.study_instance_uid, str(analysis.version))
    overlays = [
        _gated(captures.KIND, partial(capture, number, *what), check_capture, headers, unbuilt(f"capture {number}"))
        for number, what in enumerate(drawn, start=1)
    ]
    explanations = [
        (what[1], _identity(overlay, analysis))
        for what, overlay in zip(drawn, overlays, strict=True)
        if what[1] is not None and isinstance(overlay, ResultObject)
    ]
    evidence = [*headers, *(identity for _, identity in explanations)]
    reports = [
        _gated(findings_sr.KIND, partial(report, subject), check_report, evidence, unbuilt(subject.name))
        for subject in findings_sr.subjects_of(analysis)
    ]
    if measured:
        reports.append(_gated(biometry_sr.KIND, biometry, check_biometry, headers, unbuilt("biometry")))
    return [*reports, *overlays]


def _identity(result: ResultObject, analysis: StudyAnalysis) -> Dataset:
    """Give what a report needs to point to another result."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = result.sop_class_uid, result.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = analysis.study_instance_uid, result.series_instance_uid
    return ds


def _gated(
    kind: str, build: Callable[[], Dataset], check: Check, headers: Sequence[Dataset], unbuilt_uid: str
) -> ResultObject | QuarantinedObject:
    """Build one object and pass it through the gate; ``unbuilt_uid`` names it when it has no UID of its own."""
    try:
        ds = build()
        data = part10(ds)
    except Exception as error:  # noqa: BLE001 - highdicom refuses what it cannot write with many types of error
        reason = str(error) if isinstance(error, NonConformantObject) else f"{type(error).__name__}: {error}"
        return QuarantinedObject(kind, "", unbuilt_uid, "", b"", reason)
    names = (str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID))
    try:
        check(data, headers)
    except NonConformantObject as error:
        return QuarantinedObject(kind, *names, data, str(error))
    return ResultObject(kind, *names, data)
