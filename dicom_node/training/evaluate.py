"""What a shipped model reaches on images that it has not seen, through the very code that runs in the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.finding import Classification, Measurement, Segmentation
from dicom_node.domain.frame import Calibration, Frame, FrameReference, Region
from dicom_node.errors import BadInput
from dicom_node.inference.batching import batches
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.registry import load_task
from dicom_node.tasks.biometry import REGION_OF_PLANE, Biometry
from dicom_node.tasks.biometry.geometry import Ellipse, draw
from dicom_node.tasks.planes import Planes
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.training import metrics
from dicom_node.training.datasets import (
    BiometryExample,
    Kind,
    Picture,
    grey_image,
    read_biometry,
    read_planes,
    read_structures,
)
from dicom_node.training.export import seen_by
from dicom_node.training.metrics import Figure, Values, figure

BATCH = 16
SCOPE = ("brain", "abdomen", "femur", "thorax")
REJECTED = ("cervix", "other")
PLANE_OF_REGION = {region: plane for plane, region in REGION_OF_PLANE.items()}
HC_TOLERANCE = 0.05

Figures = dict[str, Figure]
Outcome = tuple[str, Figures, dict[str, float]]  #: real or simulated, figures, and facts that no image decides


def evaluate(task: str, data_dir: Path, models_dir: Path, device: str = "auto") -> dict[str, Any]:
    """Measure a task on a folder laid out like the training data, without any fetus that its weights have seen.

    The report holds each figure as a number under its name, and ``figures`` with value, 95 % interval (bootstrap by
    fetus or patient), n and image sets of each. ``data`` says whether the images are real or simulated; they are
    never mixed.

    :raises BadInput: no such task, or no image that the weights have not seen.
    :raises ModelError: the model cannot be loaded.
    """
    if task not in EVALUATIONS:
        raise BadInput(f"no evaluation measures {task!r}")
    manifest = Manifest.read(models_dir / task)
    kind, figures, facts = EVALUATIONS[task](data_dir, models_dir, device)
    report: dict[str, Any] = {
        "task": task,
        "version": manifest.version,
        "weights_sha256": manifest.weights.sha256,
        "data": kind,
        "figures": {name: asdict(found) for name, found in figures.items()},
        **facts,
    }
    for name, found in figures.items():
        place = report
        *path, last = name.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = found.value
    return report


def frame_of(picture: Picture, mm_per_px: float | None = None) -> Frame:
    """Give a picture as the node would decode it, calibrated over its whole area when its scale is known."""
    grey = grey_image(picture.path)
    rows, columns = grey.shape
    reason = "the data set gives no pixel size"
    region = Region(0, 0, columns - 1, rows - 1, mm_per_px, mm_per_px) if mm_per_px else None
    calibration = Calibration((region,)) if region else Calibration(reason=reason)
    reference = FrameReference("1.2.840.10008.5.1.4.1.1.6.1", f"{picture.group}/{picture.path.name}")
    return Frame(reference, np.repeat(grey[:, :, None], 3, axis=2), calibration)


def _planes(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    examples, kind = _unseen(read_planes(data_dir), models_dir / "planes")
    task = _loaded("planes", Planes, models_dir, device)
    scores, brain_scores = (
        np.concatenate(part)
        for part in zip(
            *(
                task.probabilities([frame_of(example.picture) for example in batch])
                for batch in batches(examples, BATCH)
            ),
            strict=True,
        )
    )
    classes, brain_classes = list(task.plane_names), list(task.brain_plane_names)
    true = np.array([classes.index(example.plane) for example in examples])
    found = scores.argmax(axis=1)
    groups = np.array([example.picture.group for example in examples])
    dataset = np.array([group.partition("/")[0] for group in groups])
    figures: Figures = {}

    def add(name: str, which: Values, statistic: Callable[..., float], *columns: Values) -> None:
        if which.any():
            figures[name] = figure(groups[which], statistic, *(column[which] for column in columns))

    in_set = dataset == "planes"
    in_scope = in_set & np.isin(true, [classes.index(name) for name in SCOPE])
    add("top1", in_scope, metrics.accuracy, true, found)
    add("top2", in_scope, lambda t, s: metrics.top_k(t, s, 2), true, scores)
    add("f1_macro", in_scope, metrics.f1_macro, true, found)
    brain_true = np.array([brain_classes.index(e.brain_plane) if e.brain_plane else -1 for e in examples])
    add("brain_top1", brain_true >= 0, metrics.accuracy, brain_true, brain_scores.argmax(axis=1))
    rejected = np.isin(true, [classes.index(name) for name in REJECTED])
    rejecting = scores[:, [classes.index(name) for name in REJECTED]].sum(axis=1)
    if (in_set & rejected).any():
        add("reject_auc", in_set & (in_scope | rejected), metrics.auc, rejected, rejecting)
    add("head_circumference_is_brain", dataset == "head_circumference", metrics.accuracy, true, found)
    add("midsagittal_head_recall", dataset == "head_structures", metrics.accuracy, true, found)
    return kind, figures, {"parameters": float(task.parameters)}


def _structures(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    examples, kind = _unseen(read_structures(data_dir), models_dir / "structures")
    task = _loaded("structures", Structures, models_dir, device)
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
    return kind, figures, {}


def _biometry(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    examples, kind = _unseen(read_biometry(data_dir), models_dir / "biometry")
    task = _loaded("biometry", Biometry, models_dir, device)
    gate = _loaded("planes", Planes, models_dir, device)
    cases: list[dict[str, Any]] = []
    for batch in batches(examples, BATCH):
        frames = [frame_of(example.picture, example.mm_per_px) for example in batch]
        regions = task.regions(frames)
        for example, frame, region in zip(batch, frames, regions, strict=True):
            cases.append(_measured(example, frame, region, task, gate))
    return kind, _biometry_figures(cases), {}


def _measured(example: BiometryExample, frame: Frame, region: str, task: Biometry, gate: Planes) -> dict[str, Any]:
    """Measure one picture on the plane of its label, and once more behind the gate where it is a circumference."""
    first = {"head": "HC", "abdomen": "AC", "femur": "FL"}[example.region]
    findings = task.predict([frame.on_plane(PLANE_OF_REGION[example.region], 1.0)])
    value = next((f.value for f in findings if isinstance(f, Measurement) and f.name == first), None)
    outline = next((f for f in findings if isinstance(f, Segmentation)), None)
    rows, columns = frame.pixels.shape[:2]
    overlap = float("nan")
    if isinstance(example.shape, Ellipse) and outline:
        drawn = draw(np.array(outline.contour.points_px), columns, rows)
        overlap = metrics.dice(drawn, draw(example.shape.outline(256), columns, rows))
    plane = next(f.value_name for f in gate.predict([frame]) if isinstance(f, Classification) and f.name == "plane")
    return {
        "group": example.picture.group,
        "image": example.picture.path.name,
        "region": example.region,
        "region_right": region == example.region,
        "error_mm": abs(value - example.value_mm) if value is not None else float("nan"),
        "value_mm": example.value_mm,
        "dice": overlap,
        "gated": plane == PLANE_OF_REGION[example.region],
        "circumference_set": example.picture.group.startswith("head_circumference/"),
    }


def _biometry_figures(cases: Sequence[Mapping[str, Any]]) -> Figures:
    column = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    answered = ~np.isnan(column["error_mm"])
    figures: Figures = {}

    def add(name: str, which: Values, statistic: Callable[..., float], *columns: Values) -> None:
        if which.any():
            figures[name] = figure(column["group"][which], statistic, *(values[which] for values in columns))

    def mean(values: Values) -> float:
        return float(np.mean(values))

    hc = column["circumference_set"]
    share = column["error_mm"] / column["value_mm"]
    add("hc_mae_mm", hc & answered, mean, column["error_mm"])
    add("hc_mae_percent", hc & answered, mean, 100 * share)
    add("head_dice", hc & answered, mean, column["dice"])
    add("hc_within_5_percent", hc, mean, share <= HC_TOLERANCE)
    add("cascade_hc_within_5_percent", hc, mean, column["gated"] & (share <= HC_TOLERANCE))
    add("hc_landmarks_mae_mm", ~hc & answered & (column["region"] == "head"), mean, column["error_mm"])
    add("ac_mae_mm", answered & (column["region"] == "abdomen"), mean, column["error_mm"])
    add("fl_mae_mm", answered & (column["region"] == "femur"), mean, column["error_mm"])
    everything = np.ones(len(cases), dtype=bool)
    add("region_accuracy", everything, mean, column["region_right"])
    add("failed", everything, mean, ~answered)
    return figures


def _unseen(examples: Sequence[Kind], folder: Path) -> tuple[list[Kind], str]:
    """Leave out what the weights have seen, and say whether the rest is real or simulated."""
    seen = seen_by(folder)
    rest = [example for example in examples if example.picture.group not in seen]
    if not rest:
        raise BadInput(f"every image of this folder was used to make the weights of {folder.name}")
    if len({example.picture.simulated for example in rest}) > 1:
        raise BadInput("real and simulated images lie in one folder; their figures are never mixed")
    return rest, "simulated" if rest[0].picture.simulated else "real"


Loaded = Any


def _loaded(name: str, kind: type[Any], models_dir: Path, device: str) -> Loaded:
    task = load_task(name, models_dir, device)
    if not isinstance(task, kind):
        raise TypeError(f"{name} is not a {kind.__name__}")
    return task


EVALUATIONS: dict[str, Callable[[Path, Path, str], Outcome]] = {
    "planes": _planes,
    "structures": _structures,
    "biometry": _biometry,
}
