"""What lies around the anatomy: the probe's field of view, machine settings, the uterus, burned-in marks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, Points, blob, curve, smooth_noise
from dicom_node.simulator.speckle import GreyImage, Scanner, Sector

PRESETS = ("2. Trim.", "2+3.Trim.", "3.Trim", "qFLM", "NT", "Cardiac", "OB NT")


def convex_view(rng: Generator, width: int, height: int, keep: Points) -> Sector:
    """Draw a magnified convex sector that covers most of the frame; `keep` are points it must show.

    Its sides are sometimes in view, as are the transducer's face and the far end.
    """
    apex_x, apex_y = width * rng.uniform(0.45, 0.55), -height * rng.uniform(0.25, 1.2)
    tilt = rng.normal(0.0, 2.0)
    reach = np.rad2deg(np.arctan2(width / 2.0, height - apex_y))
    drawn = Sector(
        apex_x_px=apex_x,
        apex_y_px=apex_y,
        near_px=-apex_y + height * rng.choice([-0.05, -0.05, rng.uniform(-0.02, 0.05)]),
        far_px=(height - apex_y) * rng.choice([1.3, 1.3, rng.uniform(0.97, 1.02)]),
        half_angle_deg=reach * rng.choice([rng.uniform(1.0, 1.2), rng.uniform(1.2, 1.8)]),
        tilt_deg=tilt,
    )
    x, y = (keep[:, i].astype(np.float32) for i in (0, 1))
    ranges, angles = drawn.polar(x, y)
    margin_px = 0.01 * width
    return replace(
        drawn,
        near_px=min(drawn.near_px, float(ranges.min()) - margin_px),
        far_px=max(drawn.far_px, float(ranges.max()) + margin_px),
        half_angle_deg=max(drawn.half_angle_deg, float(np.rad2deg(np.abs(angles).max())) + 1.0),
    )


def chance(rng: Generator, probability: float) -> bool:
    """Say yes with the given probability."""
    return bool(rng.random() < probability)


def machine(rng: Generator, width: int) -> Scanner:
    """Choose settings as operators leave them, scaled to the frame width."""
    size = width / 700.0
    return Scanner(
        axial_sigma_px=rng.uniform(1.1, 1.9) * size,
        lateral_sigma_px=rng.uniform(1.8, 3.6) * size,
        defocus=rng.uniform(1.3, 2.2),
        focus=rng.uniform(0.35, 0.7),
        dynamic_range_db=rng.uniform(46.0, 66.0),
        gain_db=rng.normal(-3.0, 4.0),
        tgc_db=tuple(rng.normal(0.0, 2.5, 5)),
        beams_db=tuple(rng.normal(0.0, 2.0, 9) - np.array([3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0])),
        noise_db=rng.uniform(-44.0, -30.0),
        haze_db=rng.uniform(-34.0, -22.0),
        smoothing_px=rng.uniform(0.6, 1.4) * size,
        looks=int(rng.choice([1, 2, 2, 3])),
    )


def streaky(scanner: Scanner, factor: float) -> Scanner:
    """Give the same machine with a wider beam: small probes' apertures far away smear speckle across."""
    return replace(scanner, lateral_sigma_px=scanner.lateral_sigma_px * factor)


def uterus(canvas: Canvas, body: Points, *, fluid: float) -> None:
    """Maternal layers near the probe, wall and placenta around, and a pool of fluid about the body.

    `body` is the outline that later anatomy fills; `fluid` (0..1) is how much of the rest is amniotic fluid.
    """
    rng, (height, width) = canvas.rng, canvas.shape
    canvas.paint(np.ones(canvas.shape, np.float32), rng.uniform(-12.0, -3.0), 3.5, 11.0)
    centre, size = body.mean(axis=0), float(np.ptp(body, axis=0).mean())
    if fluid > 0.0:
        field = smooth_noise(canvas.shape, size * 0.45, rng)
        grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
        far = np.hypot((grid_x - centre[0]) / size, (grid_y - centre[1]) / size) - 0.5
        pool = np.clip((fluid * 2.2 - 0.7 - far * 1.4 + field * 0.55) / 0.2, 0.0, 1.0).astype(np.float32)
        canvas.paint(cv2.GaussianBlur(pool, (0, 0), 2.0), rng.uniform(-50.0, -34.0))
    _maternal_layers(canvas, float(body[:, 1].min()))
    for _ in range(int(rng.poisson(2.0))):
        at = rng.uniform([0.0, 0.3 * height], [width, height])
        if cv2.pointPolygonTest(body.astype(np.float32), (float(at[0]), float(at[1])), measureDist=True) < -size * 0.12:
            _limb(canvas, at, size * rng.uniform(0.06, 0.14))


def _maternal_layers(canvas: Canvas, room_px: float) -> None:
    """Abdominal wall and uterine wall: bright lines across the top, as deep as the body leaves room."""
    rng, (height, width) = canvas.rng, canvas.shape
    base = max(min(room_px - 4.0, 0.25 * height), 0.02 * height)
    bend = rng.normal(0.0, 0.03 * height, 4)
    x = np.linspace(-0.05, 1.05, 4) * width
    edge = curve(np.stack([x, base + bend], axis=1))
    wall = np.vstack([edge, [[1.1 * width, -height], [-0.1 * width, -height]]])
    canvas.tissue(wall, rng.uniform(-8.0, 0.0), texture_db=4.0, texture_px=7.0)
    for _ in range(int(rng.integers(1, 5))):
        layer = edge - np.array([0.0, rng.uniform(0.0, 1.0) * base])
        canvas.surface(layer, rng.uniform(-4.0, 8.0), rng.uniform(1.5, 4.0), directivity=4.0, gaps=0.4)


def _limb(canvas: Canvas, at: Points, radius_px: float) -> None:
    rng = canvas.rng
    canvas.tissue(
        blob(rng, at[0], at[1], radius_px * 1.3, radius_px), rng.uniform(-10.0, -3.0), texture_db=4.0, texture_px=6.0
    )
    tilt = rng.uniform(-0.5, 0.5) * radius_px
    bone = curve([[at[0] - radius_px * 0.7, at[1] - tilt], [at[0], at[1]], [at[0] + radius_px * 0.7, at[1] + tilt]])
    canvas.surface(bone, rng.uniform(6.0, 16.0), max(radius_px * 0.18, 2.0), loss_db=rng.uniform(0.3, 1.5))


def burn_in(pixels: GreyImage, rng: Generator) -> GreyImage:
    """Draw the marks a machine writes over the picture: grey bar, depth ticks, preset text, sometimes a black box."""
    picture = pixels.copy()
    height, width = picture.shape
    if chance(rng, 0.75):
        bar = max(width // 110, 4)
        ramp = np.linspace(255, 0, height // 3).astype(np.uint8)
        picture[height // 40 : height // 40 + len(ramp), 2 : 2 + bar] = ramp[:, None]
    if chance(rng, 0.8):
        _depth_ticks(picture, rng)
    if chance(rng, 0.75):
        _preset(picture, rng)
    if chance(rng, 0.15):
        _write(picture, "+ Dist", (width // 25, height - height // 25), 0.45, 210)
    if chance(rng, 0.2):
        picture[int(height * rng.uniform(0.75, 0.85)) :, int(width * rng.uniform(0.72, 0.85)) :] = 0
    return picture


def _depth_ticks(picture: GreyImage, rng: Generator) -> None:
    height, width = picture.shape
    step, x = height * rng.uniform(0.09, 0.2), int(width * rng.uniform(0.02, 0.035))
    for k, y in enumerate(np.arange(rng.uniform(0.0, step), height - 2, step)):
        length = 6 if k % 5 == 0 else 2
        picture[int(y) : int(y) + 2, x : x + length] = 200


def _preset(picture: GreyImage, rng: Generator) -> None:
    height, width = picture.shape
    scale = rng.uniform(0.28, 0.42) * width / 700.0
    lines = (
        str(rng.choice(PRESETS)),
        f"Har-{rng.choice(['high', 'mid', 'low'])}",
        str(rng.integers(80, 99)),
        f"Gn {rng.integers(-9, 9)}",
        f"C{rng.integers(4, 8)} / M{rng.integers(5, 16)}",
        f"FF{rng.integers(1, 5)} / E{rng.integers(1, 4)}",
    )
    y = height * rng.uniform(0.02, 0.05)
    for line in lines:
        extent = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0]
        _write(picture, line, (width - 6 - extent[0], int(y)), scale, int(rng.integers(150, 230)))
        y += extent[1] * 1.75
    if chance(rng, 0.5):
        _write(picture, "SIM", (int(width * 0.05), int(height * 0.06)), scale * 0.9, 170)


def _write(picture: GreyImage, text: str, at: tuple[int, int], scale: float, level: int) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, level, 1, cv2.LINE_AA)


def bounding_box(points: npt.ArrayLike) -> tuple[float, float, float, float]:
    """Smallest axis-parallel box (x0, y0, x1, y1) round some points."""
    at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    low, high = at.min(axis=0), at.max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def outline_mask(outline_px: Points, shape: tuple[int, int]) -> GreyImage:
    """Binary mask (0 or 255) of a closed outline, shape (H, W)."""
    filled = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(filled, [np.round(outline_px * 16.0).astype(np.int32)], 255, cv2.LINE_8, 4)
    return filled
