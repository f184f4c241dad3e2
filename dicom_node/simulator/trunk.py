"""Fetal abdomen (with the two axes of its outline) and thorax at the four-chamber view.

Body coordinates: the outline's semi-axis across the body is 1, the spine at -x, the front at +x, the probe above.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.growth import abdominal_circumference_mm
from dicom_node.simulator.records import FETAL_ABDOMEN, FETAL_THORAX, HeadEllipse, PhantomImage
from dicom_node.simulator.speckle import render
from dicom_node.simulator.surroundings import burn_in, chance, convex_view, machine, outline_mask, uterus


def abdomen(rng: Generator, *, weeks: float | None = None) -> PhantomImage:
    """Transverse abdomen with stomach, umbilical vein, spine, ribs and skin line; AC is the ellipse's perimeter."""
    age = float(rng.uniform(14.0, 38.0)) if weeks is None else weeks
    canvas, pose, flatness = _trunk(rng, rng.uniform(0.3, 0.46))
    _spine_and_ribs(canvas, pose, flatness)
    _abdominal_organs(canvas, pose, flatness)
    ellipse = _ellipse(pose, flatness)
    ac_mm = abdominal_circumference_mm(age) * float(rng.normal(1.0, 0.04))
    axis1, axis2 = ellipse.axis_ends_px()
    return PhantomImage(
        pixels=burn_in(render(canvas.scene(), canvas.sector, machine(rng, canvas.shape[1]), rng), rng),
        plane=FETAL_ABDOMEN,
        mm_per_px=ac_mm / ellipse.perimeter_px,
        ellipse=ellipse,
        landmarks={"axis1": axis1, "axis2": axis2},
        measurements_mm={"AC": ac_mm},
        mask=outline_mask(pose.to_px(arc(0.0, 0.0, 1.0, flatness)), canvas.shape),
        weeks=age,
    )


def thorax(rng: Generator, *, weeks: float | None = None) -> PhantomImage:
    """Four-chamber view: dark chambers about a bright crux, lungs, ribs and spine."""
    age = float(rng.uniform(16.0, 34.0)) if weeks is None else weeks
    canvas, pose, flatness = _trunk(rng, rng.uniform(0.38, 0.62))
    _spine_and_ribs(canvas, pose, flatness)
    _heart(canvas, pose)
    ellipse = _ellipse(pose, flatness)
    return PhantomImage(
        pixels=burn_in(render(canvas.scene(), canvas.sector, machine(rng, canvas.shape[1]), rng), rng),
        plane=FETAL_THORAX,
        mm_per_px=0.9 * abdominal_circumference_mm(age) / ellipse.perimeter_px,
        ellipse=ellipse,
        weeks=age,
    )


def _trunk(rng: Generator, share: float) -> tuple[Canvas, Pose, float]:
    """Draw a canvas with the uterus and an empty trunk, which fills `share` of the frame's height to each side."""
    width, height = [(800, 551), (800, 552), (640, 441), (640, 392)][int(rng.integers(4))]
    flatness = float(np.clip(rng.normal(0.92, 0.04), 0.8, 0.99))
    x, y = width * rng.uniform(0.42, 0.58), height * rng.uniform(0.47, 0.53)
    pose = Pose(x, y, height * share, rng.uniform(-180.0, 180.0), chance(rng, 0.5))
    outline = pose.to_px(arc(0.0, 0.0, 1.0, flatness))
    canvas = Canvas(width, height, convex_view(rng, width, height, outline), rng)
    uterus(canvas, outline, fluid=rng.uniform(0.2, 0.9))
    canvas.tissue(outline, rng.uniform(-10.0, -3.0), texture_db=4.0, texture_px=5.0, softness_px=2.5)
    rim = pose.to_px(arc(0.0, 0.0, 0.98, flatness * 0.98, 0.0, 360.0, 120))
    canvas.surface(rim, rng.uniform(2.0, 13.0), rng.uniform(0.03, 0.06) * pose.unit_px, directivity=2.5, gaps=0.2)
    return canvas, pose, flatness


def _ellipse(pose: Pose, flatness: float) -> HeadEllipse:
    angle = -pose.turn_deg if pose.mirrored else pose.turn_deg
    return HeadEllipse(pose.x_px, pose.y_px, pose.unit_px, pose.unit_px * flatness, angle % 180.0)


def _spine_and_ribs(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """Three ossification centres with their shadow, and ribs as arcs below the skin."""
    rng, unit = canvas.rng, pose.unit_px
    canvas.tissue(pose.to_px(blob(rng, -0.76, 0.0, 0.17, 0.2, 0.06)), rng.uniform(-14.0, -6.0), texture_db=3.0)
    for centre in ((-0.66, 0.0), (-0.84, -0.11), (-0.84, 0.11)):
        spot = arc(centre[0], centre[1], 0.05, 0.035, 0.0, 300.0, 14)
        canvas.surface(pose.to_px(spot), rng.uniform(8.0, 16.0), 0.055 * unit, directivity=0.3, gaps=0.2, loss_db=0.25)
    for side in (1.0, -1.0):
        start = rng.uniform(110.0, 125.0)
        rib = arc(0.0, 0.0, 0.87, flatness * 0.87, side * start, side * (start + rng.uniform(25.0, 55.0)), 30)
        canvas.surface(pose.to_px(rib), rng.uniform(2.0, 13.0), 0.055 * unit, directivity=1.5, gaps=0.2, loss_db=0.15)


def _abdominal_organs(canvas: Canvas, pose: Pose, flatness: float) -> None:
    rng, unit = canvas.rng, pose.unit_px
    stomach = blob(
        rng,
        rng.uniform(-0.2, 0.1),
        0.47 * flatness,
        rng.uniform(0.14, 0.3),
        rng.uniform(0.12, 0.22),
        0.08,
        rng.uniform(-40, 40),
    )
    canvas.tissue(pose.to_px(stomach), rng.uniform(-42.0, -22.0), softness_px=4.0)
    bend = rng.uniform(-0.35, -0.1)
    vein = curve([[0.55, 0.0], [0.32, 0.0], [0.12, bend * 0.3], [-0.02, bend]], 24)
    half = rng.uniform(0.035, 0.06)
    tube = np.vstack([vein + np.array([0.0, half]), (vein - np.array([0.0, half]))[::-1]])
    for wall in (vein + np.array([0.0, half * 1.4]), vein - np.array([0.0, half * 1.4])):
        canvas.surface(pose.to_px(wall), rng.uniform(-2.0, 8.0), 0.025 * unit, directivity=1.5, gaps=0.3)
    canvas.tissue(pose.to_px(tube), rng.uniform(-36.0, -16.0), softness_px=2.5)
    for x, y in ((-0.5, 0.08), (-0.36, -0.12)):
        canvas.tissue(pose.to_px(blob(rng, x, y, 0.05, 0.05, 0.05)), rng.uniform(-40.0, -24.0), softness_px=2.0)
    for _ in range(int(rng.integers(6, 26))):
        at = rng.uniform([-0.5, -0.55], [0.5, 0.55])
        vessel = curve([at, at + rng.normal(0.0, 0.06, 2), at + rng.normal(0.0, 0.09, 2)], 10)
        canvas.surface(pose.to_px(vessel), rng.uniform(-6.0, 6.0), 0.03 * unit, gaps=0.2)


def _heart(canvas: Canvas, pose: Pose) -> None:
    """Septum and valves make a cross between four chambers; the apex points to the left front."""
    rng, unit = canvas.rng, pose.unit_px
    turn = rng.uniform(30.0, 55.0)
    size = rng.uniform(0.85, 1.1)

    def placed(points: Points) -> Points:
        angle = np.deg2rad(turn)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return pose.to_px(np.asarray(points) * size @ rotation.T + np.array([0.08, 0.02]))

    canvas.tissue(
        placed(blob(rng, 0.06, 0.0, 0.55, 0.4, 0.04)),
        rng.uniform(-15.0, -8.0),
        softness_px=5.0,
        texture_db=4.0,
        texture_px=6.0,
    )
    chambers = (
        (0.25, -0.16, 0.27, 0.11),
        (0.25, 0.16, 0.27, 0.11),
        (-0.22, -0.14, 0.16, 0.12),
        (-0.22, 0.14, 0.16, 0.12),
    )
    for x, y, rx, ry in chambers:
        scale = rng.uniform(0.85, 1.15)
        chamber = placed(blob(rng, x, y, rx * scale, ry * scale, 0.08))
        canvas.tissue(chamber, rng.uniform(-38.0, -20.0), softness_px=4.5)
    for line in (
        curve([[0.5, 0.0], [0.2, rng.normal(0.0, 0.02)], [-0.06, 0.0]], 24),
        curve([[-0.04, -0.24], [0.0, -0.1], [-0.06, 0.0], [0.0, 0.1], [-0.04, 0.24]], 24),
        curve([[-0.14, 0.0], [-0.3, 0.01], [-0.38, 0.0]], 14),
    ):
        canvas.surface(placed(line), rng.uniform(-2.0, 9.0), 0.04 * unit, directivity=0.8, gaps=0.2)
