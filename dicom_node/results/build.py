"""From an analysis to finished objects: the one entry of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, TypeVar

from pydicom import Dataset

from dicom_node.domain.finding import HeatMap, Segmentation
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.result import CineSampling, ResultObject, StudyAnalysis
from dicom_node.errors import NonConformantObject
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results import biometry_sr, captures, findings_sr, key_object, presentation, segmentation
from dicom_node.results.captures import FrameReader
from dicom_node.results.document import part10
from dicom_node.results.evidence import the_named_first
from dicom_node.results.findings_sr import Subject
from dicom_node.results.gate import Held, check
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import Predecessor

EVERYWHERE_READ = Profile()  #: what every PACS takes


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


_Built = ResultObject | QuarantinedObject
_Of = TypeVar("_Of")


class _Author(TypedDict):
    """What every builder of pictures is told.

    ``patient`` is the header that names patient and study in all objects of an answer, also where other images of the
    study name them otherwise: a name may be corrected during an examination.
    """

    patient: Dataset
    analysis: StudyAnalysis
    node: NodeIdentity
    profile: Profile


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

    By default: a report of findings, one of biometry where something was measured in millimetres, a summary page, one
    overlay per key frame and one per heat map, to which the report of findings points. The same arguments always give
    the same bytes.

    :param headers: of every readable instance of the study, data sets before the pixel data. They are not changed.
    :param key_frames: the decoded pictures to draw on.
    :param previous: the reports of the version that this one replaces.
    :param read_frames: gives the analysed frames of a cine, where the profile wants cine overlays.
    """
    headers = the_named_first(sorted(headers, key=lambda header: str(header.SOPInstanceUID)))
    frames = sorted(
        key_frames.values(), key=lambda frame: (frame.reference.sop_instance_uid, frame.reference.frame_number or 0)
    )
    answer = _Answer(analysis, headers, frames, node, previous, profile, read_frames)
    drawn = answer.drawn()
    overlays = [answer.overlay(number, *what) for number, what in enumerate(drawn, start=2)]
    explanations = [
        (what[1], _identity(overlay, analysis))
        for what, overlay in zip(drawn, overlays, strict=True)
        if what[1] is not None and isinstance(overlay, ResultObject)
    ]
    return [
        *answer.reports(explanations),
        *answer.pages(),
        *overlays,
        *answer.cines(),
        *answer.segmentations(),
        *answer.presentation_states(),
        *answer.key_objects([it for heat_map, it in explanations if key_object.explains_suspicion(heat_map, analysis)]),
    ]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer being written: each method builds the objects of one kind, none when the profile wants none."""

    analysis: StudyAnalysis
    headers: Sequence[Dataset]
    frames: Sequence[Frame]
    node: NodeIdentity
    previous: Sequence[Predecessor]
    profile: Profile
    read_frames: FrameReader | None

    def reports(self, explanations: Sequence[tuple[HeatMap, Dataset]]) -> list[_Built]:
        analysis, headers, node, profile = self.analysis, self.headers, self.node, self.profile
        measured = biometry_sr.has_biometry(analysis) and biometry_sr.KIND in profile.objects

        def findings(subject: Subject) -> Dataset:
            if not headers:
                raise NonConformantObject("no instance of the study has a readable header: the patient is not known")
            replaced = [it for it in self.previous if it.kind != biometry_sr.KIND or not measured]
            return findings_sr.build_report(
                subject, analysis, headers, node, replaced, explanations=explanations, profile=profile
            )

        def biometry() -> Dataset:
            replaced = [it for it in self.previous if it.kind == biometry_sr.KIND]
            return biometry_sr.build_report(analysis, headers, node, replaced, profile=profile)

        evidence = [*headers, *(identity for _, identity in explanations)]
        built = [
            self._gated(findings_sr.KIND, partial(findings, subject), subject.name, evidence)
            for subject in findings_sr.subjects_of(analysis)
            if findings_sr.KIND in profile.objects
        ]
        if measured:
            built.append(self._gated(biometry_sr.KIND, biometry, "biometry"))
        return built

    def pages(self) -> list[_Built]:
        if not self.headers or captures.KIND not in self.profile.objects:
            return []
        page = partial(captures.build_page, 1, self.headers, self.frames, **self._author())
        return [self._gated(captures.KIND, page, "page", held_as="summary_page")]

    def drawn(self) -> list[tuple[Frame, HeatMap | None]]:
        """List what gets an overlay: each key frame, and each heat map alone."""
        if captures.KIND not in self.profile.objects:
            return []
        by_reference = {frame.reference: frame for frame in self.frames}
        heat_maps = [it for it in self.analysis.findings if isinstance(it, HeatMap)]
        return [*((frame, None) for frame in self.frames), *((by_reference[it.frame], it) for it in heat_maps)]

    def overlay(self, number: int, frame: Frame, heat_map: HeatMap | None) -> _Built:
        def capture() -> Dataset:
            header = self._header_of(frame.reference.sop_instance_uid)
            return captures.build_capture(frame, number, header, heat_map=heat_map, **self._author())

        return self._gated(captures.KIND, capture, f"capture {number}")

    def cines(self) -> list[_Built]:
        def cine(number: int, sampling: CineSampling) -> Dataset:
            if self.read_frames is None:
                raise NonConformantObject("nobody gives the frames of the cine")
            header = self._header_of(sampling.sop_instance_uid)
            return captures.build_cine(sampling, number, header, self.read_frames, **self._author())

        worth = [it for it in self.analysis.sampling if captures.is_worth_a_cine(it)]
        return self._several(captures.CINE_KIND, cine, worth)

    def segmentations(self) -> list[_Built]:
        def masks(number: int, of: tuple[FrameReference, list[Segmentation]]) -> Dataset:
            header = self._header_of(of[0].sop_instance_uid)
            scale = calibrations.get(of[0])
            return segmentation.build_segmentation(*of, number, header, calibration=scale, **self._author())

        calibrations = {frame.reference: frame.calibration for frame in self.frames}

        outlined = list(segmentation.segmented_frames(self.analysis).items())
        return self._several(segmentation.KIND, masks, outlined)

    def presentation_states(self) -> list[_Built]:
        def state(number: int, uid: str) -> Dataset:
            of_instance = [frame for frame in self.frames if frame.reference.sop_instance_uid == uid]
            return presentation.build_presentation_state(of_instance, number, self._header_of(uid), **self._author())

        instances = list(dict.fromkeys(frame.reference.sop_instance_uid for frame in self.frames))
        return self._several(presentation.KIND, state, instances)

    def key_objects(self, pictures: Sequence[Dataset]) -> list[_Built]:
        frames = key_object.suspicious_frames(self.analysis)
        if not frames or key_object.KIND not in self.profile.objects:
            return []

        def selection() -> Dataset:
            of_frames = [self._header_of(uid) for uid in dict.fromkeys(frame.sop_instance_uid for frame in frames)]
            return key_object.build_key_object(frames, of_frames, pictures, **self._author())

        evidence = [*self.headers, *pictures]
        return [self._gated(key_object.KIND, selection, "key object", evidence)]

    def _several(self, kind: ObjectKind, build: Callable[[int, _Of], Dataset], of: Sequence[_Of]) -> list[_Built]:
        if kind not in self.profile.objects:
            return []
        return [
            self._gated(kind, partial(build, number, it), f"{kind} {number}") for number, it in enumerate(of, start=1)
        ]

    def _gated(
        self,
        kind: ObjectKind,
        build: Callable[[], Dataset],
        about: str,
        evidence: Sequence[Dataset] | None = None,
        *,
        held_as: Held | None = None,
    ) -> _Built:
        unbuilt_uid = self.node.uid("unbuilt", self.node.ae_title, self.analysis.digest, about, self.profile.mark)
        return _gated(kind, build, held_as or kind, self.headers if evidence is None else evidence, unbuilt_uid)

    def _author(self) -> _Author:
        return {"patient": self.headers[0], "analysis": self.analysis, "node": self.node, "profile": self.profile}

    def _header_of(self, sop_instance_uid: str) -> Dataset:
        for header in self.headers:
            if header.SOPInstanceUID == sop_instance_uid:
                return header
        raise NonConformantObject(f"a key frame is of instance {sop_instance_uid}, which has no header")


def _identity(result: ResultObject, analysis: StudyAnalysis) -> Dataset:
    """Give what a report needs to point to another result."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = result.sop_class_uid, result.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = analysis.study_instance_uid, result.series_instance_uid
    return ds


def _gated(
    kind: ObjectKind, build: Callable[[], Dataset], held_as: Held, headers: Sequence[Dataset], unbuilt_uid: str
) -> _Built:
    """Build one object and pass it through the gate; ``unbuilt_uid`` names it when it has no UID of its own."""
    try:
        ds = build()
        data = part10(ds)
    except Exception as error:  # noqa: BLE001 - highdicom refuses what it cannot write with many types of error
        reason = str(error) if isinstance(error, NonConformantObject) else f"{type(error).__name__}: {error}"
        return QuarantinedObject(kind, "", unbuilt_uid, "", b"", reason)
    names = (str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID))
    try:
        check(held_as, data, headers)
    except NonConformantObject as error:
        return QuarantinedObject(kind, *names, data, str(error))
    return ResultObject(kind, *names, data)
