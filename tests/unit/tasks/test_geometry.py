from __future__ import annotations

import numpy as np
import pytest

from dicom_node.tasks.biometry.geometry import (
    Ellipse,
    coverage,
    distance,
    draw,
    ellipse_perimeter,
    elongation,
    fit_ellipse,
    largest_piece,
    overlap,
    shaft,
    shaft_ends,
)


@pytest.mark.parametrize(
    ("a", "b", "perimeter"),
    [(1.0, 1.0, 2 * np.pi), (2.0, 1.0, 9.688448220547675), (3.0, 2.0, 15.865439589290589), (50.0, 40.0, 283.6166778)],
)
def test_the_perimeter_is_that_of_the_elliptic_integral(a: float, b: float, perimeter: float) -> None:
    assert ellipse_perimeter(a, b) == pytest.approx(perimeter, rel=1e-6)
    assert ellipse_perimeter(b, a) == pytest.approx(perimeter, rel=1e-6)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 141.0])
def test_a_drawn_ellipse_is_fitted_again(angle: float) -> None:
    true = Ellipse.of((300.5, 240.2), 180.0, 130.0, angle)
    mask = draw(true.outline(256), 600, 480)
    found = fit_ellipse(mask)
    assert found is not None
    assert found.lengths == pytest.approx((180.0, 130.0), abs=0.8)
    assert found.perimeter == pytest.approx(true.perimeter, rel=0.004)
    assert np.abs(found.centre - true.centre).max() < 0.5
    assert overlap(mask, found) > 0.99


def test_a_rectangle_is_not_an_ellipse() -> None:
    mask = np.zeros((480, 600), dtype=np.uint8)
    mask[200:240, 50:550] = 1
    found = fit_ellipse(mask)
    assert found is None or overlap(mask, found) < 0.88


def test_nothing_has_no_shape() -> None:
    empty = np.zeros((50, 50), dtype=np.uint8)
    assert fit_ellipse(empty) is None
    assert shaft_ends(empty) is None
    assert not largest_piece(empty).any()


@pytest.mark.parametrize("angle", [0.0, 30.0, 77.0])
def test_a_circle_that_the_picture_stretches_has_its_true_size(angle: float) -> None:
    # A circle of 40 mm on pixels of 0.2 mm x 0.1 mm is an ellipse of 200 x 400 pixels in the picture.
    seen = Ellipse.of((500.0, 500.0), 400.0, 200.0, 90.0)
    true = seen.scaled((0.2, 0.1))
    assert true.lengths == pytest.approx((40.0, 40.0))
    # A turned ellipse: compare with its outline, measured point by point.
    turned = Ellipse.of((500.0, 500.0), 300.0, 220.0, angle)
    outline = turned.outline(4000) * np.array([0.2, 0.1])
    steps = np.linalg.norm(np.diff(np.vstack([outline, outline[:1]]), axis=0), axis=1)
    scaled = turned.scaled((0.2, 0.1))
    assert scaled.perimeter == pytest.approx(steps.sum(), rel=1e-4)
    widths = np.linalg.norm(outline - scaled.centre, axis=1)
    assert scaled.lengths == pytest.approx((widths.max(), widths.min()), rel=1e-4)


def test_the_length_of_a_femur_counts_each_direction_in_its_own_scale() -> None:
    ends = np.array([[100.0, 100.0], [400.0, 500.0]])
    assert distance(ends) == pytest.approx(500.0)
    assert distance(ends, (0.1, 0.1)) == pytest.approx(50.0)
    assert distance(ends, (0.2, 0.1)) == pytest.approx(np.hypot(60.0, 40.0))


@pytest.mark.parametrize("ends", [[[100.0, 100.0], [400.0, 250.0]], [[300.0, 40.0], [310.0, 400.0]]])
def test_a_drawn_shaft_gives_its_ends(ends: list[list[float]]) -> None:
    true = np.array(ends)
    mask = draw(shaft(true, 24.0), 640, 480)
    found = shaft_ends(mask)
    assert found is not None
    assert distance(found) == pytest.approx(distance(true), rel=0.02)
    assert min(np.abs(found - true).max(), np.abs(found[::-1] - true).max()) < 6.0
    assert elongation(mask) > 8.0


def test_the_largest_piece_is_kept() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[2:5, 2:5] = 1
    mask[10:30, 10:30] = 1
    assert largest_piece(mask).sum() == 400


def test_a_covered_ellipse_has_its_area_and_a_drawn_one_is_half_a_pixel_wider() -> None:
    ellipse = Ellipse.of((40.3, 30.8), 25.0, 20.0, 33.0)
    covered = coverage(ellipse.outline(256), 80, 60)
    assert covered.sum() == pytest.approx(np.pi * 25.0 * 20.0, rel=0.01)
    assert covered.max() == 1.0
    assert ((covered > 0) & (covered < 1)).any()
    assert draw(ellipse.outline(256), 80, 60).sum() > 1.03 * covered.sum()
