"""How well anomalies are told apart, patient by patient, and whether the network looks at heads and lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.frame import Frame
from dicom_node.inference.batching import batches
from dicom_node.tasks.anomalies import FLOOR, NORMAL, Anomalies
from dicom_node.training import metrics
from dicom_node.training.attention import Looked, attention_in, looked, looked_at_heads
from dicom_node.training.datasets import AnomalyExample, read_anomalies
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure

SIMULATED = {"brain_anomalies": 900}
DATASET = "brain_anomalies"
OTHER = -1  #: an anomaly that is none of the classes


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure patients: the classes where they are known, and normal against every anomaly there is.

    A real picture of an anomaly without a patient is a patient of its own. Classes are compared without the floor
    below which the node names none; ``assessable`` is the share that reaches it. Energy of heat maps (of the
    true class, on real heads of the likeliest anomaly) is compared with the area in which it could lie.
    """
    folder = models_dir / "anomalies"
    examples, kind = unseen(read_anomalies(data_dir), folder)
    task: Anomalies = loaded("anomalies", Anomalies, models_dir, device)
    images, lesions = _look(examples, task)
    figures = _of_patients(examples, images, task)
    figures |= attention_in("lesion", lesions)
    if kind == "real":
        figures |= _of_heads(data_dir, folder, task)
    return Outcome(kind, figures, {"labels": _counts(examples)})


def _look(examples: Sequence[AnomalyExample], task: Anomalies) -> tuple[Values, list[Looked]]:
    """Give each picture's probabilities (n, 5), and what is looked at where a lesion is known."""
    probabilities, lesions = [], []
    for batch in batches(examples, BATCH):
        frames = [frame_of(example.picture) for example in batch]
        images, features = task.look(frames)
        probabilities.append(images)
        classes = np.array([_class_of(example.label, task) for example in batch])
        heat = task.heat(frames, features, np.maximum(classes, NORMAL))
        for example, frame, one in zip(batch, frames, heat, strict=True):
            if example.lesion is not None:
                x0, y0, x1, y1 = example.lesion
                corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
                lesions.append(looked(example.picture, frame, one, corners))
    return np.concatenate(probabilities), lesions


def _of_heads(data_dir: Path, folder: Path, task: Anomalies) -> Figures:
    """Look at real heads: how many look normal, and where the network sees what speaks most for an anomaly."""
    normal: list[bool] = []

    def heat_of(frames: Sequence[Frame]) -> Values:
        images, features = task.look(frames)
        normal.extend(images.argmax(axis=1) == NORMAL)
        return task.heat(frames, features, 1 + images[:, 1:].argmax(axis=1))

    heads = looked_at_heads(data_dir, folder, heat_of)
    if not heads:
        return {}
    groups = [head.group for head in heads]
    return {"heads_called_normal": figure(groups, _mean, np.array(normal)), **attention_in("head", heads)}


def _of_patients(examples: Sequence[AnomalyExample], images: Values, task: Anomalies) -> Figures:
    owners, owner = np.unique([example.picture.group for example in examples], return_inverse=True)
    members = [np.flatnonzero(owner == number) for number in range(len(owners))]
    true = np.array([_class_of(examples[of_patient[0]].label, task) for of_patient in members])
    pooled = np.stack([task.pooled(images[of_patient]) for of_patient in members])
    groups = np.array([f"{DATASET}/{name}" for name in owners])
    found = pooled.argmax(axis=1)
    figures: Figures = {}

    def add(name: str, which: Values, statistic: Callable[..., float], *columns: Values) -> None:
        if which.any():
            figures[name] = figure(groups[which], statistic, *(column[which] for column in columns))

    everyone, known = np.ones(len(true), dtype=bool), true != OTHER
    if len(set(true[known])) == len(task.class_names):  # else the figure would be of other classes than it says
        add("patient_accuracy", known, metrics.accuracy, true, found)
        add("auroc_macro", known, metrics.auc_macro, true, pooled)
    if len(set(true == NORMAL)) > 1:
        add("auroc_normal_vs_abnormal", everyone, metrics.auc, true != NORMAL, 1.0 - pooled[:, NORMAL])
    for number, name in enumerate(task.class_names):
        add(f"{name}_recall", true == number, metrics.accuracy, true, found)
    add("assessable", everyone, _mean, pooled.max(axis=1) >= FLOOR)
    return figures


def _class_of(label: str, task: Anomalies) -> int:
    return task.class_names.index(label) if label in task.class_names else OTHER


def _counts(examples: Sequence[AnomalyExample]) -> dict[str, Any]:
    """Count patients and images of each label."""
    labels = sorted({example.label for example in examples})
    of_label = {label: [e.picture.group for e in examples if e.label == label] for label in labels}
    return {label: {"patients": len(set(groups)), "images": len(groups)} for label, groups in of_label.items()}


def _mean(values: Values) -> float:
    return float(np.mean(values))
