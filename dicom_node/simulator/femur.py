"""Fetal femur: a bright shaft with its acoustic shadow in the soft tissue of the thigh, with the shaft's end points."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, Points, Pose, blob, curve
from dicom_node.simulator.growth import femur_length_mm
from dicom_node.simulator.records import FETAL_FEMUR, PhantomImage
from dicom_node.simulator.speckle import render
from dicom_node.simulator.surroundings import burn_in, chance, convex_view, machine, outline_mask, uterus


def femur(rng: Generator, *, weeks: float | None = None) -> PhantomImage:
    """Draw a thigh with its femur across the beam; FL is the straight distance between the shaft's ends."""
    age = float(rng.uniform(14.0, 38.0)) if weeks is None else weeks
    width, height = [(800, 551), (800, 552), (640, 441), (640, 392)][int(rng.integers(4))]
    length = width * rng.uniform(0.3, 0.58)
    turn = float(np.clip(rng.normal(0.0, 11.0), -25.0, 25.0))
    pose = Pose(width * rng.uniform(0.43, 0.57), height * rng.uniform(0.3, 0.5), length, turn, chance(rng, 0.5))
    ends = pose.to_px([[-0.5, 0.0], [0.5, 0.0]])
    canvas = Canvas(width, height, convex_view(rng, width, height, ends), rng)
    thigh = pose.to_px(_thigh(rng))
    uterus(canvas, thigh, fluid=rng.uniform(0.1, 0.8))
    canvas.tissue(thigh, rng.uniform(-18.0, -8.0), texture_db=4.5, texture_px=7.0, softness_px=3.0)
    canvas.surface(thigh, rng.uniform(-4.0, 8.0), 0.02 * length, directivity=2.5, gaps=0.35)
    shaft = _shaft(canvas, pose)
    fl_mm = femur_length_mm(age) * float(rng.normal(1.0, 0.04))
    return PhantomImage(
        pixels=burn_in(render(canvas.scene(), canvas.sector, machine(rng, width), rng), rng),
        plane=FETAL_FEMUR,
        mm_per_px=fl_mm / length,
        landmarks={"axis1": ((float(ends[0, 0]), float(ends[0, 1])), (float(ends[1, 0]), float(ends[1, 1])))},
        measurements_mm={"FL": fl_mm},
        mask=outline_mask(shaft, (height, width)),
        weeks=age,
    )


def _thigh(rng: Generator) -> Points:
    """Outline of the thigh: longer than its bone, which lies nearer to the probe's side of it."""
    above, below = rng.uniform(0.12, 0.28), rng.uniform(0.32, 0.55)
    return blob(rng, rng.normal(0.0, 0.08), (below - above) / 2.0, rng.uniform(0.75, 1.1), (above + below) / 2.0, 0.03)


def _shaft(canvas: Canvas, pose: Pose) -> Points:
    """Draw both femora as far as they are seen; returns the outline of the near shaft in image coordinates."""
    rng, length = canvas.rng, pose.unit_px
    for side in (-1.0, 1.0):
        epiphysis = blob(rng, side * 0.6, 0.02, 0.1, 0.085, 0.05)
        canvas.tissue(pose.to_px(epiphysis), rng.uniform(-26.0, -16.0), softness_px=3.0)
    half, bow = rng.uniform(0.02, 0.036), rng.normal(0.02, 0.02)
    x = np.linspace(-0.5, 0.5, 48)
    middle = bow * (1.0 - (2.0 * x) ** 2)
    flare = half * (1.0 + 0.5 * np.abs(2.0 * x) ** 3)
    inset = half * 0.5
    line = np.stack([x * (1.0 - 2.0 * inset), middle], axis=1)
    canvas.surface(
        pose.to_px(line),
        rng.uniform(14.0, 22.0),
        1.1 * half * length,
        directivity=0.7,
        loss_db=rng.uniform(12.0, 40.0) / (2.0 * half * length),
    )
    if chance(rng, 0.45):
        drop = rng.uniform(0.28, 0.5)
        twin = curve([[-0.42, drop], [-0.1, drop + 0.06], [0.15, drop + 0.06], [0.38, drop]])
        canvas.surface(
            pose.to_px(twin + rng.normal(0.0, 0.06, 2)),
            rng.uniform(4.0, 14.0),
            half * length,
            directivity=2.0,
            gaps=0.25,
        )
    upper, lower = np.stack([x, middle - flare], axis=1), np.stack([x, middle + flare], axis=1)
    return pose.to_px(np.vstack([upper, lower[::-1]]))
