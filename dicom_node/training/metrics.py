"""Figures of merit, each by its definition, and their confidence intervals by fetus or patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Box = tuple[float, float, float, float]
BOOTSTRAP_ROUNDS = 1000
BOOTSTRAP_SEED = 11


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its 95 % interval (None where it cannot be drawn again), its number of cases and their image sets.

    The value is NaN where the cases do not define it, as an AUC of one kind alone.
    """

    value: float
    ci95: tuple[float, float] | None
    n: int
    images: str


def figure(
    groups: Sequence[str] | Values, statistic: Callable[..., float], *columns: Values, rounds: int = BOOTSTRAP_ROUNDS
) -> Figure:
    """Give a statistic of columns (n cases each) with a 95 % percentile bootstrap over whole groups (Efron 1979).

    Cases of one fetus resemble each other, so fetuses are drawn with replacement, never images. A group is named
    ``<image set>/<fetus>``.
    """
    images = ", ".join(sorted({str(group).partition("/")[0] for group in groups}))
    value = float(statistic(*columns))
    _, owner = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(owner == group) for group in range(owner.max() + 1)] if len(owner) else []
    if len(members) < 2 or not np.isfinite(value):  # noqa: PLR2004 - one group says nothing of the spread
        return Figure(value, None, len(owner), images)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    again = []
    for _ in range(rounds):
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        again.append(statistic(*(column[drawn] for column in columns)))
    low, high = np.nanpercentile(np.asarray(again, dtype=np.float64), (2.5, 97.5))
    return Figure(value, (float(low), float(high)), len(owner), images)


def accuracy(true: Values, found: Values) -> float:
    """Share of cases whose class was found."""
    return float(np.mean(true == found))


def top_k(true: Values, scores: Values, k: int) -> float:
    """Share of cases (n,) whose class is among the ``k`` highest of the scores (n, classes)."""
    best = np.argsort(-scores, axis=1)[:, :k]
    return float(np.mean((best == true[:, None]).any(axis=1)))


def f1_macro(true: Values, found: Values) -> float:
    """Mean over the true classes of F1 = 2 TP / (2 TP + FP + FN)."""
    figures = []
    for kind in np.unique(true):
        hits = np.sum((true == kind) & (found == kind))
        figures.append(2 * hits / (np.sum(true == kind) + np.sum(found == kind)))
    return float(np.mean(figures))


def auc(positive: Values, score: Values) -> float:
    """Chance that a positive case (n, bool) scores above a negative one, ties by half (Mann-Whitney).

    NaN where there are not both.
    """
    high, low = score[positive], score[~positive]
    if not len(high) or not len(low):
        return float("nan")
    return float(np.mean((high[:, None] > low[None]) + 0.5 * (high[:, None] == low[None])))


def auc_macro(true: Values, scores: Values) -> float:
    """Mean over the classes that occur of each one's AUC against the rest; scores (n, classes)."""
    return float(np.nanmean([auc(true == kind, scores[:, kind]) for kind in np.unique(true)]))


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(width, 0.0) * max(height, 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - both
    return both / union if union > 0 else 0.0


def f1(hits: float, found: float, true: float) -> float:
    """F1 from the number of hits, of boxes found and of boxes there are; 0 where there is nothing."""
    return 2 * hits / (found + true) if found + true else 0.0


def average_precision(score: Values, hit: Values, true: int) -> float:
    """Area under the precision-recall curve (all points, precision made monotone), for ``true`` boxes to be found."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(hit[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], hits / true])) if true else np.zeros(0)
    return float(np.sum(steps * best)) if true else float("nan")


def dice(first: Values, second: Values) -> float:
    """Dice of two masks of 0 and 1."""
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))
