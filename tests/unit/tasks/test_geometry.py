from __future__ import annotations

import cv2
import numpy as np
import pytest

from dicom_node.tasks.biometry.geometry import (
    Ellipse,
    agreement,
    coverage,
    distance,
    draw,
    ellipse_of_map,
    ellipse_perimeter,
    elongation,
    near,
    overlap,
    shaft,
    shaft_ends,
    whole_piece,
)


@pytest.mark.parametrize(
    ("a", "b", "perimeter"),
    [(1.0, 1.0, 2 * np.pi), (2.0, 1.0, 9.688448220547675), (3.0, 2.0, 15.865439589290589), (50.0, 40.0, 283.6166778)],
)
def test_the_perimeter_is_that_of_the_elliptic_integral(a: float, b: float, perimeter: float) -> None:
    assert ellipse_perimeter(a, b) == pytest.approx(perimeter, rel=1e-6)
    assert ellipse_perimeter(b, a) == pytest.approx(perimeter, rel=1e-6)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 141.0])
def test_an_ellipse_is_found_again_from_its_moments(angle: float) -> None:
    true = Ellipse.of((150.5, 120.2), 90.0, 65.0, angle)
    found = ellipse_of_map(coverage(true.outline(256), 300, 240))
    assert found.lengths == pytest.approx((90.0, 65.0), rel=0.002)
    assert found.circumference == pytest.approx(true.circumference, rel=0.001)
    assert np.abs(found.centre - true.centre).max() < 0.1
    assert overlap(draw(true.outline(256), 300, 240), found) > 0.98


def test_an_ellipse_is_known_by_the_ends_of_its_axes() -> None:
    true = Ellipse.of((150.5, 120.2), 90.0, 65.0, 25.0)
    again = Ellipse.of_ends(np.concatenate([true.ends(0), true.ends(1)]))
    assert again.centre == pytest.approx(true.centre)
    assert again.axes == pytest.approx(true.axes)


def test_a_soft_edge_and_a_dent_hardly_change_the_size() -> None:
    true = Ellipse.of((150.0, 120.0), 90.0, 65.0, 20.0)
    likely = cv2.GaussianBlur(coverage(true.outline(256), 300, 240), (0, 0), 2.0)
    likely[100:106, 60:75] = 0.0
    assert ellipse_of_map(likely).circumference == pytest.approx(true.circumference, rel=0.01)


def test_a_rectangle_is_not_an_ellipse() -> None:
    mask = np.zeros((480, 600), dtype=np.uint8)
    mask[200:240, 50:550] = 1
    assert overlap(mask, ellipse_of_map(mask.astype(np.float32))) < 0.88


def test_circumference_is_that_of_both_axes_and_a_little_less_than_the_perimeter() -> None:
    head = Ellipse.of((0.0, 0.0), 50.0, 39.0, 0.0)
    assert head.circumference == pytest.approx(1.5708 * (100.0 + 78.0), rel=1e-5)
    assert 1.002 < head.perimeter / head.circumference < 1.005


def test_near_is_a_square_around_every_pixel() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[10, 10] = 1
    assert near(mask, 3).sum() == 49


def test_nothing_has_no_piece() -> None:
    assert not whole_piece(np.zeros((50, 50), dtype=np.float32)).any()
    assert not whole_piece(np.full((50, 50), 0.4, dtype=np.float32)).any()


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
    likely = coverage(shaft(true, 24.0), 640, 480)
    found = shaft_ends(likely)
    assert distance(found) == pytest.approx(distance(true), rel=0.01)
    assert min(np.abs(found - true).max(), np.abs(found[::-1] - true).max()) < 3.0
    assert elongation(draw(shaft(true, 24.0), 640, 480)) > 8.0


def test_the_piece_with_the_most_sure_pixels_is_kept() -> None:
    likely = np.zeros((40, 40), dtype=np.float32)
    likely[2:5, 2:5] = 0.9
    likely[10:30, 10:30] = 0.9
    likely[32:40, :] = 0.4
    assert whole_piece(likely).sum() == 400


@pytest.mark.parametrize(("bridge", "found"), [(0.45, 1000), (0.3, 1000), (0.1, 450)])
def test_a_broken_bone_is_one_where_a_bridge_is_likely_enough(bridge: float, found: int) -> None:
    likely = np.zeros((40, 130), dtype=np.float32)
    likely[15:25, 10:110] = 0.9
    likely[15:25, 55:70] = bridge
    likely[0:2, 0:2] = 0.9
    assert whole_piece(likely).sum() == found
    if found == 1000:
        assert distance(shaft_ends(likely * whole_piece(likely))) == pytest.approx(100.0, abs=1.1)


def test_a_speck_beside_a_bone_is_not_worth_a_bridge() -> None:
    likely = np.zeros((40, 130), dtype=np.float32)
    likely[15:25, 10:110] = 0.9
    likely[19:21, 110:116] = 0.3
    likely[18:22, 116:120] = 0.6
    assert whole_piece(likely).sum() == 1000


def test_a_bone_that_tapers_is_as_long_as_it_is() -> None:
    corners = np.array([[100.0, 100.0], [400.0, 106.0], [400.0, 118.0], [100.0, 124.0]])
    assert distance(shaft_ends(coverage(corners, 500, 200))) == pytest.approx(300.0, abs=1.0)


def test_two_maps_agree_by_what_they_share() -> None:
    one = np.zeros((10, 10), dtype=np.float32)
    one[:, :4] = 1.0
    other = np.zeros((10, 10), dtype=np.float32)
    other[:, 2:8] = 0.5
    assert agreement(one, one) == pytest.approx(1.0)
    assert agreement(one, other) == pytest.approx(2 * 10 / (40 + 30))
    assert agreement(np.zeros_like(one), np.zeros_like(one)) == 0.0


def test_a_covered_ellipse_has_its_area_and_a_drawn_one_is_half_a_pixel_wider() -> None:
    ellipse = Ellipse.of((40.3, 30.8), 25.0, 20.0, 33.0)
    covered = coverage(ellipse.outline(256), 80, 60)
    assert covered.sum() == pytest.approx(np.pi * 25.0 * 20.0, rel=0.01)
    assert covered.max() == 1.0
    assert ((covered > 0) & (covered < 1)).any()
    assert draw(ellipse.outline(256), 80, 60).sum() > 1.03 * covered.sum()
