"""The spine along its length and across. Body coordinates: half the visible spine (or the trunk's radius) is 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicom_node.simulator.anomalies.fetus import RACHISCHISIS, Fetus
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.surroundings import chance

Along = npt.NDArray[np.bool_]  #: which points of the spine's curve

CANAL = 0.13  #: between the rows of ossification centres
SKIN = 0.16  #: from the posterior row to the skin
SPACING = 0.125
CORD_END = 0.6
SHORTEST_STRETCH = 4  #: points of the curve


def draw_spine(canvas: Canvas, pose: Pose, fetus: Fetus, *, shown: bool) -> Points | None:
    """Draw a sagittal spine, the back up (-y); gives the open stretch in pixels where the plane shows it.

    Rachischisis: over the cleft there are vertebral bodies but no posterior row and no skin; neural tissue lies bare.
    """
    rng, unit = canvas.rng, pose.unit_px
    is_open = shown and fetus.label == RACHISCHISIS
    x = np.linspace(-2.2, 2.2, 240)  # it runs out of the picture at both ends
    middle = rng.normal(0.06, 0.03) * (np.clip(x, -1.4, 1.4) ** 2) - 0.16 * np.clip(x - 0.7, 0.0, 0.6)
    if is_open and fetus.kinked:
        kink = 0.5 * (fetus.cleft_from + fetus.cleft_to)
        middle -= 0.28 * np.exp(-(((x - kink) / 0.28) ** 2))
    taper = np.clip((1.25 - x) / 0.9, 0.35, 1.0)  # towards the sacrum at +x
    canal = CANAL * taper
    cleft = (x > fetus.cleft_from) & (x < fetus.cleft_to) if is_open else np.zeros(len(x), dtype=bool)
    cover = np.where(cleft, -0.02, canal + SKIN * (0.6 + 0.4 * taper))
    back = np.convolve(np.pad(cover, 4, mode="edge"), np.full(9, 1.0 / 9.0), mode="valid")
    skin = np.stack([x, middle - back], axis=1)
    flesh = np.vstack([skin, np.stack([x, middle + 0.75], axis=1)[::-1]])
    canvas.tissue(pose.to_px(flesh), rng.uniform(-14.0, -6.0), softness_px=2.5, texture_db=4.0, texture_px=7.0)
    canvas.surface(pose.to_px(skin), rng.uniform(2.0, 12.0), 0.03 * unit, directivity=2.0, gaps=0.15)
    cord = (x < CORD_END) & ~cleft
    for part in _stretches(cord):
        tube = np.vstack(
            [
                np.stack([x[part], (middle - canal * 0.92)[part]], axis=1),
                np.stack([x[part], (middle - canal * 0.1)[part]], axis=1)[::-1],
            ]
        )
        canvas.tissue(pose.to_px(tube), rng.uniform(-34.0, -22.0), softness_px=2.0)
    _ossification(canvas, pose, x, middle, canal, cleft)
    if not is_open:
        return None
    return _bare_placode(canvas, pose, x[cleft], middle[cleft], canal[cleft])


def _ossification(  # noqa: PLR0917 - the curve and what lies along it
    canvas: Canvas, pose: Pose, x: Points, middle: Points, canal: Points, cleft: Along
) -> None:
    """Vertebral bodies all along, neural arches where the spine is closed, ribs' shadows before them."""
    rng, unit = canvas.rng, pose.unit_px
    level = rng.uniform(6.0, 14.0)
    for at in np.arange(-2.1, 1.15, SPACING):
        k = int(np.argmin(np.abs(x - at)))
        size = 0.021 * (0.7 + 0.3 * canal[k] / CANAL)
        rows = [middle[k]] if cleft[k] else [middle[k], middle[k] - canal[k]]
        for y in rows:
            dot = pose.to_px([[at - size, y + rng.normal(0.0, 0.006)], [at + size, y + rng.normal(0.0, 0.006)]])
            canvas.surface(dot, level + rng.uniform(-4.0, 2.0), 0.05 * unit, directivity=0.4, loss_db=0.16)


def _bare_placode(canvas: Canvas, pose: Pose, x: Points, middle: Points, canal: Points) -> Points:
    """Draw irregular neural tissue on the vertebral bodies, open to the fluid."""
    rng = canvas.rng
    rough = 0.35 + 0.25 * np.interp(np.arange(len(x)), np.linspace(0, len(x), 9), rng.standard_normal(9))
    top = np.stack([x, middle - canal * np.clip(rough, 0.1, 0.8)], axis=1)
    bed = np.stack([x, middle], axis=1)
    tissue = np.vstack([top, bed[::-1]])
    canvas.tissue(pose.to_px(tissue), rng.uniform(-14.0, -6.0), softness_px=1.5, texture_db=5.0, texture_px=5.0)
    canvas.surface(pose.to_px(top), rng.uniform(-8.0, 4.0), 0.02 * pose.unit_px, gaps=0.4)
    return pose.to_px(np.vstack([np.stack([x, middle - canal], axis=1), bed]))


def _stretches(inside: Along) -> list[slice]:
    """Give the runs of True that are long enough to draw."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= SHORTEST_STRETCH]


def draw_vertebra(canvas: Canvas, pose: Pose, fetus: Fetus, *, shown: bool) -> Points | None:
    """Draw an axial trunk, the back up (-y): three ossification centres; gives the open vertebra in pixels.

    Closed, the posterior centres converge under skin; open, they splay and the skin dips to them.
    """
    rng, unit = canvas.rng, pose.unit_px
    is_open = shown and fetus.label == RACHISCHISIS
    trunk = arc(0.0, 0.1, 0.85, 0.8, -90.0, 270.0, 96)
    if is_open:
        trunk[:, 1] += 0.24 * np.exp(-((trunk[:, 0] / 0.22) ** 2)) * (trunk[:, 1] < 0.0)
    canvas.tissue(pose.to_px(trunk), rng.uniform(-14.0, -6.0), softness_px=2.5, texture_db=4.0, texture_px=7.0)
    ends = trunk[7:-7] if is_open else trunk
    canvas.surface(pose.to_px(ends), rng.uniform(2.0, 12.0), 0.03 * unit, directivity=2.0, gaps=0.15)
    for side in (-1.0, 1.0):
        rib = arc(0.0, 0.1, 0.72, 0.68, 270.0 + side * 28.0, 270.0 + side * rng.uniform(60.0, 95.0), 30)
        canvas.surface(pose.to_px(rib), rng.uniform(2.0, 12.0), 0.045 * unit, directivity=1.5, gaps=0.2, loss_db=0.12)
        if chance(rng, 0.7):
            kidney = blob(rng, side * 0.34, -0.12, 0.16, 0.12, 0.06)
            canvas.tissue(pose.to_px(kidney), rng.uniform(-22.0, -14.0), softness_px=3.0)
    if chance(rng, 0.6):
        stomach = blob(rng, rng.choice([-1.0, 1.0]) * 0.3, 0.35, 0.18, 0.12, 0.08)
        canvas.tissue(pose.to_px(stomach), rng.uniform(-42.0, -28.0), softness_px=3.0)
    return _centres(canvas, pose, fetus, is_open=is_open)


def _centres(canvas: Canvas, pose: Pose, fetus: Fetus, *, is_open: bool) -> Points | None:
    rng, unit = canvas.rng, pose.unit_px
    body = curve([[-0.07, -0.27], [0.0, -0.29], [0.07, -0.27]], 12)
    spread = 0.1 * (fetus.splay if is_open else 1.0)
    tilt = -0.07 if is_open else 0.05  # the laminae lean outwards or inwards towards the back
    laminae = [curve([[s * spread, -0.4], [s * (spread - tilt), -0.5]], 10) for s in (-1.0, 1.0)]
    canal = blob(rng, 0.0, -0.4, 0.07 if not is_open else 0.1, 0.07, 0.04)
    canvas.tissue(pose.to_px(canal), rng.uniform(-34.0, -22.0), softness_px=1.5)
    for bone in (body, *laminae):
        canvas.surface(pose.to_px(bone), rng.uniform(8.0, 16.0), 0.05 * unit, directivity=0.3, gaps=0.05, loss_db=0.22)
    if not is_open:
        return None
    placode = blob(rng, 0.0, -0.44, 0.1, 0.05, 0.15)
    canvas.tissue(pose.to_px(placode), rng.uniform(-14.0, -6.0), softness_px=1.5, texture_db=5.0, texture_px=5.0)
    return pose.to_px(np.vstack([body, *laminae]))
