"""From what several looks at a frame propose to at most one box per structure, where anatomy allows it.

A look is one detector on the picture, or on its mirror image. The boxes of all looks that overlap the best one become
one: weighted box fusion (Solovyev et al., Image and Vision Computing 107, 2021) for things that exist once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.tasks.structures.anatomy import plausible
from dicom_node.tasks.structures.net import STRUCTURES

SAME = 0.5  #: boxes that overlap the best one by this (intersection over union) mean the same
FAINT = 0.05  #: proposals below this share of the best score have no say
Numbers = npt.NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look proposes: boxes (9, k, 4: x0, y0, x1, y1 in picture pixels) and scores (9, k), by structure."""

    boxes: Numbers
    scores: Numbers


def best_boxes(looks: Sequence[Look], shape: tuple[int, ...], floor: float) -> dict[str, tuple[Box, float]]:
    """Give each structure's box, inside a picture of ``shape`` (rows, columns), and its score of ``floor`` or more."""
    boxes = np.concatenate([look.boxes for look in looks], axis=1)
    scores = np.concatenate([look.scores for look in looks], axis=1)
    scores = scores * plausible(boxes, scores)
    sources = np.repeat(np.arange(len(looks)), [look.scores.shape[1] for look in looks])
    limit = np.array([shape[1], shape[0]] * 2, dtype=np.float64)
    found = {}
    for name, its_boxes, its_scores in zip(STRUCTURES, boxes, scores, strict=True):
        box, score = fused(its_boxes, its_scores, sources, len(looks))
        x0, y0, x1, y1 = (float(edge) for edge in np.clip(box, 0.0, limit))
        if score >= floor and x1 > x0 and y1 > y0:
            found[name] = ((x0, y0, x1, y1), score)
    return found


def fused(boxes: Numbers, scores: Numbers, sources: npt.NDArray[np.integer[Any]], looks: int) -> tuple[Numbers, float]:
    """Fuse one structure's boxes (n, 4) with scores (n,) from ``looks`` looks, of which ``sources`` (n,) are numbers.

    The box is the mean, weighted by score, of those that mean the same as the best; the score is the mean over the
    looks of the best that each says of it, which is nothing where it saw something else.
    """
    best = int(scores.argmax())
    same = (overlaps(boxes[best], boxes) >= SAME) & (scores >= FAINT * scores[best])
    same[best] = True
    weights = np.maximum(scores[same], 1e-9)
    box = (boxes[same] * weights[:, None]).sum(axis=0) / weights.sum()
    said = np.zeros(looks)
    np.maximum.at(said, sources[same], scores[same])
    return box, float(said.mean())


def overlaps(box: Numbers, boxes: Numbers) -> Numbers:
    """Give the intersection over union of a box (4,) with others (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / np.maximum(areas + np.prod(box[2:] - box[:2]) - shared, 1e-9))
