"""How far measured sizes are from their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.finding import Classification, Measurement, Segmentation
from dicom_node.domain.frame import Frame
from dicom_node.inference.batching import batches
from dicom_node.tasks.biometry import REGION_OF_PLANE, Biometry
from dicom_node.tasks.biometry.geometry import Ellipse, draw
from dicom_node.tasks.planes import Planes
from dicom_node.training import metrics
from dicom_node.training.datasets import BiometryExample, read_biometry
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure

PLANE_OF_REGION = {region: plane for plane, region in REGION_OF_PLANE.items()}
HC_TOLERANCE = 0.05


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure HC, AC and FL on the plane of the label, and HC behind the gate too."""
    examples, kind = unseen(read_biometry(data_dir), models_dir / "biometry")
    task = loaded("biometry", Biometry, models_dir, device)
    gate = loaded("planes", Planes, models_dir, device)
    cases: list[dict[str, Any]] = []
    for batch in batches(examples, BATCH):
        frames = [frame_of(example.picture, example.mm_per_px) for example in batch]
        regions = task.regions(frames)
        for example, frame, region in zip(batch, frames, regions, strict=True):
            cases.append(_measured(example, frame, region, task, gate))
    return Outcome(kind, _figures(cases))


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


def _figures(cases: Sequence[Mapping[str, Any]]) -> Figures:
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
