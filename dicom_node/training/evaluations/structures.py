"""How well structures are found: F1 and overlap of each detector, and of both fused; and how well they are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.inference.batching import batches
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.structures import BOTH, DETECTORS, SCORE_FLOOR, Structures
from dicom_node.tasks.structures.fusion import Box, Look, best_boxes
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training import metrics
from dicom_node.training.datasets import StructureExample, read_structures
from dicom_node.training.detected import DETECTOR
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure
from dicom_node.training.plane_quality import categories, plane_quality

FAINTEST = 0.001  #: scores below this are not ranked
MATCH = 0.5  #: overlap from which a box counts


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure each detector that there is, and both together: a box counts when it overlaps its structure by half."""
    folder = models_dir / "structures"
    examples, kind = unseen(read_structures(data_dir), folder)
    names = [name for name in DETECTORS if name in Manifest.read(folder).networks]
    sources = {name: (name,) for name in names} | ({BOTH: tuple(names)} if len(names) > 1 else {})
    task = loaded("structures", Structures, models_dir, device, detector=BOTH if len(names) > 1 else names[0])
    found: dict[str, list[dict[str, tuple[Box, float]]]] = {name: [] for name in sources}
    for batch in batches(examples, BATCH):
        frames = [frame_of(example.picture) for example in batch]
        looks = {detector.name: detector.look(frames) for detector in task.detectors}
        for name, used in sources.items():
            for i, frame in enumerate(frames):
                seen: list[Look] = [look for source in used for look in looks[source][i]]
                found[name].append(best_boxes(seen, frame.pixels.shape[:2], FAINTEST))
    groups = [example.picture.group for example in examples]
    figures: Figures = {}
    for name, boxes in found.items():
        compared = Comparison.of(examples, boxes)
        figures |= {f"{name}.{key}": value for key, value in compared.figures(groups).items()}
    facts = {}
    if task.judge:
        shipped = loaded("structures", Structures, models_dir, device, detector=DETECTOR)
        figures |= plane_quality(data_dir, folder, shipped, task.judge.reader)
        judged = categories(data_dir, folder, shipped, task.judge.reader)
        figures |= judged
        facts = {"categories": {"simulated": {"data": "simulated"}}} if judged else {}
    return Outcome(kind, figures, facts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Found against drawn boxes; each array has a row per picture and a column per structure.

    :ivar score: of the box that was found; -1 where there was none.
    :ivar overlap: of that box with the drawn one; 0 where there is none.
    :ivar true: whether a box is drawn.
    """

    score: Values
    overlap: Values
    true: Values

    @classmethod
    def of(cls, examples: Sequence[StructureExample], found: Sequence[dict[str, tuple[Box, float]]]) -> Comparison:
        """Compare what was found in each picture."""
        shape = (len(examples), len(STRUCTURES))
        score, overlap, true = np.full(shape, -1.0), np.zeros(shape), np.zeros(shape, dtype=bool)
        for i, (example, boxes) in enumerate(zip(examples, found, strict=True)):
            for j, name in enumerate(STRUCTURES):
                true[i, j] = name in example.boxes
                if name in boxes:
                    score[i, j] = boxes[name][1]
                    overlap[i, j] = metrics.box_iou(boxes[name][0], example.boxes[name]) if true[i, j] else 0.0
        return cls(score, overlap, true)

    def figures(self, groups: Sequence[str]) -> Figures:
        """Give F1, mean average precision, the overlap of matched boxes, and F1 of each structure."""
        shown = self.score >= SCORE_FLOOR
        matched = shown & (self.overlap >= MATCH)
        figures = {
            "f1_50": figure(groups, _f1, matched, shown, self.true),
            "map50": figure(groups, _map50, self.score, self.overlap, self.true, rounds=300),
            "mean_iou": figure(groups, _mean_iou, matched, self.overlap),
        }
        for j, name in enumerate(STRUCTURES):
            figures[f"per_structure.{name}"] = figure(groups, _f1, matched[:, j], shown[:, j], self.true[:, j])
        return figures


def _f1(matched: Values, shown: Values, true: Values) -> float:
    return metrics.f1(matched.sum(), shown.sum(), true.sum())


def _mean_iou(matched: Values, overlap: Values) -> float:
    return float(overlap[matched].mean()) if matched.any() else float("nan")


def _map50(score: Values, overlap: Values, true: Values) -> float:
    each = []
    for j in range(score.shape[1]):
        there = score[:, j] >= 0
        each.append(metrics.average_precision(score[there, j], overlap[there, j] >= MATCH, int(true[:, j].sum())))
    return float(np.nanmean(each))
