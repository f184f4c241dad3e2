"""How well structures are found: F1 and overlap of each detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dicom_node.inference.batching import batches
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.training import metrics
from dicom_node.training.datasets import read_structures
from dicom_node.training.measuring import BATCH, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure the detector: a box counts when it overlaps its structure by half."""
    examples, kind = unseen(read_structures(data_dir), models_dir / "structures")
    task = loaded("structures", Structures, models_dir, device)
    names = [output.name for output in Manifest.read(models_dir / "structures").outputs]
    shape = (len(examples), len(names))
    score, overlap, true = np.full(shape, -1.0), np.zeros(shape), np.zeros(shape, dtype=bool)
    found = [
        boxes
        for batch in batches(examples, BATCH)
        for boxes in task.boxes([frame_of(example.picture) for example in batch], floor=0.001)
    ]
    for i, (example, boxes) in enumerate(zip(examples, found, strict=True)):
        for j, name in enumerate(names):
            true[i, j] = name in example.boxes
            if name in boxes:
                score[i, j] = boxes[name][1]
                overlap[i, j] = metrics.box_iou(boxes[name][0], example.boxes[name]) if true[i, j] else 0.0
    groups = [example.picture.group for example in examples]
    shown = score >= SCORE_FLOOR
    matched = shown & (overlap >= 0.5)  # noqa: PLR2004 - the usual threshold

    def f1(matched: Values, shown: Values, true: Values) -> float:
        return metrics.f1(matched.sum(), shown.sum(), true.sum())

    def mean_iou(matched: Values, overlap: Values) -> float:
        return float(overlap[matched].mean()) if matched.any() else float("nan")

    def map50(score: Values, overlap: Values, true: Values) -> float:
        each = []
        for j in range(score.shape[1]):
            there = score[:, j] >= 0
            hits = overlap[there, j] >= 0.5  # noqa: PLR2004
            each.append(metrics.average_precision(score[there, j], hits, int(true[:, j].sum())))
        return float(np.nanmean(each))

    figures = {
        "yolo11.f1_50": figure(groups, f1, matched, shown, true),
        "yolo11.map50": figure(groups, map50, score, overlap, true, rounds=300),
        "yolo11.mean_iou": figure(groups, mean_iou, matched, overlap),
    }
    for j, name in enumerate(names):
        figures[f"yolo11.per_structure.{name}"] = figure(groups, f1, matched[:, j], shown[:, j], true[:, j])
    return Outcome(kind, figures)
