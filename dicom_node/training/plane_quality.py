"""How well standard planes are told from others, and categories from each other, by what runs in the node.

Real and simulated heads never meet in a figure: planes are judged on real heads, categories exist on simulated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.inference.batching import batches
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.tasks.structures.categories import CATEGORIES, MODES
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.reading import BoxReader, Reading
from dicom_node.training import metrics
from dicom_node.training.datasets import Boxes, HeadExample, read_head_planes, read_heads
from dicom_node.training.measuring import BATCH, Figures, frame_of
from dicom_node.training.metrics import Values, figure
from dicom_node.training.seen import seen_by

NOTHING_FOUND = 0.0  #: the probability of a standard plane where no structure is found


def plane_quality(data_dir: Path, folder: Path, task: Structures, reader: BoxReader) -> Figures:
    """Measure whether real planes are standard: on the boxes that the detector finds, pooled to the frame.

    ``plane_quality.auc`` and ``accuracy`` (at a probability of one half) are those of the fused features, which are
    given again beside the two ablations; ``fused.auc_gain`` is by how much their AUC is above the better of those two.
    """
    seen = seen_by(folder)
    judged = [(p, s) for p, s in read_head_planes(data_dir) if not p.simulated and not seen.has(p)]
    pictures, true = [picture for picture, _ in judged], np.array([standard for _, standard in judged], dtype=bool)
    if true.all() or not true.any():
        return {}
    scores: dict[str, list[float]] = {mode: [] for mode in MODES}
    for batch in batches(pictures, BATCH):
        frames = [frame_of(picture) for picture in batch]
        boxes = [{name: box for name, (box, _) in found.items()} for found in task.boxes(frames, SCORE_FLOOR)]
        for mode, readings in reader.modes([frame.pixels for frame in frames], boxes, MODES).items():
            scores[mode] += [reading.standard if reading else NOTHING_FOUND for reading in readings]
    groups = [picture.group for picture in pictures]
    figures: Figures = {}
    for prefix, mode in [("", "fused"), *((f"{mode}.", mode) for mode in ("radiomic_only", "deep_only", "fused"))]:
        score = np.array(scores[mode])
        figures[f"plane_quality.{prefix}auc"] = figure(groups, metrics.auc, true, score)
        figures[f"plane_quality.{prefix}accuracy"] = figure(groups, metrics.accuracy, true, score >= 0.5)  # noqa: PLR2004
    figures["plane_quality.fused.auc_gain"] = figure(groups, _gain, true, *(np.array(scores[mode]) for mode in MODES))
    return figures


def _gain(true: Values, fused: Values, *alone: Values) -> float:
    return metrics.auc(true, fused) - max(metrics.auc(true, score) for score in alone)


def categories(data_dir: Path, folder: Path, task: Structures, reader: BoxReader) -> Figures:
    """Measure categories on simulated heads, on the boxes that the detector finds; nothing where there are none.

    ``found`` is the share of the structures that are there and have a box; only those get a category. ``absent_boxed``
    is the share of the absent ones that have a box all the same. ``drawn.accuracy`` is on the boxes as the simulator
    drew them.
    """
    seen = seen_by(folder)
    table = data_dir / "head_structures" / "boxes.csv"
    heads = [h for h in read_heads(data_dir, table) if h.categories and not seen.has(h.picture)]
    if not heads:
        return {}
    found = _found(heads, task)
    there = [(name in boxes, head.picture.group) for head, boxes in zip(heads, found, strict=True)
             for name in head.categories if name in head.boxes]  # fmt: skip
    absent = [(name in boxes, head.picture.group) for head, boxes in zip(heads, found, strict=True)
              for name in head.categories if name not in head.boxes]  # fmt: skip
    figures: Figures = {}
    for name, hits in (("found", there), ("absent_boxed", absent)):
        if hits:
            figures[name] = figure([group for _, group in hits], _share, np.array([hit for hit, _ in hits]))
    drawn = _cases(heads, [head.boxes for head in heads], reader)
    figures["drawn.accuracy"] = figure(drawn.groups, metrics.accuracy, drawn.true, drawn.said)
    cases = _cases(heads, found, reader)
    if cases.groups:
        figures["accuracy"] = figure(cases.groups, metrics.accuracy, cases.true, cases.said)
        figures["auroc_macro"] = figure(cases.groups, _auroc_macro, cases.true, cases.odds)
    for i, name in enumerate(STRUCTURES):
        of_it = cases.structure == i
        if of_it.any():
            groups = np.array(cases.groups)[of_it]
            figures[f"per_structure.{name}"] = figure(groups, metrics.accuracy, cases.true[of_it], cases.said[of_it])
    return {f"categories.simulated.{name}": value for name, value in figures.items()}


@dataclass(frozen=True, slots=True)
class Cases:
    """Boxes whose category is known: it (n,), its odds (n, 3), the structure (n,) and the group of each."""

    true: Values
    odds: Values
    structure: Values
    groups: list[str]

    @property
    def said(self) -> Values:
        """The likeliest category of each (n,)."""
        return np.asarray(self.odds.argmax(axis=1))


def _found(heads: Sequence[HeadExample], task: Structures) -> list[Boxes]:
    boxes: list[Boxes] = []
    for batch in batches(heads, BATCH):
        frames = [frame_of(head.picture) for head in batch]
        boxes += [{name: box for name, (box, _) in found.items()} for found in task.boxes(frames, SCORE_FLOOR)]
    return boxes


def _cases(heads: Sequence[HeadExample], boxes: Sequence[Boxes], reader: BoxReader) -> Cases:
    """Read the boxes of heads; one of a structure that is not there has no category to be right about."""
    true, odds, structure, groups = [], [], [], []
    for batch in batches(list(zip(heads, boxes, strict=True)), BATCH):
        pictures = [frame_of(head.picture).pixels for head, _ in batch]
        readings: list[Reading | None] = reader.read(pictures, [of_one for _, of_one in batch])
        for (head, _), reading in zip(batch, readings, strict=True):
            for name, probabilities in (reading.categories if reading else {}).items():
                if name in head.categories and name in head.boxes:
                    true.append(CATEGORIES.index(head.categories[name]))
                    odds.append(probabilities)
                    structure.append(STRUCTURES.index(name))
                    groups.append(head.picture.group)
    return Cases(np.array(true), np.array(odds).reshape(-1, len(CATEGORIES)), np.array(structure), groups)


def _share(hits: Values) -> float:
    return float(hits.mean())


def _auroc_macro(true: Values, odds: Values) -> float:
    """Mean over the categories of how well each is told from the others."""
    return float(np.mean([metrics.auc(true == i, odds[:, i]) for i in range(len(CATEGORIES))]))
