"""From an analysis to finished objects: the one entry of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom import Dataset

from dicom_node.domain.finding import HeatMap
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.result import CineSampling, ResultObject, StudyAnalysis
from dicom_node.errors import NonConformantObject
from dicom_node.results import captures, findings_sr
from dicom_node.results.captures import FrameReader
from dicom_node.results.document import part10
from dicom_node.results.findings_sr import Predecessor, Subject
from dicom_node.results.gate import check_capture, check_cine, check_page, check_report
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.profile import Profile

EVERYWHERE_READ = Profile()  #: what every PACS takes
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
    *,
    profile: Profile = EVERYWHERE_READ,
    read_frames: FrameReader | None = None,
) -> list[ResultObject | QuarantinedObject]:
    """Build all objects of one answer that a profile wants; all pass the gate.

    By default: the report, a summary page, one overlay per key frame, one per heat map. The report points to the heat
    maps. The same arguments always give the same bytes.

    :param headers: of every readable instance of the study, data sets before the pixel data. They are not changed.
    :param key_frames: the decoded pictures to draw on.
    :param previous: the reports of the version that this one replaces.
    :param read_frames: gives the analysed frames of a cine, where the profile wants cine overlays.
    """
    headers = sorted(headers, key=lambda header: str(header.SOPInstanceUID))
    by_uid = {str(header.SOPInstanceUID): header for header in headers}

    def report(subject: Subject) -> Dataset:
        if not headers:
            raise NonConformantObject("no instance of the study has a readable header: the patient is not known")
        return findings_sr.build_report(
            subject, analysis, headers, node, previous, explanations=explanations, profile=profile
        )

    def header_of(uid: str) -> Dataset:
        if uid not in by_uid:
            raise NonConformantObject(f"a key frame is of instance {uid}, which has no header")
        return by_uid[uid]

    def page() -> Dataset:
        return captures.build_page(1, headers, frames, analysis=analysis, node=node, profile=profile)

    def capture(number: int, frame: Frame, heat_map: HeatMap | None) -> Dataset:
        header = header_of(frame.reference.sop_instance_uid)
        return captures.build_capture(
            frame, number, header, analysis=analysis, node=node, profile=profile, heat_map=heat_map
        )

    def cine(number: int, sampling: CineSampling) -> Dataset:
        if read_frames is None:
            raise NonConformantObject("nobody gives the frames of the cine")
        header = header_of(sampling.sop_instance_uid)
        return captures.build_cine(sampling, number, header, read_frames, analysis=analysis, node=node, profile=profile)

    frames = sorted(
        key_frames.values(), key=lambda frame: (frame.reference.sop_instance_uid, frame.reference.frame_number or 0)
    )
    drawn: list[tuple[Frame, HeatMap | None]] = [(frame, None) for frame in frames]
    drawn += [(key_frames[it.frame], it) for it in analysis.findings if isinstance(it, HeatMap)]
    drawn = drawn if captures.KIND in profile.objects else []
    unbuilt = partial(node.uid, "unbuilt", analysis.study_instance_uid, str(analysis.version), profile.mark)
    pages = (
        [_gated(captures.KIND, page, check_page, headers, unbuilt("page"))]
        if headers and captures.KIND in profile.objects
        else []
    )
    overlays = [
        _gated(captures.KIND, partial(capture, number, *what), check_capture, headers, unbuilt(f"capture {number}"))
        for number, what in enumerate(drawn, start=2)
    ]
    worth = [it for it in analysis.sampling if captures.is_worth_a_cine(it)]
    cines = [
        _gated(captures.CINE_KIND, partial(cine, number, it), check_cine, headers, unbuilt(f"cine {number}"))
        for number, it in enumerate(worth, start=1)
        if captures.CINE_KIND in profile.objects
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
        if findings_sr.KIND in profile.objects
    ]
    return [*reports, *pages, *overlays, *cines]


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
