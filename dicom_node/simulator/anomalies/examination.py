"""An examination: five to eight images of one fetus, each with its label, its view and the place of the lesion.

Frame and fetus come from two generators, so that what surrounds the anatomy (size of the frame, sector, uterus,
machine, gain, depth, text, noise) cannot know the class: the same frame is drawn around any fetus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from dicom_node.simulator.anomalies.axial import draw_axial
from dicom_node.simulator.anomalies.coronal import draw_coronal
from dicom_node.simulator.anomalies.fetus import (
    ANENCEPHALY,
    ENCEPHALOCELE,
    HOLOPROSENCEPHALY,
    NORMAL,
    RACHISCHISIS,
    Fetus,
    draw_fetus,
)
from dicom_node.simulator.anomalies.profile import draw_profile
from dicom_node.simulator.anomalies.spine import draw_spine, draw_vertebra
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc
from dicom_node.simulator.records import Box
from dicom_node.simulator.speckle import GreyImage, render
from dicom_node.simulator.surroundings import bounding_box, burn_in, chance, convex_view, machine, uterus

PICTURE_PX = 384  #: images are stretched to squares, as those of the real set are
STREAM = 4  #: of the generators, beside the other sets'
ROOM = 1.12  #: radius of the fluid about the body, in the body's unit

Draw = Callable[..., "Points | None"]


@dataclass(frozen=True, slots=True)
class View:
    """A way to cut the fetus, how it usually lies under the probe, and how often it shows each anomaly."""

    draw: Draw
    scale: float  #: of the body's unit
    turns_deg: tuple[float, ...]
    shows: dict[str, float]


VIEWS = {
    "axial head": View(
        draw_axial,
        0.82,
        (0.0,),
        {ANENCEPHALY: 0.95, ENCEPHALOCELE: 0.75, HOLOPROSENCEPHALY: 0.95, RACHISCHISIS: 0.7},
    ),
    "coronal head": View(
        draw_coronal, 0.95, (0.0, 90.0, -90.0), {ANENCEPHALY: 1.0, ENCEPHALOCELE: 0.5, HOLOPROSENCEPHALY: 0.95}
    ),
    "sagittal head": View(
        draw_profile, 0.95, (0.0, 0.0, 180.0), {ANENCEPHALY: 1.0, ENCEPHALOCELE: 0.75, HOLOPROSENCEPHALY: 0.5}
    ),
    "sagittal spine": View(draw_spine, 1.0, (0.0, 0.0, 180.0), {RACHISCHISIS: 0.9}),
    "axial spine": View(draw_vertebra, 1.0, (0.0, 0.0, 90.0, -90.0, 180.0), {RACHISCHISIS: 0.7}),
}
#: each examination begins with these, in any order, and goes on at random
PROTOCOL = ("axial head", "coronal head", "sagittal head", "sagittal spine", "axial spine")
FURTHER_SHARES = {
    "axial head": 0.4,
    "coronal head": 0.15,
    "sagittal head": 0.15,
    "sagittal spine": 0.15,
    "axial spine": 0.15,
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One image to make: which view of which fetus, and whether the plane meets the lesion."""

    fetus: Fetus
    view: str
    shown: bool


@dataclass(frozen=True, slots=True)
class ExaminationImage:
    """A picture, shape (H, W) uint8, and the truth about it; the lesion's box is in its pixels."""

    pixels: GreyImage
    label: str
    view: str
    lesion: Box | None
    weeks: float


def examination(seed: int, patient: int) -> list[Shot]:
    """Plan the examination of one patient; at least one image shows what the fetus has."""
    rng = np.random.default_rng((seed, STREAM, 0, patient))
    fetus = draw_fetus(rng)
    further = rng.choice(list(FURTHER_SHARES), int(rng.integers(0, 4)), p=list(FURTHER_SHARES.values()))
    views = [str(view) for view in rng.permutation([*PROTOCOL, *further])]
    shown = [_meets(rng, fetus, view) for view in views]
    if not any(shown) and fetus.label != NORMAL:
        best = max(range(len(views)), key=lambda i: VIEWS[views[i]].shows.get(fetus.label, 0.0))
        shown[best] = True
    return [Shot(fetus, view, seen) for view, seen in zip(views, shown, strict=True)]


def _meets(rng: Generator, fetus: Fetus, view: str) -> bool:
    met = chance(rng, VIEWS[view].shows.get(fetus.label, 0.0))
    return met and not (fetus.label == RACHISCHISIS and view == "axial head" and not fetus.lemon)


def take(shot: Shot, frame_rng: Generator, body_rng: Generator) -> ExaminationImage:
    """Image one shot; everything but the body comes from `frame_rng`, whose draws do not depend on the fetus."""
    view = VIEWS[shot.view]
    width = int(frame_rng.integers(430, 540))
    height = int(width * frame_rng.uniform(0.68, 0.85))
    unit = height * frame_rng.uniform(0.28, 0.44)
    centre = np.array([width * frame_rng.uniform(0.43, 0.57), height * frame_rng.uniform(0.45, 0.57)])
    turn = float(frame_rng.choice(view.turns_deg)) + float(frame_rng.normal(0.0, 14.0))
    mirrored = chance(frame_rng, 0.5)
    room = arc(centre[0], centre[1], ROOM * unit, ROOM * unit)
    canvas = Canvas(width, height, convex_view(frame_rng, width, height, room), frame_rng)
    uterus(canvas, room, fluid=frame_rng.uniform(0.2, 0.8))
    canvas.tissue(room, frame_rng.uniform(-50.0, -38.0), softness_px=0.08 * unit)
    scanner = machine(frame_rng, width)
    canvas.rng = body_rng
    pose = Pose(float(centre[0]), float(centre[1]), unit * view.scale, turn, mirrored)
    lesion = view.draw(canvas, pose, shot.fetus, shown=shot.shown)
    pixels = burn_in(render(canvas.scene(), canvas.sector, scanner, frame_rng), frame_rng)
    square = np.asarray(cv2.resize(pixels, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    box = None
    if lesion is not None:
        x0, y0, x1, y1 = bounding_box(
            np.clip(lesion * (PICTURE_PX / width, PICTURE_PX / height), 0.0, PICTURE_PX - 1.0)
        )
        box = (x0, y0, x1, y1)
    return ExaminationImage(square, shot.fetus.label, shot.view, box, shot.fetus.weeks)


def generators(seed: int, number: int) -> tuple[Generator, Generator]:
    """Give the generators of the frame and of the body of image `number`."""
    return (np.random.default_rng((seed, STREAM, 1, number)), np.random.default_rng((seed, STREAM, 2, number)))
