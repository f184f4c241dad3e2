"""Looking at the frames of a study's pictures: decode, gate by plane, show each task what it accepts.

Frames of several instances come in one batch, and several batches are looked at side by side; answers are given in the
order of the instances all the same. One bad frame or one failing task becomes "not analysed: why".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dicom_node.domain.biometry import believable
from dicom_node.domain.finding import Classification, Finding, NotAssessable
from dicom_node.domain.finding import frames_of as frames_of_finding
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.key_frames import OUT_OF_SCOPE, SeenFrame
from dicom_node.domain.result import NotAnalysed
from dicom_node.errors import BadInput
from dicom_node.imaging.frames import Instance, colour_share, frames_of, sample_frame_numbers
from dicom_node.inference.batching import side_by_side
from dicom_node.inference.task import Task

logger = logging.getLogger(__name__)

GATE = "planes"
PLANE = "plane"  #: name of the gate's classification
#: Below this probability the gate's plane is no answer, and no task acts on it: most pictures of other examinations,
#: which the gate never learned, stay below (docs/models/planes.md).
SURE_ENOUGH = 0.6
#: A frame with a larger coloured share is Doppler or a rendered volume. Banners, text and scales stay below: up to
#: 0.096 of a whole grey-scale picture in the samples, 0.004 inside its tissue regions.
MOST_COLOUR = 0.15
#: Decoded at once in all batches, whatever their size: a hundred pictures of a usual size.
PIXELS_AT_ONCE = 100_000_000

Numbered = tuple[int, Frame]  #: a frame, and the place of its instance


@dataclass(frozen=True, slots=True)
class SeenInstance:
    """What was seen of one instance: its frames, what was left out and why, and why it had to be given up."""

    frames: list[SeenFrame] = field(default_factory=list)
    not_analysed: list[NotAnalysed] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Looking:
    """The gate and the tasks behind it, and how frames come to them."""

    def __init__(self, gate: Task, tasks: Sequence[Task], batch_size: int, looks: int = 1) -> None:
        """Take the loaded tasks; ``looks`` batches of ``batch_size`` frames are looked at side by side."""
        self._gate = gate
        self._tasks = tuple(tasks)
        self._batch_size = batch_size
        self._looks = looks

    def at(self, instances: Sequence[Instance], max_frames: int) -> list[SeenInstance]:
        """Look at the sampled frames of every instance, and give what was seen of each, in order."""
        seen = [SeenInstance() for _ in instances]
        some = _batches(_decodable(instances, max_frames, seen), self._batch_size, PIXELS_AT_ONCE // (self._looks + 1))
        for batch, answers in side_by_side(self._look_at, some, self._looks):
            for (number, _), (frame, not_analysed) in zip(batch, answers, strict=True):
                seen[number].frames.append(frame)
                seen[number].not_analysed.extend(not_analysed)
        return seen

    def _look_at(self, batch: Sequence[Numbered]) -> list[tuple[SeenFrame, list[NotAnalysed]]]:
        """Gate a batch, then show each task the frames that it accepts."""
        frames = [frame for _, frame in batch]
        found: dict[FrameReference, list[Finding]] = {frame.reference: [] for frame in frames}
        failed: dict[FrameReference, list[NotAnalysed]] = {frame.reference: [] for frame in frames}
        for finding in self._gate.predict(frames):
            found[frames_of_finding(finding)[0]].append(finding)
        gated = [_on_its_plane(frame, found) for frame in frames]
        for task in self._tasks:
            answers, faults = _asked(task, [frame for frame in gated if task.accepts(frame)])
            for answer in answers:
                found[frames_of_finding(answer)[0]].append(believable(answer))
            for frame, reason in faults.items():
                failed[frame].append(NotAnalysed(frame.sop_instance_uid, reason, frame.frame_number, task.name))
        return [(_seen(frame, found[frame.reference]), failed[frame.reference]) for frame in gated]


def _asked(task: Task, frames: Sequence[Frame]) -> tuple[list[Finding], dict[FrameReference, str]]:
    """Give what a task finds in frames, and of which frames it said nothing, and why.

    A failing task must not cost the study, nor one bad frame the others of its batch: those are asked again alone.
    """
    if not frames:
        return [], {}
    try:
        return task.predict(frames), {}
    except Exception as error:
        logger.exception("task %s failed", task.name)
        if len(frames) == 1:
            return [], {frames[0].reference: f"the task failed: {error}"}
    alone = [_asked(task, [frame]) for frame in frames]
    return [it for answers, _ in alone for it in answers], {
        frame: why for _, faults in alone for frame, why in faults.items()
    }


def _on_its_plane(frame: Frame, found: dict[FrameReference, list[Finding]]) -> Frame:
    """Give a frame with the plane that the gate saw; an unsure one is no plane, and says so instead."""
    plane, probability = _plane_of(found[frame.reference])
    if plane != OUT_OF_SCOPE and probability < SURE_ENOUGH:
        # Instead of the view, not beside it: who reads codes alone would take a guess for an answer.
        found[frame.reference] = [_unsure(frame.reference, plane, probability)]
        plane = OUT_OF_SCOPE
    return frame.on_plane(plane, probability)


def _plane_of(findings: Sequence[Finding]) -> tuple[str, float]:
    """Read the gate's answer: the plane and the probability that it gave it."""
    for finding in findings:
        if isinstance(finding, Classification) and finding.name == PLANE:
            return finding.value_name, dict(finding.probabilities)[finding.value]
    return OUT_OF_SCOPE, 0.0


def _unsure(frame: FrameReference, plane: str, probability: float) -> NotAssessable:
    sure = f"{probability * 100:.0f} %, needed: {SURE_ENOUGH * 100:.0f} %"
    reason = f"the likeliest, {plane.replace('_', ' ')}, is not sure enough to act on ({sure})"
    return NotAssessable(GATE, frame, PLANE, reason)


def _seen(frame: Frame, findings: Sequence[Finding]) -> SeenFrame:
    return SeenFrame(frame.reference, frame.plane or OUT_OF_SCOPE, frame.plane_probability or 0.0, tuple(findings))


def _decodable(instances: Sequence[Instance], max_frames: int, seen: Sequence[SeenInstance]) -> Iterator[Numbered]:
    """Give the frames that can be looked at, and note the others with their reason."""
    for number, instance in enumerate(instances):
        left_out = seen[number].not_analysed
        try:
            for item in frames_of(instance, sample_frame_numbers(instance.number_of_frames, max_frames)):
                if isinstance(item, NotAnalysed):
                    left_out.append(item)
                elif max(colour_share(part) for part in _tissue(item)) > MOST_COLOUR:
                    reason = "colour Doppler or a rendered volume: the models know grey-scale pictures only"
                    left_out.append(NotAnalysed(instance.sop_instance_uid, reason, item.reference.frame_number))
                else:
                    yield number, item
        except BadInput as error:
            seen[number].faults.append(str(error))


def _tissue(frame: Frame) -> list[npt.NDArray[np.uint8]]:
    """Give the parts of a picture that show tissue, as far as the scanner says; else all of it."""
    regions = frame.calibration.regions
    return [frame.pixels[r.y0 : r.y1 + 1, r.x0 : r.x1 + 1] for r in regions] or [frame.pixels]


def _batches(frames: Iterable[Numbered], size: int, most_pixels: int) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    pixels = 0
    for number, frame in frames:
        batch.append((number, frame))
        pixels += frame.pixels.size // 3
        if len(batch) == size or pixels > most_pixels:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
