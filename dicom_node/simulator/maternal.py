"""Frames that are not a fetal standard plane: the maternal cervix, and views that no measurement is taken from."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, arc, blob, curve
from dicom_node.simulator.records import MATERNAL_CERVIX, OTHER, PhantomImage
from dicom_node.simulator.speckle import Sector, render
from dicom_node.simulator.surroundings import burn_in, chance, convex_view, machine, uterus


def cervix(rng: Generator) -> PhantomImage:
    """Transvaginal cervix: wide sector round a black probe tip, uniform stroma, the canal a thin line across."""
    width, height = (768, int(rng.integers(550, 580)))
    tip = rng.uniform(0.09, 0.14) * width
    apex_y = rng.uniform(-0.02, 0.05) * height
    sector = Sector(width * rng.normal(0.5, 0.02), apex_y, tip, height * 0.99 - apex_y, rng.uniform(72.0, 80.0))
    canvas = Canvas(width, height, sector, rng)
    canvas.paint(np.ones(canvas.shape, np.float32), rng.uniform(-6.0, 0.0), 3.0, 9.0)
    for radius in (1.02, 1.1):
        face = arc(sector.apex_x_px, apex_y, tip * radius, tip * radius, 15.0, 165.0, 60)
        canvas.surface(face, rng.uniform(2.0, 12.0), 3.0)
    x, y = width * rng.normal(0.48, 0.03), height * rng.normal(0.58, 0.03)
    stroma = blob(rng, x, y, 0.36 * width, 0.27 * height, 0.05, rng.normal(8.0, 8.0))
    canvas.tissue(stroma, rng.uniform(-12.0, -6.0), softness_px=9.0, texture_db=3.0, texture_px=9.0)
    slope = rng.normal(0.1, 0.12)
    t = np.linspace(-0.22, 0.22, 5)
    canal = curve(np.stack([x + t * width, y - 0.03 * height + slope * t * width + rng.normal(0.0, 4.0, 5)], axis=1))
    if chance(rng, 0.6):
        canvas.tissue(
            np.vstack([canal - np.array([0.0, 3.0]), (canal + np.array([0.0, 3.0]))[::-1]]),
            rng.uniform(-32.0, -20.0),
            softness_px=2.0,
        )
    else:
        canvas.surface(canal, rng.uniform(-2.0, 6.0), 4.0, gaps=0.3)
    side = rng.choice([-1.0, 1.0])
    bladder = blob(rng, sector.apex_x_px + side * 0.36 * width, 0.3 * height, 0.07 * width, 0.09 * height, 0.1)
    canvas.tissue(bladder, rng.uniform(-46.0, -30.0), softness_px=3.0)
    rectum = curve(
        [
            [0.08 * width, 0.45 * height],
            [0.14 * width, 0.7 * height],
            [0.34 * width, 0.92 * height],
            [0.6 * width, 0.95 * height],
        ]
    )
    canvas.surface(rectum, rng.uniform(2.0, 10.0), rng.uniform(8.0, 20.0), gaps=0.3)
    pixels = burn_in(render(canvas.scene(), sector, machine(rng, width), rng), rng)
    return PhantomImage(pixels=pixels, plane=MATERNAL_CERVIX, mm_per_px=float(rng.uniform(0.09, 0.13)))


def other_view(rng: Generator) -> PhantomImage:
    """Draw a vessel in a straight field of view, a placenta, or limbs in fluid."""
    draw = [_vessel, _placenta, _limbs][int(rng.integers(3))]
    return draw(rng)


def _vessel(rng: Generator) -> PhantomImage:
    width, height = 768, 519
    sector = Sector(width * 0.4, -20.0 * height, 20.02 * height, 20.96 * height, rng.uniform(0.75, 1.05))
    canvas = Canvas(width, height, sector, rng)
    canvas.paint(np.ones(canvas.shape, np.float32), rng.uniform(-6.0, 0.0), 4.0, 6.0)
    top, bore, slope = height * rng.uniform(0.2, 0.35), height * rng.uniform(0.2, 0.35), rng.normal(0.0, 0.06)
    x = np.linspace(-10.0, width + 10.0, 40)
    upper = np.stack([x, top + slope * (x - width / 2)], axis=1)
    lower = upper + np.array([0.0, bore])
    canvas.tissue(np.vstack([upper, lower[::-1]]), rng.uniform(-28.0, -17.0), softness_px=3.0, texture_db=2.0)
    for wall in (upper - np.array([0.0, 8.0]), lower + np.array([0.0, 8.0]), lower + np.array([0.0, 22.0])):
        canvas.surface(wall, rng.uniform(6.0, 14.0), 5.0, gaps=0.2)
    pixels = burn_in(render(canvas.scene(), sector, machine(rng, width), rng), rng)
    return PhantomImage(pixels=pixels, plane=OTHER, mm_per_px=float(rng.uniform(0.04, 0.08)))


def _placenta(rng: Generator) -> PhantomImage:
    width, height = 800, 551
    canvas = Canvas(
        width, height, convex_view(rng, width, height, arc(width / 2, height / 2, 0.3 * width, 0.3 * height)), rng
    )
    level = height * rng.uniform(0.35, 0.65)
    edge = curve(np.stack([np.linspace(-0.05, 1.05, 5) * width, level + rng.normal(0.0, 0.08 * height, 5)], axis=1))
    mass = np.vstack([edge, [[1.1 * width, 1.1 * height], [-0.1 * width, 1.1 * height]]])
    if chance(rng, 0.5):
        mass[:, 1] = height - mass[:, 1]
    canvas.tissue(mass, rng.uniform(-6.0, 0.0), texture_db=2.5, texture_px=12.0)
    for _ in range(int(rng.integers(0, 5))):
        lake = blob(rng, rng.uniform(0.1, 0.9) * width, level + rng.uniform(0.0, 0.4) * height, 22.0, 12.0, 0.1)
        canvas.tissue(lake, rng.uniform(-30.0, -18.0), softness_px=4.0)
    pixels = burn_in(render(canvas.scene(), canvas.sector, machine(rng, width), rng), rng)
    return PhantomImage(pixels=pixels, plane=OTHER, mm_per_px=float(rng.uniform(0.1, 0.25)))


def _limbs(rng: Generator) -> PhantomImage:
    width, height = 640, 441
    middle = arc(width * 0.5, height * 0.5, 0.3 * width, 0.3 * height)
    canvas = Canvas(width, height, convex_view(rng, width, height, middle), rng)
    uterus(canvas, middle, fluid=rng.uniform(0.5, 1.0))
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform([0.15, 0.25], [0.85, 0.85]) * (width, height)
        size = rng.uniform(0.05, 0.13) * width
        turn = rng.uniform(-70.0, 70.0)
        canvas.tissue(blob(rng, x, y, 1.6 * size, 0.8 * size, 0.06, turn), rng.uniform(-12.0, -4.0), texture_db=3.0)
        run = np.array([np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))]) * size
        bone = curve([[x - run[0], y - run[1]], [x, y + 0.08 * size], [x + run[0], y + run[1]]], 20)
        canvas.surface(bone, rng.uniform(6.0, 16.0), 0.16 * size, loss_db=rng.uniform(0.2, 1.0), gaps=0.1)
    pixels = burn_in(render(canvas.scene(), canvas.sector, machine(rng, width), rng), rng)
    return PhantomImage(pixels=pixels, plane=OTHER, mm_per_px=float(rng.uniform(0.1, 0.25)))
