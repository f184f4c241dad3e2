"""Features are kept when they repeat, differ from each other, and say something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.tasks.structures.categories import FEATURES, CategoriesNet
from dicom_node.tasks.structures.deep import CropNet
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training import head_features
from dicom_node.training.datasets import read_heads
from dicom_node.training.head_features import Rows
from dicom_node.training.perturbation import other_machine, recontoured, respeckled, seen_again
from dicom_node.training.selection import (
    Target,
    association,
    icc,
    lasso,
    moments,
    not_redundant,
    repeatable,
    select,
    standardised,
    with_interval,
)

RNG = np.random.default_rng(5)


def test_identical_raters_agree_by_1_and_unrelated_ones_by_0() -> None:
    same = RNG.normal(size=(50, 1, 1)).repeat(2, axis=1)
    assert icc(same) == pytest.approx([1.0])
    assert abs(icc(RNG.normal(size=(2000, 2, 1)))[0]) < 0.07
    assert icc(np.ones((5, 2, 1))) == pytest.approx([0.0])


def test_a_shift_between_raters_counts_as_disagreement() -> None:
    first = RNG.normal(size=200)
    shifted = icc(np.stack([first, first + 2.0], axis=1)[:, :, None])[0]
    assert shifted == pytest.approx(1 / 3, abs=0.05)  # variance 1 between boxes, 2 from the shift of 2


def test_our_icc_is_that_of_pingouin() -> None:
    first = RNG.normal(size=40)
    second = first + 0.5 * RNG.normal(size=40) + 0.2
    value, (low, high) = with_interval(first, second)
    assert icc(np.stack([first, second], axis=1)[:, :, None])[0] == pytest.approx(value, abs=1e-6)
    assert low < value < high


def test_differences_between_structures_do_not_flatter_a_feature() -> None:
    structures = np.arange(200) % 2
    noise = 100.0 * structures[:, None] + RNG.normal(size=(200, 1))
    again = 100.0 * structures[:, None] + RNG.normal(size=(200, 1))
    assert icc(np.stack([noise, again], axis=1))[0] > 0.99
    assert repeatable(noise, {"speckle": again}, structures)["speckle"][0] < 0.3


def test_of_two_alike_the_better_one_stays() -> None:
    first = RNG.normal(size=(300, 1))
    features = np.concatenate([first, first + 0.1 * RNG.normal(size=(300, 1)), RNG.normal(size=(300, 1))], axis=1)
    assert not_redundant(features, np.array([0.2, 0.9, 0.1])).tolist() == [False, True, True]


def test_lasso_keeps_what_tells_the_classes_apart() -> None:
    features = RNG.normal(size=(600, 12))
    target = (features[:, 3] - features[:, 7] + 0.5 * RNG.normal(size=600) > 0).astype(float)
    groups = np.array([f"image{i // 6}" for i in range(600)])
    chosen = lasso(features, target, groups, most=2, seed=0)
    assert np.flatnonzero(chosen).tolist() == [3, 7]
    assert association(features, target)[[3, 7]].min() > association(features, target)[[0, 1, 2]].max()


def test_selection_drops_the_noisy_and_the_duplicate() -> None:
    count = 360
    structures = np.arange(count) % len(STRUCTURES)
    images = np.array([f"{i // 9}.jpg" for i in range(count)])
    label = (np.arange(count) // 9 % 2).astype(float)
    telling, noisy = label + 0.5 * RNG.normal(size=count), label + 0.5 * RNG.normal(size=count)
    rows = np.stack([telling, 2.0 * telling + 1.0, noisy, RNG.normal(size=count)], axis=1)
    again = rows + 0.05 * RNG.normal(size=rows.shape)
    again[:, 2] = RNG.normal(size=count)  # looked at again, it says something else
    found = select(
        ("telling", "duplicate", "noisy", "unrelated"),
        (slice(0, 4),),
        rows=Rows(images, structures, rows),
        again={"speckle": (Rows(images, structures, rows), Rows(images, structures, again))},
        targets=[Target(np.arange(count), label)],
        most=1,
        seed=0,
    )
    assert found.selected.sum() == 1
    assert found.selected[:2].any()
    assert [row["repeats"] for row in found.table] == [1, 1, 0, 1]
    assert sum(row["not_redundant"] for row in found.table[:2]) == 1
    assert found.mean.shape == (len(STRUCTURES), 1)


def test_standardised_values_are_those_of_their_structure() -> None:
    structures = np.repeat([0, 1], 200)
    values = RNG.normal(size=(400, 1)) * np.where(structures == 0, 1.0, 50.0)[:, None] + 1e6 * structures[:, None]
    mean, scale = moments(values, structures, 3)
    seen = standardised(values, structures, mean, scale)
    for structure in (0, 1):
        assert seen[structures == structure].mean() == pytest.approx(0.0, abs=0.05)
        assert seen[structures == structure].std() == pytest.approx(1.0, abs=0.1)
    assert np.isfinite(mean).all()
    assert (scale > 0).all()


def test_features_are_selected_as_the_net_sees_them() -> None:
    net = CategoriesNet(torch.arange(FEATURES) < 3)
    structures = np.arange(90) % len(STRUCTURES)
    values = RNG.normal(100.0, 20.0, (90, 3))
    values[0] = 1e6  # an outlier
    mean, scale = moments(values[1:], structures[1:], len(STRUCTURES))
    net.mean.copy_(torch.from_numpy(mean))
    net.scale.copy_(torch.from_numpy(scale))
    seen = net.standardised(torch.from_numpy(values), torch.from_numpy(structures)).numpy()
    assert seen == pytest.approx(standardised(values, structures, mean, scale), abs=1e-5)


def test_seen_again_is_another_picture_of_the_same_head() -> None:
    grey = np.kron(RNG.integers(30, 200, (10, 12)), np.ones((16, 16))).astype(np.uint8)
    boxes = {"thalami": (20.0, 30.0, 80.0, 70.0)}
    seen = seen_again(grey, boxes, np.random.default_rng(1))
    assert set(seen) == {"contour", "speckle", "machine"}
    x0, y0, x1, y1 = recontoured(boxes["thalami"], grey.shape, np.random.default_rng(1))
    assert 0 < x0 < x1 < grey.shape[1]
    assert 0 < y0 < y1 < grey.shape[0]
    assert np.corrcoef(respeckled(grey, np.random.default_rng(1)).ravel(), grey.ravel())[0, 1] > 0.9
    other, moved = other_machine(grey, boxes, np.random.default_rng(1))
    zoom = other.shape[1] / grey.shape[1]
    assert moved["thalami"] == pytest.approx(np.array(boxes["thalami"]) * zoom, rel=0.02)


@pytest.mark.slow
def test_features_of_heads_are_extracted_once(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = read_heads(phantoms, phantoms / "head_structures" / "boxes.csv")[:2]
    torch.manual_seed(0)
    deep = head_features.DeepNetwork(CropNet().eval(), "a", 32, "cpu")
    first = head_features.features_of(heads, deep, tmp_path, again=True)
    assert set(first) == {"found", "contour", "speckle", "machine"}
    assert first["found"].features.shape == (sum(len(head.boxes) for head in heads), FEATURES)
    monkeypatch.setattr(head_features, "radiomic_features", None)
    second = head_features.features_of(heads, deep, tmp_path, again=True)
    assert np.array_equal(first["machine"].features, second["machine"].features)
