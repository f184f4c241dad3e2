"""How well anomalies are told apart, patient by patient, and whether the network looks at heads and lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dicom_node.domain.frame import Frame
from dicom_node.inference.batching import batches
from dicom_node.tasks.anomalies import FLOOR, NORMAL, Anomalies
from dicom_node.tasks.biometry.geometry import Ellipse
from dicom_node.training import metrics
from dicom_node.training.datasets import AnomalyExample, Picture, read_anomalies, read_biometry
from dicom_node.training.export import seen_by
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure

SIMULATED = {"brain_anomalies": 900}
DATASET = "brain_anomalies"
HEADS = "head_circumference"
OTHER = -1  #: an anomaly that is none of the classes


@dataclass(frozen=True, slots=True)
class Looked:
    """How much of a heat map lies where something is known to be, and how much of the picture that place is."""

    group: str
    heat: float
    area: float


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure patients: the classes where they are known, and normal against every anomaly there is.

    A real picture of an anomaly without a patient is a patient of its own. Classes are compared without the floor
    below which the node names none; ``assessable`` is the share that reaches it. Energy of heat maps (Grad-CAM of the
    true class, for heads of the class found) is compared with the area in which it could lie.
    """
    folder = models_dir / "anomalies"
    examples, kind = unseen(read_anomalies(data_dir), folder)
    task: Anomalies = loaded("anomalies", Anomalies, models_dir, device)
    images, lesions = _look(examples, task)
    figures = _of_patients(examples, images, task)
    figures |= _of_attention("lesion", lesions)
    if kind == "real" and (data_dir / HEADS).is_dir():
        figures |= _of_attention("head", _heads(data_dir, folder, task))
    return Outcome(kind, figures, {"labels": _counts(examples)})


def _look(examples: Sequence[AnomalyExample], task: Anomalies) -> tuple[Values, list[Looked]]:
    """Give each picture's probabilities (n, 5), and what is looked at where a lesion is known."""
    probabilities, looked = [], []
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
                looked.append(_looked(example.picture, frame, one, corners))
    return np.concatenate(probabilities), looked


def _heads(data_dir: Path, folder: Path, task: Anomalies) -> list[Looked]:
    """Look at heads whose outline is known, and at what speaks for the class that is found on them."""
    seen = seen_by(folder)
    heads = [
        (example.picture, example.shape)
        for example in read_biometry(data_dir)
        if example.picture.group.startswith(f"{HEADS}/")
        and example.picture.group not in seen
        and isinstance(example.shape, Ellipse)
    ]
    looked = []
    for batch in batches(heads, BATCH):
        frames = [frame_of(picture) for picture, _ in batch]
        images, features = task.look(frames)
        for (picture, shape), frame, one in zip(
            batch, frames, task.heat(frames, features, images.argmax(axis=1)), strict=True
        ):
            looked.append(_looked(picture, frame, one, shape.outline(128)))
    return looked


def _looked(picture: Picture, frame: Frame, heat: Values, outline: Values) -> Looked:
    place = np.zeros(frame.pixels.shape[:2], dtype=np.float32)
    cv2.fillPoly(place, [np.rint(outline).astype(np.int32)], 1.0)
    share = cv2.resize(place, heat.shape[::-1], interpolation=cv2.INTER_AREA)
    total = float(heat.sum())
    return Looked(picture.group, float((heat * share).sum()) / total if total else 0.0, float(share.mean()))


def _of_attention(place: str, looked: Sequence[Looked]) -> Figures:
    if not looked:
        return {}
    groups = [one.group for one in looked]
    heat, area = (np.array([getattr(one, name) for one in looked]) for name in ("heat", "area"))
    return {f"attention_in_{place}": figure(groups, _mean, heat), f"{place}_area": figure(groups, _mean, area)}


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
