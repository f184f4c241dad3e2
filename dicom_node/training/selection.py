"""Which features to keep: those that repeat, that say what no other says, and that say something of the plane.

1. ICC(2,1) >= 0.75 (two-way random effects, absolute agreement, one rater; Shrout and Fleiss 1979) between a box and
   the same box seen again (``perturbation``), for every kind of difference. Absolute agreement, because a shift between
   examinations is an error at run time. Values are taken minus their structure's mean, since differences between
   structures would flatter every feature.
2. Of features whose correlation (Pearson) is beyond 0.9, the one that goes along with the label best.
3. LASSO on the standardised rest; the strength of the penalty is the largest within one standard error of the best of a
   cross-validation by image.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.tasks.structures.categories import OUTLIER
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training.head_features import Rows

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ICC_FLOOR = 0.75
REDUNDANT = 0.9
FOLDS = 5
ALPHAS, SMALLEST_ALPHA, STEPS, TOLERANCE = 25, 1e-2, 1000, 1e-2  #: of the LASSO; the smallest in parts of the largest
STRUCTURE_COUNT = len(STRUCTURES)


def icc(ratings: Values) -> Values:
    """Give ICC(2,1) of features (n,) from ratings (targets, raters, n); 0 where nothing varies."""
    targets, raters = ratings.shape[:2]
    grand = ratings.mean(axis=(0, 1))
    of_target, of_rater = ratings.mean(axis=1), ratings.mean(axis=0)
    between = raters * ((of_target - grand) ** 2).sum(axis=0) / (targets - 1)
    rater = targets * ((of_rater - grand) ** 2).sum(axis=0) / (raters - 1)
    rest = ratings - of_target[:, None] - of_rater[None] + grand
    error = (rest**2).sum(axis=(0, 1)) / ((targets - 1) * (raters - 1))
    spread = between + (raters - 1) * error + raters * (rater - error) / targets
    return np.asarray(np.divide(between - error, spread, out=np.zeros_like(spread), where=spread > 0))


def repeatable(first: Values, again: Mapping[str, Values], structures: npt.NDArray[np.int64]) -> dict[str, Values]:
    """Give the ICC of features (n,) for every kind of difference, between boxes (m, n) and the same seen again."""
    found = {}
    for kind, second in again.items():
        ratings = np.stack([first, second], axis=1)
        for structure in np.unique(structures):
            of_it = structures == structure
            ratings[of_it] -= ratings[of_it].mean(axis=(0, 1))
        found[kind] = icc(ratings)
    return found


def with_interval(first: Values, second: Values) -> tuple[float, tuple[float, float]]:
    """Give ICC(2,1) of one feature (m,) and its 95 % interval, by pingouin."""
    import pandas as pd  # noqa: PLC0415 - of the extra `train`, and slow to import
    import pingouin  # noqa: PLC0415

    count = len(first)
    table = pd.DataFrame(
        {
            "box": np.tile(np.arange(count), 2),
            "rater": np.repeat([0, 1], count),
            "value": np.concatenate([first, second]),
        }
    )
    with warnings.catch_warnings():  # pingouin 0.7 uses what pandas 3.1 calls deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = pingouin.intraclass_corr(table, targets="box", raters="rater", ratings="value").set_index("Type")
    row = rows.loc["ICC(A,1)"]
    low, high = row["CI95"]
    return float(row["ICC"]), (float(low), float(high))


def standardised(values: Values, structures: npt.NDArray[np.int64], mean: Values, scale: Values) -> Values:
    """Bring values (m, n) to the spread of their structure (mean and scale: structures, n), without outliers.

    ``CategoriesNet.standardised`` does the same to tensors, so that features are selected as the net will see them.
    """
    return np.clip((values - mean[structures]) / scale[structures], -OUTLIER, OUTLIER)


def moments(values: Values, structures: npt.NDArray[np.int64], count: int) -> tuple[Values, Values]:
    """Give the mean and the spread (count, n) of features for each of ``count`` structures; robust to a few outliers.

    A structure that is not there gets those of all together.
    """
    mean, scale = np.empty((count, values.shape[1])), np.empty((count, values.shape[1]))
    for structure in range(count):
        of_it = values[structures == structure]
        low, high = np.percentile(of_it if len(of_it) else values, (1.0, 99.0), axis=0)
        cut = np.clip(of_it if len(of_it) else values, low, high)
        mean[structure], scale[structure] = cut.mean(axis=0), cut.std(axis=0)
    scale[scale <= 1e-9 * np.abs(mean) + 1e-12] = 1.0  # it does not vary
    return mean, scale


def not_redundant(features: Values, worth: Values) -> Mask:
    """Choose columns of features (m, n) by falling worth (n,), unless one that was chosen says the same."""
    alike = np.abs(np.nan_to_num(np.corrcoef(features, rowvar=False))) > REDUNDANT
    chosen = np.zeros(features.shape[1], dtype=bool)
    for column in np.argsort(-worth, kind="stable"):
        chosen[column] = not (alike[column] & chosen).any()
    return chosen


def association(features: Values, target: Values) -> Values:
    """Give the size of the correlation of columns (m, n) with a target (m,); 0 where nothing varies."""
    deviation, wanted = features - features.mean(axis=0), target - target.mean()
    spread = np.sqrt((deviation**2).sum(axis=0) * (wanted**2).sum())
    return np.asarray(
        np.abs(np.divide(deviation.T @ wanted, spread, out=np.zeros(features.shape[1]), where=spread > 0))
    )


def lasso(features: Values, target: Values, groups: npt.NDArray[np.str_], most: int, seed: int) -> Mask:
    """Choose columns of features (m, n) that a LASSO of the target (m,) keeps, the ``most`` heaviest of them.

    Rows of one group (image) are never on both sides of a fold; classes weigh the same.
    """
    from sklearn.linear_model import Lasso, LassoCV  # noqa: PLC0415 - of the extra `train`
    from sklearn.model_selection import GroupKFold  # noqa: PLC0415

    weights = np.zeros(len(target))
    for kind in np.unique(target):
        weights[target == kind] = 1.0 / np.sum(target == kind)
    weights *= len(target) / weights.sum()
    folds = list(GroupKFold(FOLDS).split(features, target, groups))
    search: Any = LassoCV(cv=folds, alphas=ALPHAS, eps=SMALLEST_ALPHA, max_iter=STEPS, random_state=seed, tol=TOLERANCE)
    search.fit(features, target, sample_weight=weights)
    errors = search.mse_path_.mean(axis=1)
    spread = search.mse_path_.std(axis=1) / np.sqrt(FOLDS)
    best = int(errors.argmin())
    alpha = float(max(a for a, e in zip(search.alphas_, errors, strict=True) if e <= errors[best] + spread[best]))
    model: Any = Lasso(alpha=alpha, max_iter=STEPS, tol=TOLERANCE).fit(features, target, sample_weight=weights)
    if not model.coef_.any():
        model = Lasso(alpha=float(search.alpha_), max_iter=STEPS, tol=TOLERANCE).fit(
            features, target, sample_weight=weights
        )
    weight = np.abs(model.coef_)
    if not weight.any():  # nothing helps the others: the one that goes along with the label best
        weight[association(features, target).argmax()] = 1.0
    heaviest = np.argsort(-weight, kind="stable")[:most]
    chosen = np.zeros(features.shape[1], dtype=bool)
    chosen[heaviest] = weight[heaviest] > 0
    return chosen


@dataclass(frozen=True, slots=True)
class Target:
    """What features are to say: a value (m,) for some rows (indices, m) of a table."""

    rows: npt.NDArray[np.int64]
    value: Values


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of n features, their moments by structure, and how each came through (one row per feature)."""

    selected: Mask
    mean: Values
    scale: Values
    table: list[dict[str, Any]]


def select(
    names: Sequence[str],
    kinds: Sequence[slice],
    *,
    rows: Rows,
    again: Mapping[str, tuple[Rows, Rows]],
    targets: Sequence[Target],
    most: int,
    seed: int,
) -> Selection:
    """Choose features, each of ``kinds`` (columns: radiomic, deep) by itself, so that neither hides the other.

    ``again`` holds, for every kind of difference, the same boxes as they were found and as they were seen again.
    """
    first, second = next(iter(again.values()))[0], {kind: pair[1].features for kind, pair in again.items()}
    agreement = repeatable(first.features, second, first.structures)
    stable = np.all([values >= ICC_FLOOR for values in agreement.values()], axis=0)
    mean, scale = moments(rows.features, rows.structures, STRUCTURE_COUNT)
    seen = standardised(rows.features, rows.structures, mean, scale)
    different, kept = np.zeros(len(names), dtype=bool), np.zeros(len(names), dtype=bool)
    main = targets[0]
    for columns in kinds:
        candidates = np.arange(len(names))[columns][stable[columns]]
        worth = association(seen[np.ix_(main.rows, candidates)], main.value)
        rest = candidates[not_redundant(seen[np.ix_(main.rows, candidates)], worth)]
        different[rest] = True
        for target in targets:
            groups = rows.images[target.rows]
            kept[rest[lasso(seen[np.ix_(target.rows, rest)], target.value, groups, most, seed)]] = True
    table = []
    for i, name in enumerate(names):
        row: dict[str, Any] = {"feature": name, **{f"icc_{kind}": round(v[i], 3) for kind, v in agreement.items()}}
        row |= {"repeats": int(stable[i]), "not_redundant": int(different[i]), "selected": int(kept[i])}
        if kept[i]:
            for kind, values in second.items():
                _, interval = with_interval(_centred(first, i), _centred_as(values, first, i))
                row[f"ci95_{kind}"] = "{:.3f} to {:.3f}".format(*interval)
        table.append(row)
    return Selection(kept, mean[:, kept], scale[:, kept], table)


def _centred(rows: Rows, column: int) -> Values:
    return _centred_as(rows.features, rows, column)


def _centred_as(values: Values, rows: Rows, column: int) -> Values:
    """Take from one feature its structure's mean of the boxes as they were found."""
    result = values[:, column].copy()
    for structure in np.unique(rows.structures):
        of_it = rows.structures == structure
        result[of_it] -= rows.features[of_it, column].mean()
    return result
