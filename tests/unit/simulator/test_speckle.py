from __future__ import annotations

import numpy as np
import pytest

from dicom_node.simulator.canvas import smooth_noise
from dicom_node.simulator.speckle import Scanner, Scene, Sector, correlated_noise, envelope, log_compress, render

RAYLEIGH_CONTRAST = np.sqrt(4.0 / np.pi - 1.0)  # standard deviation over mean of a Rayleigh envelope: 0.523
QUIET = Scanner(noise_db=-90.0, haze_db=-90.0)


def flat_scene(echo_db: float, height: int = 300, width: int = 400) -> Scene:
    nothing = np.zeros((height, width), dtype=np.float32)
    return Scene(echo_db=nothing + np.float32(echo_db), specular=nothing, loss_db=nothing.copy())


def test_speckle_has_unit_power_and_rayleigh_envelope() -> None:
    field = correlated_noise((600, 600), 1.3, 2.6, np.random.default_rng(1))
    amplitude = np.hypot(field[..., 0], field[..., 1])
    assert np.mean(amplitude**2) == pytest.approx(1.0, rel=0.05)
    assert amplitude.std() / amplitude.mean() == pytest.approx(RAYLEIGH_CONTRAST, rel=0.03)


def test_speckle_is_wider_across_the_beam_than_along_it() -> None:
    field = correlated_noise((400, 400), 1.2, 4.0, np.random.default_rng(2))[..., 0]
    along = np.mean(field[:-3] * field[3:]) / np.mean(field**2)
    across = np.mean(field[:, :-3] * field[:, 3:]) / np.mean(field**2)
    assert across > 0.8
    assert along < 0.35


def test_envelope_of_uniform_tissue_has_rayleigh_contrast_at_every_depth() -> None:
    scene = flat_scene(0.0, 600, 600)
    amplitude = envelope(scene.echo_db, scene.specular, QUIET, np.random.default_rng(3))
    for band in (amplitude[:200], amplitude[200:400], amplitude[400:]):
        assert band.std() / band.mean() == pytest.approx(RAYLEIGH_CONTRAST, rel=0.06)
        assert np.mean(band**2) == pytest.approx(1.0, rel=0.08)


def test_compounding_lowers_speckle_contrast() -> None:
    scene = flat_scene(0.0)
    contrast = []
    for looks in (1, 4):
        settings = Scanner(noise_db=-90.0, haze_db=-90.0, looks=looks)
        amplitude = envelope(scene.echo_db, scene.specular, settings, np.random.default_rng(4))
        contrast.append(amplitude.std() / amplitude.mean())
    assert contrast[1] < 0.6 * contrast[0]


def test_log_compression_maps_decibels_evenly_to_grey() -> None:
    amplitude = np.array([[10.0**-1, 10.0**-0.5, 1.0]], dtype=np.float32)
    grey = log_compress(amplitude, Scanner(dynamic_range_db=50.0))
    assert np.diff(grey[0]) == pytest.approx([51.0, 51.0], abs=0.1)


def test_render_is_black_outside_the_sector_and_grey_inside() -> None:
    sector = Sector(apex_x_px=200.0, apex_y_px=-50.0, near_px=60.0, far_px=300.0, half_angle_deg=25.0)
    picture = render(flat_scene(0.0), sector, Scanner(), np.random.default_rng(5))
    assert picture.shape == (300, 400)
    assert picture[5:100, :20].max() == 0
    assert 60 < picture[100:200, 180:220].mean() < 160


def test_bone_throws_a_shadow_away_from_the_probe() -> None:
    scene = flat_scene(0.0)
    scene.loss_db[100:110, 180:220] = 2.0
    sector = Sector(apex_x_px=200.0, apex_y_px=-400.0, near_px=400.0, far_px=720.0, half_angle_deg=40.0)
    picture = render(scene, sector, QUIET, np.random.default_rng(6)).astype(float)
    assert picture[150:250, 195:205].mean() < 0.5 * picture[150:250, 60:90].mean()
    assert picture[20:90, 195:205].mean() == pytest.approx(picture[20:90, 60:90].mean(), rel=0.25)


def test_fluid_is_darker_than_tissue() -> None:
    sector = Sector(apex_x_px=200.0, apex_y_px=-400.0, near_px=400.0, far_px=720.0, half_angle_deg=40.0)
    pictures = [render(flat_scene(level), sector, Scanner(), np.random.default_rng(7)) for level in (-40.0, 0.0)]
    assert pictures[0].mean() < 0.2 * pictures[1].mean()


def test_smooth_noise_is_centred_and_smooth() -> None:
    field = smooth_noise((300, 300), 10.0, np.random.default_rng(8))
    assert abs(field.mean()) < 0.2
    assert 0.6 < field.std() < 1.3
    assert np.abs(np.diff(field, axis=0)).max() < 1.0
