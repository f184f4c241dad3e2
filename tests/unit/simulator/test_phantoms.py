from __future__ import annotations

import numpy as np
import pytest

from dicom_node.simulator.axial_head import BRAIN_PLANES, axial_head
from dicom_node.simulator.phantoms import ANATOMIES, STRUCTURES, make_phantom
from dicom_node.simulator.records import HeadEllipse, PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head

SEEDS = range(3)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_the_same_seed_gives_the_same_phantom(anatomy: str) -> None:
    first, again, other = (make_phantom(anatomy, seed) for seed in (4, 4, 5))
    assert np.array_equal(first.pixels, again.pixels)
    assert (first.boxes, first.landmarks, first.mm_per_px) == (again.boxes, again.landmarks, again.mm_per_px)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_pictures_look_like_ultrasound(anatomy: str) -> None:
    phantom = make_phantom(anatomy, 1)
    assert phantom.pixels.dtype == np.uint8
    assert np.percentile(phantom.pixels, 99.5) > 110
    assert 5 < phantom.pixels.mean() < 120
    assert 0.02 < phantom.mm_per_px < 1.2


@pytest.mark.parametrize("anatomy", ["axial_head", "abdomen", "femur"])
@pytest.mark.parametrize("seed", SEEDS)
def test_ground_truth_lies_in_the_frame(anatomy: str, seed: int) -> None:
    phantom = make_phantom(anatomy, seed)
    height, width = phantom.pixels.shape
    for axis in phantom.landmarks.values():
        for x, y in axis:
            assert 0 <= x < width
            assert 0 <= y < height
    assert phantom.mask is not None
    assert phantom.mask.shape == phantom.pixels.shape


@pytest.mark.parametrize("seed", SEEDS)
def test_ellipse_perimeter_times_pixel_size_is_the_stated_hc(seed: int) -> None:
    phantom = make_phantom("axial_head", seed)
    assert phantom.ellipse is not None
    assert phantom.mask is not None
    assert phantom.ellipse.perimeter_px * phantom.mm_per_px == pytest.approx(phantom.measurements_mm["HC"])
    area = np.pi * phantom.ellipse.semi_major_px * phantom.ellipse.semi_minor_px
    assert np.count_nonzero(phantom.mask) == pytest.approx(area, rel=0.01)


def test_perimeter_of_a_circle_and_of_a_flat_ellipse() -> None:
    assert HeadEllipse(0, 0, 10, 10, 0).perimeter_px == pytest.approx(2 * np.pi * 10)
    assert HeadEllipse(0, 0, 2, 1, 0).perimeter_px == pytest.approx(9.68844822, rel=1e-6)


def test_major_axis_angle_turns_clockwise_from_x() -> None:
    axis1, _ = HeadEllipse(50, 50, 20, 10, 30).axis_ends_px()
    assert axis1[0] == pytest.approx((50 + 20 * np.cos(np.pi / 6), 50 + 10))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_skull_is_bright_where_the_ellipse_says(seed: int) -> None:
    phantom = make_phantom("axial_head", seed)
    ellipse = phantom.ellipse
    assert ellipse is not None
    inside = np.array([_ring_level(phantom, ellipse, share) for share in (0.96, 0.985, 1.0)])
    assert inside.max() > 1.5 * _ring_level(phantom, ellipse, 0.85)


def test_femur_length_is_the_distance_of_its_ends() -> None:
    phantom = make_phantom("femur", 2)
    (x0, y0), (x1, y1) = phantom.landmarks["axis1"]
    assert np.hypot(x1 - x0, y1 - y0) * phantom.mm_per_px == pytest.approx(phantom.measurements_mm["FL"])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_standard_sagittal_head_shows_the_nine_structures_inside_the_frame(seed: int) -> None:
    phantom = make_phantom("sagittal_head", seed)
    height, width = phantom.pixels.shape
    assert set(phantom.boxes) <= set(STRUCTURES)
    assert len(phantom.boxes) >= 8
    for x0, y0, x1, y1 in phantom.boxes.values():
        assert 0 <= x0 < x1 < width
        assert 0 <= y0 < y1 < height
    assert phantom.boxes["thalami"][3] < phantom.boxes["cisterna_magna"][3]


def test_a_non_standard_sagittal_head_has_no_boxes() -> None:
    phantom = sagittal_head(np.random.default_rng(3), standard=False)
    assert not phantom.standard_plane
    assert phantom.boxes == {}


@pytest.mark.parametrize("brain_plane", BRAIN_PLANES)
def test_brain_planes_and_gestational_age_can_be_asked_for(brain_plane: str) -> None:
    phantom = axial_head(np.random.default_rng(6), brain_plane=brain_plane, weeks=20.0)
    assert phantom.brain_plane == brain_plane
    assert phantom.measurements_mm["HC"] == pytest.approx(175.0, rel=0.12)


def _ring_level(phantom: PhantomImage, ellipse: HeadEllipse, share: float) -> float:
    angle, turn = np.linspace(0, 2 * np.pi, 200), np.deg2rad(ellipse.angle_deg)
    u, v = share * ellipse.semi_major_px * np.cos(angle), share * ellipse.semi_minor_px * np.sin(angle)
    x = ellipse.cx_px + u * np.cos(turn) - v * np.sin(turn)
    y = ellipse.cy_px + u * np.sin(turn) + v * np.cos(turn)
    return float(phantom.pixels[y.astype(int), x.astype(int)].mean())
