"""How well standard planes are told from others, and categories from each other, by what runs in the node.

Real and simulated heads never meet in a figure: planes are judged on real heads, categories exist on simulated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dicom_node.inference.batching import batches
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.tasks.structures.categories import CATEGORIES, MODES
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.reading import BoxReader, Reading
from dicom_node.training import metrics
from dicom_node.training.datasets import HeadExample, read_head_planes, read_heads
from dicom_node.training.export import seen_by
from dicom_node.training.measuring import BATCH, Figures, frame_of
from dicom_node.training.metrics import Values, figure

NOTHING_FOUND = 0.0  #: the probability of a standard plane where no structure is found


def plane_quality(data_dir: Path, folder: Path, task: Structures, reader: BoxReader) -> Figures:
    """Measure whether real planes are standard: on the boxes that the detector finds, pooled to the frame.

    ``plane_quality.auc`` and ``accuracy`` (at a probability of one half) are those of the fused features, which are
    given again beside the two ablations.
    """
    seen = seen_by(folder)
    judged = [(p, s) for p, s in read_head_planes(data_dir) if not p.simulated and p.group not in seen]
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
    return figures


def categories(data_dir: Path, folder: Path, reader: BoxReader) -> Figures:
    """Measure categories on simulated heads, from the drawn boxes; nothing where a folder has no categories."""
    seen = seen_by(folder)
    table = data_dir / "head_structures" / "boxes.csv"
    heads = [h for h in read_heads(data_dir, table) if h.categories and h.picture.group not in seen]
    if not heads:
        return {}
    true, odds, structure, groups = _category_cases(heads, reader)
    figures = {
        "categories.simulated.accuracy": figure(groups, metrics.accuracy, true, odds.argmax(axis=1)),
        "categories.simulated.auroc_macro": figure(groups, _auroc_macro, true, odds),
    }
    for i, name in enumerate(STRUCTURES):
        of_it = structure == i
        if of_it.any():
            figures[f"categories.simulated.per_structure.{name}"] = figure(
                np.array(groups)[of_it], metrics.accuracy, true[of_it], odds[of_it].argmax(axis=1)
            )
    return figures


def _category_cases(heads: Sequence[HeadExample], reader: BoxReader) -> tuple[Values, Values, Values, list[str]]:
    """Give category, probabilities (n, 3), structure and group of every box whose category is known."""
    true, odds, structure, groups = [], [], [], []
    for batch in batches(heads, BATCH):
        readings: list[Reading | None] = reader.read(
            [frame_of(head.picture).pixels for head in batch], [head.boxes for head in batch]
        )
        for head, reading in zip(batch, readings, strict=True):
            for name, probabilities in (reading.categories if reading else {}).items():
                if name in head.categories:
                    true.append(CATEGORIES.index(head.categories[name]))
                    odds.append(probabilities)
                    structure.append(STRUCTURES.index(name))
                    groups.append(head.picture.group)
    return np.array(true), np.stack(odds), np.array(structure), groups


def _auroc_macro(true: Values, odds: Values) -> float:
    """Mean over the categories of how well each is told from the others."""
    return float(np.mean([metrics.auc(true == i, odds[:, i]) for i in range(len(CATEGORIES))]))
