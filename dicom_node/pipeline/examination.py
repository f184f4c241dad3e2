"""Examining one study: open its instances, look at their frames (``looking``), keep what is worth reporting.

One bad instance, one bad frame or one failing task becomes "not analysed: why"; it never costs the rest of the study.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from dicom_node.domain.finding import Finding, HeatMap
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.key_frames import SeenFrame, choose_key_frames
from dicom_node.domain.patient import of_another
from dicom_node.domain.result import Algorithm, CineSampling, NotAnalysed
from dicom_node.domain.scanner_report import ScannerReport, together
from dicom_node.errors import BadInput, ModelError, NoPixelData, UndecodableFrame
from dicom_node.imaging.decode import read_report
from dicom_node.imaging.frames import (
    Instance,
    frames_of,
    one_frame,
    open_instance,
)
from dicom_node.inference.task import StudyTask, Task
from dicom_node.pipeline.looking import GATE, Looking
from dicom_node.results.scanner_sr import read_scanner_report

logger = logging.getLogger(__name__)

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
        self,
        tasks: Mapping[str, Task],
        algorithms: Sequence[Algorithm],
        missing: Mapping[str, str],
        batch_size: int,
        looks: int = 1,
    ) -> None:
        """Take the loaded tasks by name (the gate among them), their identities, and the tasks that are not there.

        :param looks: how many batches are looked at side by side.
        :raises ModelError: when the gate is missing: without it nothing can be analysed.
        """
        if GATE not in tasks:
            raise ModelError(f"the gate cannot be loaded: {missing.get(GATE, 'no task planes is configured')}")
        behind = [task for name, task in tasks.items() if name != GATE]
        self._looking = Looking(tasks[GATE], behind, batch_size, looks)
        self._study_tasks = {task.name: task for task in behind if isinstance(task, StudyTask)}
        self.algorithms = tuple(algorithms)
        self._missing = dict(missing)

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
        pictures = {n: it.instance for n, it in enumerate(opened) if it.instance is not None and n not in others}
        looked_at = dict(zip(pictures, self._looking.at(list(pictures.values()), max_frames), strict=True))
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
            instance, looked = it.instance, looked_at[number]
            if room < 0:
                not_analysed.append(NotAnalysed(uid, TOO_MUCH))
                continue
            not_analysed.extend(looked.not_analysed)
            if looked.faults:
                not_analysed.extend(NotAnalysed(uid, fault) for fault in looked.faults)
                continue
            seen = looked.frames
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


def _not_analysed(frame: FrameReference, reason: str, task: str) -> NotAnalysed:
    return NotAnalysed(frame.sop_instance_uid, reason, frame.frame_number, task)
