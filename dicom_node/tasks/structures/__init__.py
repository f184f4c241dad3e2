"""Where the nine structures of the first-trimester mid-sagittal head lie, and what their boxes say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dicom_node.domain.finding import Detection, Finding, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.tasks.structures.fusion import Box, best_boxes
from dicom_node.tasks.structures.net import STRUCTURES

if TYPE_CHECKING:
    from dicom_node.tasks.structures.detector import Detector
    from dicom_node.tasks.structures.judgement import Judge

DETECTORS = ("yolo11", "swin")
BOTH = "both"
CATEGORIES = "categories"  #: the network that judges boxes; a model without it only finds them
BATCH = 8
SCORE_FLOOR = 0.35  #: a box below this score is not a finding (docs/models/structures.md has the choice)


def load(manifest: Manifest, device: str, *, detector: str = "yolo11") -> Task:
    """Make the task with one of ``DETECTORS``, or ``both``. torch and ultralytics are imported here, and not before.

    :raises ModelError: the manifest has no such detector, other structures, or weights that are not its network's.
    """
    from dicom_node.tasks.structures.detector import Detector  # noqa: PLC0415
    from dicom_node.tasks.structures.judgement import Judge  # noqa: PLC0415

    if tuple(output.name for output in manifest.outputs if output.kind == "detection") != STRUCTURES:
        raise ModelError(f"{manifest.folder}: the outputs are not the network's, in its order: {STRUCTURES}")
    names = DETECTORS if detector == BOTH else (detector,)
    judge = Judge.load(manifest, device) if CATEGORIES in manifest.networks else None
    return Structures(manifest, [Detector.load(name, manifest, device) for name in names], judge)


class Structures:
    """The detectors, at most one box per structure and frame since a head has one of each; and who judges the boxes."""

    name = "structures"

    def __init__(self, manifest: Manifest, detectors: Sequence[Detector], judge: Judge | None) -> None:
        self._outputs = manifest.outputs
        self.detectors = tuple(detectors)
        self.judge = judge

    def accepts(self, frame: Frame) -> bool:
        """Tell whether the gate saw a first-trimester mid-sagittal head."""
        return frame.plane == "midsagittal_head"

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Find structures, frame by frame, and judge them."""
        findings: list[Finding] = []
        for batch in batches(frames, BATCH):
            found = self.boxes(batch, SCORE_FLOOR)
            alone = [{name: box for name, (box, _) in boxes.items()} for boxes in found]
            judged = self.judge.findings(batch, alone) if self.judge else [[] for _ in batch]
            for frame, boxes, judgement in zip(batch, found, judged, strict=True):
                findings += [*self._findings(frame, boxes), *judgement]
        return findings

    def boxes(self, frames: Sequence[Frame], floor: float) -> list[dict[str, tuple[Box, float]]]:
        """Give each frame's box (x0, y0, x1, y1; picture pixels) and score of every structure above ``floor``."""
        looks = zip(*(detector.look(frames) for detector in self.detectors), strict=True)
        return [
            best_boxes([look for of_one in of_all for look in of_one], frame.pixels.shape[:2], floor)
            for frame, of_all in zip(frames, looks, strict=True)
        ]

    def _findings(self, frame: Frame, boxes: dict[str, tuple[Box, float]]) -> list[Finding]:
        if not boxes:
            reason = f"no structure was found with a score of {SCORE_FLOOR:.0%} or more"
            return [NotAssessable(self.name, frame.reference, self.name, reason)]
        found = [output for output in self._outputs if output.name in boxes]
        return [
            Detection(
                self.name,
                frame.reference,
                output.name,
                output.concept,
                output.site or output.concept,
                *boxes[output.name],
            )
            for output in found
        ]
