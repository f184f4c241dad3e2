"""How far measured sizes are from their labels, and what the quality gate stops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.finding import Classification, Finding, Measurement
from dicom_node.domain.frame import Frame
from dicom_node.errors import BadInput
from dicom_node.inference.batching import batches
from dicom_node.tasks.biometry import MEASURED, REGION_OF_PLANE, Biometry, Seen
from dicom_node.tasks.biometry.gate import OPEN
from dicom_node.tasks.biometry.geometry import Ellipse, draw
from dicom_node.tasks.planes import Planes
from dicom_node.training import metrics
from dicom_node.training.datasets import BiometryExample, PlaneExample, read_biometry, read_planes
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure
from dicom_node.training.recipe import of_split
from dicom_node.training.seen import seen_by

PLANE_OF_REGION = {region: plane for plane, region in REGION_OF_PLANE.items()}
HC_TOLERANCE = 0.05
GROSS_ERROR = 0.1  #: of the label
UNSUITABLE = ("thorax", "cervix", "other")  #: planes on which there is nothing to measure
CUT = 0.35  #: of a head's width that lies outside a picture that was cut on purpose
Case = dict[str, Any]


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure HC, AC and FL on the plane of the label, HC behind the gate of planes too, and what should be refused."""
    examples, kind = unseen(read_biometry(data_dir), models_dir / "biometry")
    task = loaded("biometry", Biometry, models_dir, device)
    gate = loaded("planes", Planes, models_dir, device)
    cases: list[Case] = []
    refusals: list[Case] = []
    for batch in batches(examples, BATCH):
        frames = [frame_of(example.picture, example.mm_per_px) for example in batch]
        for example, frame, seen in zip(batch, frames, task.look(frames), strict=True):
            cases.append(_measured(example, frame, seen, task, gate))
            if isinstance(example.shape, Ellipse) and example.region == "head":
                refusals.append(_refusal("cut_head", example.picture.group, cut(frame, example.shape), task))
    refusals += [_refusal_of_plane(example, task) for example in unsuitable(data_dir, models_dir / "biometry")]
    return Outcome(kind, {**_figures(cases), **_refused(refusals)})


def unsuitable(data_dir: Path, folder: Path) -> list[PlaneExample]:
    """Give the pictures with nothing to measure that the model in ``folder`` has not seen.

    Few patients of the train split have landmarks, so it has not seen most of the others either. But a folder that it
    has learned from is measured on its test split, here as in every figure.
    """
    try:
        planes = read_planes(data_dir)
        others, _ = unseen(planes, folder)
    except BadInput:  # a folder may hold nothing but measured heads
        return []
    seen = seen_by(folder)
    if any(seen.has(example.picture) for example in planes):
        others = of_split(others, "test")
    return [example for example in others if example.plane in UNSUITABLE]


def cut(frame: Frame, head: Ellipse) -> Frame:
    """Give the right part of a frame, from where CUT of the head's width lies to the left of it."""
    x = head.outline()[:, 0]
    at = max(round(x.min() + CUT * (x.max() - x.min())), 0)
    return dataclasses.replace(frame, pixels=np.ascontiguousarray(frame.pixels[:, at:]))


def _measured(example: BiometryExample, frame: Frame, seen: Seen, task: Biometry, gate: Planes) -> Case:
    """Measure a picture on the plane of its label with and without the quality gate, and behind the gate of planes."""
    on_plane = frame.on_plane(PLANE_OF_REGION[example.region], 1.0)
    findings = task.read(on_plane, seen)
    plane = next(f.value_name for f in gate.predict([frame]) if isinstance(f, Classification) and f.name == "plane")
    return {
        "group": example.picture.group,
        "image": example.picture.path.name,
        "region": example.region,
        "region_right": seen.region == example.region,
        "difference_mm": _value(findings, example.region) - example.value_mm,
        "ungated_difference_mm": _value(task.with_gate(OPEN).read(on_plane, seen), example.region) - example.value_mm,
        "value_mm": example.value_mm,
        "dice": _dice(findings, example, frame),
        "on_plane": plane == PLANE_OF_REGION[example.region],
        "circumference_set": example.picture.group.startswith("head_circumference/"),
    }


def _dice(findings: Sequence[Finding], example: BiometryExample, frame: Frame) -> float:
    """Give the dice of the measured ellipse and the label's, as the HC18 challenge does; NaN where one is missing."""
    measured = next((f.graphic for f in findings if isinstance(f, Measurement) and f.graphic.kind == "ellipse"), None)
    if measured is None or not isinstance(example.shape, Ellipse):
        return float("nan")
    rows, columns = frame.pixels.shape[:2]
    drawn = draw(Ellipse.of_ends(np.array(measured.points_px)).outline(256), columns, rows)
    return metrics.dice(drawn, draw(example.shape.outline(256), columns, rows))


def _value(findings: Sequence[Finding], region: str) -> float:
    """Give the region's first size, NaN where there is none."""
    first = MEASURED[region][0]
    return next((f.value for f in findings if isinstance(f, Measurement) and f.name == first), float("nan"))


def _refusal_of_plane(example: PlaneExample, task: Biometry) -> Case:
    """Pretend in turn that a picture without any of the regions shows each."""
    frame = frame_of(example.picture)
    (seen,) = task.look([frame])
    answers = [_answered(task.read(frame.on_plane(plane, 1.0), seen)) for plane in REGION_OF_PLANE]
    return {"kind": "other_plane", "group": example.picture.group, "refused": 1.0 - float(np.mean(answers))}


def _refusal(kind: str, group: str, frame: Frame, task: Biometry) -> Case:
    return {"kind": kind, "group": group, "refused": float(not _answered(task.predict([frame.on_plane("brain", 1.0)])))}


def _answered(findings: Sequence[Finding]) -> bool:
    return any(isinstance(finding, Measurement) for finding in findings)


def _refused(refusals: Sequence[Case]) -> Figures:
    """Give the share of pictures without a whole region to which there is no number."""
    figures: Figures = {}
    for kind in sorted({case["kind"] for case in refusals}):
        of_kind = [case for case in refusals if case["kind"] == kind]
        refused = np.array([case["refused"] for case in of_kind])
        figures[f"{kind}_refused"] = figure([case["group"] for case in of_kind], _mean, refused)
    return figures


def _figures(cases: Sequence[Mapping[str, Any]]) -> Figures:
    column = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    answered = ~np.isnan(column["difference_mm"])
    figures: Figures = {}

    def add(name: str, which: Values, statistic: Callable[..., float], *columns: Values) -> None:
        if which.any():
            figures[name] = figure(column["group"][which], statistic, *(values[which] for values in columns))

    hc, error = column["circumference_set"], np.abs(column["difference_mm"])
    share = error / column["value_mm"]
    add("hc_mae_mm", hc & answered, _mean, error)
    add("hc_mae_percent", hc & answered, _mean, 100 * share)
    add("hc_bias_mm", hc & answered, _mean, column["difference_mm"])
    add("head_dice", hc & answered, _mean, column["dice"])
    add("hc_within_5_percent", hc, _mean, share <= HC_TOLERANCE)
    add("cascade_hc_within_5_percent", hc, _mean, column["on_plane"] & (share <= HC_TOLERANCE))
    of_landmarks = ~hc & answered & (column["region"] == "head")
    add("hc_landmarks_mae_mm", of_landmarks, _mean, error)
    add("hc_landmarks_bias_mm", of_landmarks, _mean, column["difference_mm"])
    for region, name in (("abdomen", "ac"), ("femur", "fl")):
        add(f"{name}_mae_mm", answered & (column["region"] == region), _mean, error)
        add(f"{name}_bias_mm", answered & (column["region"] == region), _mean, column["difference_mm"])
    everything = np.ones(len(cases), dtype=bool)
    add("region_accuracy", everything, _mean, column["region_right"])
    add("failed", everything, _mean, ~answered)
    ungated = np.abs(column["ungated_difference_mm"]) / column["value_mm"]
    add("gross_errors", answered, _mean, share > GROSS_ERROR)
    add("gate_gross_errors_refused", ungated > GROSS_ERROR, _mean, ~answered)
    add("gate_good_ones_refused", ungated <= GROSS_ERROR, _mean, ~answered)
    return figures


def _mean(values: Values) -> float:
    return float(np.mean(values))
