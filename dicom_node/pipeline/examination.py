"""Looking at the instances of one study: decode, gate by plane, run the tasks, keep what is worth reporting.

One bad instance, one bad frame or one failing task becomes "not analysed: why"; it never costs the rest of the study.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.domain.biometry import believable
from dicom_node.domain.finding import Classification, Finding, HeatMap, NotAssessable
from dicom_node.domain.finding import frames_of as frames_of_finding
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.key_frames import OUT_OF_SCOPE, SeenFrame, choose_key_frames
from dicom_node.domain.patient import of_another
from dicom_node.domain.result import Algorithm, CineSampling, NotAnalysed
from dicom_node.domain.scanner_report import ScannerReport, together
from dicom_node.errors import BadInput, ModelError, NoPixelData, UndecodableFrame
from dicom_node.imaging.decode import read_report
from dicom_node.imaging.frames import (
    Instance,
    colour_share,
    frames_of,
    one_frame,
    open_instance,
    sample_frame_numbers,
)
from dicom_node.inference.task import StudyTask, Task
from dicom_node.results.scanner_sr import read_scanner_report

logger = logging.getLogger(__name__)

GATE = "planes"
PLANE = "plane"  #: name of the gate's classification
#: Below this probability the gate's plane is no answer, and no task acts on it. Of real standard planes 1.3 % fall
#: below; pictures of other examinations, which the gate never learned, were given planes at up to 0.73.
SURE_ENOUGH = 0.6
#: A frame with a larger coloured share is Doppler or a rendered volume. Banners, text and scales stay below: up to
#: 0.096 of a whole grey-scale picture in the samples, 0.004 inside its tissue regions.
MOST_COLOUR = 0.15
#: Decoded at once, whatever the batch size: a hundred pictures of a usual size.
PIXELS_OF_A_BATCH = 100_000_000
#: Of all key frames of a study: they are held at once, three bytes for each, while the results are drawn.
PIXELS_OF_A_STUDY = 1_000_000_000
TOO_MUCH = "the pictures of the study are larger than can be drawn at once"
OTHER_STUDY = "its Study Instance UID differs from the rest of the study"
OTHER_PATIENT = "its Patient ID differs from the rest of the study"


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One received instance: its name as the scanner gave it, and where its bytes lie."""

    sop_instance_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class Examination:
    """What was seen in one study, before it is rendered.

    :ivar headers: of every readable instance: the evidence of the reports.
    :ivar key_frames: the frames that the findings speak about, and where their instances lie.
    :ivar scanner_report: what the sonographer measured, where the scanner sent it.
    """

    headers: tuple[Dataset, ...]
    findings: tuple[Finding, ...]
    not_analysed: tuple[NotAnalysed, ...]
    sampling: tuple[CineSampling, ...]
    key_frames: tuple[tuple[FrameReference, Path], ...]
    scanner_report: ScannerReport | None = None

    def with_set_aside(self, items: Sequence[NotAnalysed]) -> Examination:
        """Give the same examination with instances that were never opened, named first."""
        return dataclasses.replace(self, not_analysed=(*items, *self.not_analysed))


class Examiner:
    """The loaded tasks, and how they are applied to instances."""

    def __init__(
        self, tasks: Mapping[str, Task], algorithms: Sequence[Algorithm], missing: Mapping[str, str], batch_size: int
    ) -> None:
        """Take the loaded tasks by name (the gate among them), their identities, and the tasks that are not there.

        :raises ModelError: when the gate is missing: without it nothing can be analysed.
        """
        if GATE not in tasks:
            raise ModelError(f"the gate cannot be loaded: {missing.get(GATE, 'no task planes is configured')}")
        self._gate = tasks[GATE]
        self._tasks = [task for name, task in tasks.items() if name != GATE]
        self._study_tasks = {task.name: task for task in self._tasks if isinstance(task, StudyTask)}
        self.algorithms = tuple(algorithms)
        self._missing = dict(missing)
        self._batch_size = batch_size

    def examine(self, instances: Iterable[StoredInstance], max_frames: int) -> Examination:
        """Look at every instance of a study, at most ``max_frames`` evenly spaced frames of each cine."""
        headers: list[Dataset] = []
        findings: list[Finding] = []
        of_study: list[Finding] = []  # what study tasks said about every frame, reported or not
        not_analysed: list[NotAnalysed] = []
        sampling: list[CineSampling] = []
        key_frames: list[tuple[FrameReference, Path]] = []
        reports: list[ScannerReport] = []
        room = PIXELS_OF_A_STUDY
        opened = [_open(stored) for stored in instances]
        others = dict.fromkeys(of_another([it.named("PatientID") for it in opened]), OTHER_PATIENT)
        others |= dict.fromkeys(of_another([it.named("StudyInstanceUID") for it in opened]), OTHER_STUDY)
        for number, it in enumerate(opened):
            stored, uid = it.stored, it.stored.sop_instance_uid
            if number in others:
                not_analysed.append(NotAnalysed(uid, others[number]))
                continue
            if it.header is not None:
                headers.append(it.header)
            if it.report is not None:
                reports.append(it.report)
                continue
            if it.instance is None:
                not_analysed.append(NotAnalysed(uid, it.fault))
                continue
            instance = it.instance
            if room < 0:
                not_analysed.append(NotAnalysed(uid, TOO_MUCH))
                continue
            try:
                seen = self._look_at(instance, max_frames, not_analysed)
            except BadInput as error:
                not_analysed.append(NotAnalysed(uid, str(error)))
                continue
            of_study.extend(found for frame in seen for found in frame.findings if found.task in self._study_tasks)
            for frame in choose_key_frames(seen):
                findings.extend(found for found in frame.findings if found.task not in self._study_tasks)
                key_frames.append((frame.reference, stored.path))
                room -= int(instance.header.Rows) * int(instance.header.Columns)
                not_analysed.extend(self._missing_for(frame))
            if instance.number_of_frames > 1:
                shown = tuple(self._without_study_tasks(frame) for frame in seen)
                sampling.append(CineSampling(uid, instance.number_of_frames, len(seen), shown))
        findings.extend(self._conclusions(of_study, [reference for reference, _ in key_frames], not_analysed))
        return Examination(
            tuple(headers),
            tuple(findings),
            tuple(not_analysed),
            tuple(sampling),
            tuple(key_frames),
            together(reports),
        )

    def _look_at(self, instance: Instance, max_frames: int, not_analysed: list[NotAnalysed]) -> list[SeenFrame]:
        """Look at the sampled frames of one instance, a batch at a time."""
        numbers = sample_frame_numbers(instance.number_of_frames, max_frames)
        seen: list[SeenFrame] = []
        for batch in _batches(_decodable(instance, numbers, not_analysed), self._batch_size):
            seen.extend(self._predict(batch, not_analysed))
        return seen

    def _predict(self, batch: Sequence[Frame], not_analysed: list[NotAnalysed]) -> list[SeenFrame]:
        """Gate a batch, then show each task the frames that it accepts."""
        found: dict[FrameReference, list[Finding]] = {frame.reference: [] for frame in batch}
        gated = []
        for finding in self._gate.predict(batch):
            found[frames_of_finding(finding)[0]].append(finding)
        for frame in batch:
            plane, probability = _plane_of(found[frame.reference])
            if plane != OUT_OF_SCOPE and probability < SURE_ENOUGH:
                # Instead of the view, not beside it: who reads codes alone would take a guess for an answer.
                found[frame.reference] = [_unsure(frame.reference, plane, probability)]
                plane = OUT_OF_SCOPE
            gated.append(frame.on_plane(plane, probability))
        for task in self._tasks:
            accepted = [frame for frame in gated if task.accepts(frame)]
            if not accepted:
                continue
            try:
                answers = task.predict(accepted)
            except Exception as error:  # a failing task must not cost the study; its failure is reported
                logger.exception("task %s failed", task.name)
                reason = f"the task failed: {error}"
                not_analysed.extend(_not_analysed(frame.reference, reason, task.name) for frame in accepted)
                continue
            for answer in answers:
                found[frames_of_finding(answer)[0]].append(believable(answer))
        return [
            SeenFrame(f.reference, f.plane or OUT_OF_SCOPE, f.plane_probability or 0.0, tuple(found[f.reference]))
            for f in gated
        ]

    def _conclusions(
        self, of_study: Sequence[Finding], reported: Sequence[FrameReference], not_analysed: list[NotAnalysed]
    ) -> list[Finding]:
        """Ask each study task for its answer; heat maps of frames that are not reported have nothing to lie on."""
        answers: list[Finding] = []
        for name, task in self._study_tasks.items() if reported else ():
            try:
                answers += task.conclude([found for found in of_study if found.task == name], reported)
            except Exception as error:  # as for frames: reported, and not at the cost of the study
                logger.exception("task %s failed to conclude", name)
                not_analysed.append(_not_analysed(reported[0], f"the task failed: {error}", name))
        return [it for it in answers if not isinstance(it, HeatMap) or it.frame in reported]

    def _without_study_tasks(self, frame: SeenFrame) -> SeenFrame:
        """Leave out what is only a part of an answer about the study."""
        return dataclasses.replace(
            frame, findings=tuple(found for found in frame.findings if found.task not in self._study_tasks)
        )

    def _missing_for(self, frame: SeenFrame) -> list[NotAnalysed]:
        """Say which configured tasks did not look at a frame because their model is not installed."""
        return [_not_analysed(frame.reference, reason, task) for task, reason in self._missing.items()]


@dataclass(frozen=True, slots=True)
class _Opened:
    """An instance whose header was read, as far as it could be.

    ``instance`` when it holds pictures, ``report`` when it is what a scanner reports; else ``fault``.
    """

    stored: StoredInstance
    header: Dataset | None
    instance: Instance | None = None
    report: ScannerReport | None = None
    fault: str = ""

    def named(self, keyword: str) -> str:
        """Give what the instance names as its patient or study; empty when it names none."""
        return str(self.header.get(keyword) or "") if self.header is not None else ""


def _open(stored: StoredInstance) -> _Opened:
    try:
        instance = open_instance(stored.path)
    except NoPixelData as error:  # a scanner's report is evidence too, and names the patient
        header = read_report(stored.path)
        return _Opened(stored, header, report=read_scanner_report(header), fault=str(error))
    except BadInput as error:
        return _Opened(stored, None, fault=str(error))
    return _Opened(stored, instance.header, instance)


def render_frames(key_frames: Iterable[tuple[FrameReference, Path]]) -> dict[FrameReference, Frame]:
    """Decode the key frames once more: pixels are not kept while a study is examined."""
    return {reference: one_frame(path, reference.frame_number) for reference, path in key_frames}


def frame_reader(key_frames: Iterable[tuple[FrameReference, Path]]) -> Callable[[str, Sequence[int]], Iterator[Frame]]:
    """Give what decodes numbered frames of the instances that key frames are of, one at a time."""
    paths = {reference.sop_instance_uid: path for reference, path in key_frames}

    def read(sop_instance_uid: str, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        for item in frames_of(open_instance(paths[sop_instance_uid]), frame_numbers):
            if isinstance(item, NotAnalysed):
                raise UndecodableFrame(item.reason)
            yield item

    return read


def _decodable(instance: Instance, numbers: Sequence[int], not_analysed: list[NotAnalysed]) -> Iterator[Frame]:
    """Give the frames that can be looked at, and note the others with their reason."""
    for item in frames_of(instance, numbers):
        if isinstance(item, NotAnalysed):
            not_analysed.append(item)
        elif max(colour_share(part) for part in _tissue(item)) > MOST_COLOUR:
            reason = "colour Doppler or a rendered volume: the models know grey-scale pictures only"
            not_analysed.append(NotAnalysed(instance.sop_instance_uid, reason, item.reference.frame_number))
        else:
            yield item


def _unsure(frame: FrameReference, plane: str, probability: float) -> NotAssessable:
    sure = f"{probability * 100:.0f} %, needed: {SURE_ENOUGH * 100:.0f} %"
    reason = f"the likeliest, {plane.replace('_', ' ')}, is not sure enough to act on ({sure})"
    return NotAssessable(GATE, frame, PLANE, reason)


def _tissue(frame: Frame) -> list[npt.NDArray[np.uint8]]:
    """Give the parts of a picture that show tissue, as far as the scanner says; else all of it."""
    regions = frame.calibration.regions
    return [frame.pixels[r.y0 : r.y1 + 1, r.x0 : r.x1 + 1] for r in regions] or [frame.pixels]


def _not_analysed(frame: FrameReference, reason: str, task: str) -> NotAnalysed:
    return NotAnalysed(frame.sop_instance_uid, reason, frame.frame_number, task)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    pixels = 0
    for frame in frames:
        batch.append(frame)
        pixels += frame.pixels.size // 3
        if len(batch) == size or pixels > PIXELS_OF_A_BATCH:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _plane_of(findings: Sequence[Finding]) -> tuple[str, float]:
    """Read the gate's answer: the plane and the probability that it gave it."""
    for finding in findings:
        if isinstance(finding, Classification) and finding.name == PLANE:
            return finding.value_name, dict(finding.probabilities)[finding.value]
    return OUT_OF_SCOPE, 0.0
