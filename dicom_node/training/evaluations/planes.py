"""How well planes are told apart, how well what is no plane is rejected, and what the published network reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dicom_node.domain.frame import Frame
from dicom_node.inference.batching import batches
from dicom_node.tasks.planes import Planes
from dicom_node.training import metrics
from dicom_node.training.attention import attention_in, looked_at_heads
from dicom_node.training.datasets import PlaneExample, grey_image, read_planes
from dicom_node.training.measuring import BATCH, Figures, Outcome, frame_of, loaded, unseen
from dicom_node.training.metrics import Values, figure
from dicom_node.training.sononet import planes_by_sononet, sononet

SCOPE = ("brain", "abdomen", "femur", "thorax")
REJECTED = ("cervix", "other")


def measure(data_dir: Path, models_dir: Path, device: str) -> Outcome:
    """Measure the gate: planes and brain planes, the rejection of what is none, and its size."""
    examples, kind = unseen(read_planes(data_dir), models_dir / "planes")
    task = loaded("planes", Planes, models_dir, device)
    scores, brain_scores = (
        np.concatenate(part)
        for part in zip(
            *(task.look([frame_of(example.picture) for example in batch])[:2] for batch in batches(examples, BATCH)),
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
    baseline = _by_sononet([e for e, wanted in zip(examples, in_scope, strict=True) if wanted], data_dir, classes)
    if baseline is not None:
        right = baseline == true[in_scope]
        figures["sononet16.top1"] = figure(groups[in_scope], lambda hits: float(np.mean(hits)), right)
    brain_true = np.array([brain_classes.index(e.brain_plane) if e.brain_plane else -1 for e in examples])
    add("brain_top1", brain_true >= 0, metrics.accuracy, brain_true, brain_scores.argmax(axis=1))
    rejected = np.isin(true, [classes.index(name) for name in REJECTED])
    rejecting = scores[:, [classes.index(name) for name in REJECTED]].sum(axis=1)
    if (in_set & rejected).any():
        add("reject_auc", in_set & (in_scope | rejected), metrics.auc, rejected, rejecting)
    add("head_circumference_is_brain", dataset == "head_circumference", metrics.accuracy, true, found)
    add("midsagittal_head_recall", dataset == "head_structures", metrics.accuracy, true, found)
    if kind == "real":
        figures |= attention_in("head", looked_at_heads(data_dir, models_dir / "planes", partial(_heat_of_found, task)))
    return Outcome(kind, figures, {"parameters": float(task.parameters)})


def _heat_of_found(task: Planes, frames: Sequence[Frame]) -> Values:
    planes, _, features = task.look(frames)
    return task.heat(frames, features, planes.argmax(axis=1))


def _by_sononet(examples: Sequence[PlaneExample], data_dir: Path, classes: Sequence[str]) -> Values | None:
    """Give the class that SonoNet16 chooses of those in scope, when its weights lie beside the data."""
    net = sononet(data_dir)
    if net is None or not examples:
        return None
    scores = [
        planes_by_sononet(net, [grey_image(example.picture.path) for example in batch], SCOPE)
        for batch in batches(examples, BATCH)
    ]
    chosen = np.concatenate(scores).argmax(axis=1)
    ours: Values = np.array([classes.index(name) for name in SCOPE])
    return np.asarray(ours[chosen])
