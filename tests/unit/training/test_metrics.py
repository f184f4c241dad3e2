"""Every figure against a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.training import metrics


def test_accuracy_and_top_k() -> None:
    true = np.array([0, 1, 2, 1])
    scores = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    assert metrics.accuracy(true, scores.argmax(axis=1)) == 0.5
    assert metrics.top_k(true, scores, 1) == 0.5
    assert metrics.top_k(true, scores, 2) == 0.75
    assert metrics.top_k(true, scores, 3) == 1.0


def test_f1_macro_is_the_mean_over_the_true_classes() -> None:
    # class 0: TP 2, FP 1, FN 0 -> 4/5; class 1: TP 1, FP 0, FN 2 -> 2/4; class 2 is never true.
    true = np.array([0, 0, 1, 1, 1])
    found = np.array([0, 0, 1, 0, 2])
    assert metrics.f1_macro(true, found) == pytest.approx((0.8 + 0.5) / 2)


def test_auc_counts_pairs_and_ties_by_half() -> None:
    positive = np.array([True, True, False, False])
    assert metrics.auc(positive, np.array([0.9, 0.5, 0.5, 0.1])) == pytest.approx(3.5 / 4)
    assert np.isnan(metrics.auc(np.array([True]), np.array([0.5])))


def test_auc_macro_is_the_mean_over_classes_that_occur() -> None:
    true = np.array([0, 0, 1])
    scores = np.array([[0.9, 0.1, 0.0], [0.3, 0.2, 0.5], [0.6, 0.4, 0.0]])
    # Class 0 against the rest: 0.9 and 0.3 against 0.6 -> 1/2; class 1: 0.4 against 0.1 and 0.2 -> 1; class 2 never.
    assert metrics.auc_macro(true, scores) == pytest.approx(0.75)


def test_box_iou() -> None:
    assert metrics.box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert metrics.box_iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0
    assert metrics.box_iou((0, 0, 4, 2), (0, 0, 4, 2)) == 1.0
    assert metrics.box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_f1_of_counts() -> None:
    assert metrics.f1(3, 4, 5) == pytest.approx(6 / 9)
    assert metrics.f1(0, 0, 0) == 0.0


def test_average_precision_by_hand() -> None:
    # Ranked: hit, miss, hit; three to be found. Recall 1/3, 1/3, 2/3; precision 1, 1/2, 2/3 -> 1/3 x 1 + 1/3 x 2/3.
    score = np.array([0.9, 0.1, 0.5])
    hit = np.array([True, True, False])
    assert metrics.average_precision(score, hit, 3) == pytest.approx(1 / 3 + 2 / 9)
    assert np.isnan(metrics.average_precision(score, hit, 0))


def test_dice() -> None:
    first = np.array([[1, 1, 0]], dtype=np.uint8)
    second = np.array([[0, 1, 1]], dtype=np.uint8)
    assert metrics.dice(first, second) == 0.5


def test_the_interval_draws_fetuses_and_not_images() -> None:
    # Two fetuses, one always right and one never: however many images, the share swings between 0 and 1.
    right = np.array([1.0] * 50 + [0.0] * 50)
    figure = metrics.figure(["set/a"] * 50 + ["set/b"] * 50, lambda values: float(values.mean()), right)
    assert figure.value == 0.5
    assert figure.ci95 == (0.0, 1.0)
    assert figure.n == 100
    assert figure.images == "set"
    each_its_own = metrics.figure([str(i) for i in range(100)], lambda values: float(values.mean()), right)
    assert each_its_own.ci95 is not None
    assert each_its_own.ci95 == pytest.approx((0.4, 0.6), abs=0.03)


def test_one_fetus_has_no_interval() -> None:
    assert metrics.figure(["a", "a"], lambda values: float(values.mean()), np.array([1.0, 2.0])).ci95 is None


def test_a_figure_that_the_cases_do_not_define_is_not_drawn_again() -> None:
    only_ill = metrics.figure(["a", "b", "c"], metrics.auc, np.array([True] * 3), np.array([0.1, 0.5, 0.9]))
    assert np.isnan(only_ill.value)
    assert (only_ill.ci95, only_ill.n) == (None, 3)
