"""First-trimester mid-sagittal head and upper thorax with the nine structures of the nuchal scan.

Layout in units of the thalami's width, origin at the thalami's centre, the face looking to +x, the probe above.
Mean places and their spread are those of the nine structures on standard planes at 11 to 14 weeks.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.head_condition import HeadCondition
from dicom_node.simulator.head_layout import bulge, draw_layout, reshape
from dicom_node.simulator.records import MID_SAGITTAL_HEAD, Box, PhantomImage
from dicom_node.simulator.speckle import render
from dicom_node.simulator.surroundings import bounding_box, burn_in, chance, convex_view, machine, streaky
from dicom_node.tasks.structures.net import STRUCTURES

THALAMI_WIDTH_MM = 5.6
NORMAL_NUCHAL = 0.25  #: thickest of the usual layout, units of thalami width


def sagittal_head(rng: Generator, *, standard: bool = True, condition: HeadCondition | None = None) -> PhantomImage:
    """Draw a mid-sagittal head; with `standard=False` an oblique or cut-off one, without boxes.

    With a `condition` the nine structures have its sizes, and the picture tells their categories.
    """
    width, height = int(rng.integers(600, 760)), int(rng.integers(455, 515))
    mirrored = chance(rng, 0.5)
    unit = width * np.clip(rng.normal(0.133, 0.017), 0.095, 0.165)
    x = width * np.clip(rng.normal(0.384, 0.05), 0.3, 0.5)
    y = height * np.clip(rng.normal(0.465, 0.04), 0.37, 0.56)
    if condition is not None:  # room below for the thickest nuchal translucency, whatever this head has
        unit = min(unit, 0.185 * height)
        y = min(y, height - 3.15 * unit)
    turn = rng.normal(0.0, 5.0) if standard else rng.choice([-1.0, 1.0]) * rng.uniform(20.0, 55.0)
    pose = Pose(width - x if mirrored else x, y, unit, turn, mirrored)
    face_and_brain = pose.to_px(
        [[2.1, -1.2], [2.1, 0.3], [-1.8, -0.8], [1.0, -1.7], [-0.7, -0.5], [-0.7, 1.5], [0.9, 1.9]]
    )
    canvas = Canvas(width, height, convex_view(rng, width, height, face_and_brain), rng)
    draft = draw_layout(rng)
    if condition is not None:
        reshape(draft, condition)
    _body_and_wall(canvas, pose)
    outlines = _head(canvas, pose, draft, standard=standard, condition=condition)
    outlines["nuchal_translucency"] = _nuchal_translucency(canvas, pose, condition, bulge(draft))
    scanner = streaky(machine(rng, width), rng.uniform(1.3, 2.4))
    pixels = burn_in(render(canvas.scene(), canvas.sector, scanner, rng), rng)
    thalami_width_mm = THALAMI_WIDTH_MM * rng.uniform(0.85, 1.15)
    boxes = _boxes(outlines, width, height) if standard else {}
    categories: dict[str, str] = {}
    sizes_mm: dict[str, float] = {}
    if condition is not None:
        thalami_width_mm = condition.thalami_width_mm
        categories = {
            name: told for name, told in condition.categories.items() if name in boxes or condition.lacks(name)
        }
        sizes_mm = {name: size for name, size in condition.sizes_mm.items() if size is not None and name in boxes}
    return PhantomImage(
        pixels=pixels,
        plane=MID_SAGITTAL_HEAD,
        mm_per_px=float(thalami_width_mm / unit),
        standard_plane=standard,
        boxes=boxes,
        categories=categories,
        measurements_mm=sizes_mm,
        weeks=float(rng.uniform(11.0, 14.0)),
    )


def _boxes(outlines: dict[str, Points], width: int, height: int) -> dict[str, Box]:
    """Boxes cut to the frame; a structure of which under half lies in the frame is not marked."""
    boxes: dict[str, Box] = {}
    for name in STRUCTURES:
        if name not in outlines:
            continue
        x0, y0, x1, y1 = bounding_box(outlines[name])
        cut = (max(x0, 0.0), max(y0, 0.0), min(x1, width - 1.0), min(y1, height - 1.0))
        seen = max(cut[2] - cut[0], 0.0) * max(cut[3] - cut[1], 0.0)
        if seen >= 0.5 * (x1 - x0) * (y1 - y0) or (name == "nuchal_translucency" and cut[2] - cut[0] > 0.1 * width):
            boxes[name] = cut
    return boxes


def _body_and_wall(canvas: Canvas, pose: Pose) -> None:
    """Uterine wall behind, fluid in front, and the trunk that leaves the frame on the face's side."""
    rng = canvas.rng
    gap = rng.uniform(-0.15, 0.2)  # between the back of the neck and the wall of the uterus
    bed = curve([[-4.5, 0.9 + rng.normal(0.0, 0.4)], [-2.2, 1.9], [0.3, 2.1 + gap], [3.2, 2.15 + gap], [7.0, 2.0]])
    wall = np.vstack([bed, [[7.0, 9.0], [-4.5, 9.0]]])
    canvas.tissue(pose.to_px(wall), rng.uniform(-12.0, -4.0), texture_db=4.5, texture_px=9.0)
    if chance(rng, 0.4):
        top = curve([[-5.0, rng.normal(-3.1, 0.3)], [-1.0, -3.2], [2.0, -3.2], [7.0, rng.normal(-2.9, 0.3)]])
        canvas.tissue(
            pose.to_px(np.vstack([top, [[7.0, -9.0], [-5.0, -9.0]]])), rng.uniform(-12.0, -4.0), texture_db=2.5
        )
    chest = rng.uniform(-1.6, -0.6)
    trunk = np.vstack(
        [
            curve([[1.6, 0.5], [2.4, 0.55], [3.3, 0.1], [4.4, chest], [7.5, chest - 0.5]]),
            [[7.5, 1.9], [3.0, 1.9], [0.4, 1.75], [0.5, 0.5]],
        ]
    )
    canvas.tissue(pose.to_px(trunk), rng.uniform(-11.0, -4.0), texture_db=4.0, texture_px=8.0)
    canvas.surface(pose.to_px(trunk[25:40]), rng.uniform(0.0, 10.0), 0.05 * pose.unit_px, directivity=2.0, gaps=0.3)
    for _ in range(int(rng.integers(3, 9))):
        start = rng.uniform([2.4, 0.3], [5.0, 1.6])
        fibre = curve(
            [start, start + np.array([0.6, rng.normal(0.0, 0.08)]), start + np.array([1.2, rng.normal(0.0, 0.12)])]
        )
        canvas.surface(pose.to_px(fibre), rng.uniform(-2.0, 5.0), 0.04 * pose.unit_px, gaps=0.3)


def _head(
    canvas: Canvas, pose: Pose, draft: dict[str, Points], *, standard: bool, condition: HeadCondition | None = None
) -> dict[str, Points]:
    """Cranium, brain and face; returns the outline of each of eight structures (that is there) in the image."""
    rng, unit = canvas.rng, pose.unit_px
    skull = arc(-0.3, -0.3, rng.normal(1.62, 0.08), rng.normal(2.05, 0.08), 0.0, 360.0)
    canvas.tissue(pose.to_px(skull), rng.uniform(-19.0, -12.0), texture_db=4.5, texture_px=0.09 * unit)
    _choroid(canvas, pose)
    bone, tip = draft["nasal_bone"], draft["nasal_tip"]
    profile = [(bone[0] - 0.15, bone[1] - 0.2), (tip[0], tip[1] - 0.05), (tip[0] + 0.2, tip[1] + 0.15)]
    face = np.vstack(
        [
            curve([[0.8, -1.5], *profile, [2.15, -0.65], [2.15, -0.2], [1.9, 0.35], [1.6, 0.7]]),
            [[0.6, 1.0], [0.5, -0.6]],
        ]
    )
    canvas.tissue(
        pose.to_px(face), rng.uniform(-16.0, -9.0), softness_px=0.06 * unit, texture_db=4.5, texture_px=0.09 * unit
    )
    canvas.surface(
        pose.to_px(arc(-0.3, -0.3, 1.6, 2.05, 215.0, 325.0)),
        rng.uniform(10.0, 20.0),
        rng.uniform(0.09, 0.16) * unit,
        directivity=2.0,
        gaps=0.15,
        loss_db=0.25,
    )
    canvas.surface(pose.to_px(arc(-0.3, -0.3, 1.6, 2.05, 150.0, 215.0)), rng.uniform(-8.0, 2.0), 0.08 * unit, gaps=0.3)
    outlines = {
        "thalami": _dark_oval(canvas, pose, draft["thalami"], rng.uniform(-26.0, -17.0)),
        "midbrain": _dark_oval(canvas, pose, draft["midbrain"], rng.uniform(-28.0, -19.0)),
    }
    absent = {name for name in STRUCTURES if condition is not None and condition.lacks(name)}
    for name, upper_db in (("fourth_ventricle", (4.0, 12.0)), ("cisterna_magna", (0.0, 9.0))):
        if name not in absent:
            outlines[name] = _walled_slit(canvas, pose, draft[name], upper_db=rng.uniform(*upper_db))
    occiput = curve([[-1.25, 1.25], [-0.7, 1.6], [0.0, 1.73], [0.75, 1.75], [1.3, 1.72]])
    occiput[:, 1] += bulge(draft) * np.exp(-(((occiput[:, 0] - 0.36) / 0.8) ** 2))
    canvas.surface(pose.to_px(occiput), rng.uniform(10.0, 19.0), 0.075 * unit, directivity=2.5, gaps=0.2, loss_db=0.1)
    gap = 0.0 if condition is None else condition.units("palate")
    outlines["palate"] = _palate(canvas, pose, draft["palate"], gap)
    shown = 1.0 if standard else 0.0
    for name, level, fill in (
        ("nasal_bone", (13.0, 20.0), 0.55),
        ("nasal_skin", (8.0, 16.0), 0.5),
        ("nasal_tip", (8.0, 16.0), 0.5),
    ):
        if name not in absent:
            outlines[name] = _dash(canvas, pose, draft[name], shown * rng.uniform(*level), fill)
    return outlines


def _choroid(canvas: Canvas, pose: Pose) -> None:
    """Draw the large bright choroid plexuses and the dark fluid before them, which fill a first-trimester head."""
    rng = canvas.rng
    front = blob(rng, 0.25, -1.35, 0.75, 0.55, 0.06)
    canvas.tissue(pose.to_px(front), rng.uniform(-30.0, -16.0), softness_px=4.0)
    canvas.tissue(
        pose.to_px(blob(rng, -1.0, -0.4, 0.6, 1.2, 0.08)),
        rng.uniform(-13.0, -6.0),
        texture_db=5.0,
        texture_px=0.12 * pose.unit_px,
        softness_px=6.0,
    )
    for _ in range(int(rng.integers(8, 18))):
        spot = rng.normal([-0.6, -0.3], [0.5, 0.8])
        fleck = curve([spot, spot + rng.normal(0.0, 0.12, 2), spot + rng.normal(0.0, 0.2, 2)], 12)
        canvas.surface(pose.to_px(fleck), rng.uniform(-8.0, 3.0), 0.06 * pose.unit_px, directivity=1.0, gaps=0.2)


def _dark_oval(canvas: Canvas, pose: Pose, draft: Points, echo_db: float) -> Points:
    x, y, width, height = draft
    outline = pose.to_px(blob(canvas.rng, x, y, width / 2.0, height / 2.0, 0.03))
    canvas.tissue(outline, echo_db, softness_px=0.05 * pose.unit_px, texture_db=2.0)
    for start in (200.0, 20.0):
        rim = pose.to_px(arc(x, y, width / 2.0, height / 2.0, start, start + 140.0, 32))
        canvas.surface(rim, canvas.rng.uniform(-12.0, 1.0), 0.04 * pose.unit_px, gaps=0.45)
    return outline


def _walled_slit(canvas: Canvas, pose: Pose, draft: Points, *, upper_db: float) -> Points:
    """Draw a fluid slit between two bright lines that lie across the beam."""
    x, y, width, height = draft
    bow = canvas.rng.normal(0.03, 0.03)
    across = np.linspace(-0.5, 0.5, 24)
    lens = height * 0.36 * np.sqrt(np.clip(1.0 - (2.0 * across) ** 2 * 0.8, 0.0, None))
    middle = y + bow * (1.0 - (2.0 * across) ** 2)
    upper = np.stack([x + across * width, middle - lens], axis=1)
    lower = np.stack([x + across * width, middle + lens], axis=1)
    canvas.tissue(pose.to_px(np.vstack([upper, lower[::-1]])), canvas.rng.uniform(-46.0, -32.0), softness_px=1.0)
    thickness = 0.055 * pose.unit_px
    rise = np.array([0.0, height * 0.1])
    canvas.surface(pose.to_px(upper - rise), upper_db, thickness, directivity=2.0, gaps=0.1)
    canvas.surface(pose.to_px(lower + rise), canvas.rng.uniform(-4.0, 7.0), thickness, directivity=2.0, gaps=0.3)
    return pose.to_px([[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]])


def _palate(canvas: Canvas, pose: Pose, draft: Points, gap: float = 0.0) -> Points:
    """Maxilla and palate: a bright wedge, two limbs that meet at the front, mandible texture between.

    `gap` is how much of the upper limb, the palate itself, is missing in its middle.
    """
    rng = canvas.rng
    x, y, width, height = draft
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    canvas.tissue(
        pose.to_px(blob(rng, x, y, width * 0.45, height * 0.42, 0.06)), rng.uniform(-6.0, 0.0), texture_db=4.0
    )
    ridge = x + rng.uniform(0.05, 0.3) * width
    upper = curve([[left, bottom - 0.1 * height], [x - 0.2 * width, y], [ridge, top + 0.08 * height]])
    lower = curve([[left + 0.2 * width, bottom], [x + 0.15 * width, y + 0.3 * height], [right, y + 0.2 * height]])
    front = curve([[ridge, top + 0.08 * height], [right - 0.1 * width, y], [right, bottom - 0.2 * height]])
    for limb, level in ((upper, 19.0), (lower, 9.0), (front, 15.0)):
        level_db, thickness_px = level + rng.uniform(-5.0, 2.0), rng.uniform(0.08, 0.14) * pose.unit_px
        for part in _broken(limb, gap) if limb is upper else [limb]:
            canvas.surface(pose.to_px(part), level_db, thickness_px, gaps=0.1, loss_db=0.1)
    if gap > 0.0:
        middle = upper[len(upper) // 2]
        hole = pose.to_px(arc(middle[0], middle[1], gap * 0.5, gap * 0.5))
        canvas.tissue(hole, rng.uniform(-40.0, -30.0), softness_px=1.5)
    return pose.to_px([[left, top], [right, bottom]])


def _broken(line: Points, gap: float) -> list[Points]:
    """Give a line without a stretch of length `gap` in its middle."""
    if gap <= 0.0:
        return [line]
    middle = line[len(line) // 2]
    near = np.linalg.norm(line - middle, axis=1) < gap / 2.0
    first, last = int(np.flatnonzero(near)[0]), int(np.flatnonzero(near)[-1])
    return [part for part in (line[: first + 1], line[last:]) if len(part) > 1]


def _dash(canvas: Canvas, pose: Pose, draft: Points, echo_db: float, fill: float) -> Points:
    """Draw a short bright echo lying across the beam; `fill` is its thickness as a share of its box."""
    x, y, width, height = draft
    line = curve(
        [[x - 0.45 * width, y + 0.1 * height], [x, y - 0.1 * height], [x + 0.45 * width, y + 0.1 * height]], 16
    )
    if echo_db > 0.0:
        canvas.surface(pose.to_px(line), echo_db, fill * height * pose.unit_px, directivity=1.0, gaps=0.02)
    return pose.to_px([[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]])


def _nuchal_translucency(
    canvas: Canvas, pose: Pose, condition: HeadCondition | None = None, push: float = 0.0
) -> Points:
    """Draw the dark band behind the neck between two long bright membranes, skin below and soft tissue above.

    Its greatest thickness is a condition's; a thick one swells away from the neck, and `push` moves it all.
    """
    rng = canvas.rng
    start, length = rng.normal(0.12, 0.15), np.clip(rng.normal(3.1, 0.8), 1.4, 5.0)
    level, thickness = rng.normal(1.9, 0.07), rng.uniform(0.13, 0.24)
    if condition is not None:
        thickness = condition.units("nuchal_translucency")
        level += push + max(thickness - NORMAL_NUCHAL, 0.0) / 2.0
    x = np.linspace(start, start + length, 40)
    sag = rng.normal(0.05, 0.04) * np.sin(np.linspace(0.0, np.pi, 40)) - rng.normal(0.05, 0.05) * np.linspace(
        0.0, 1.0, 40
    )
    swell = thickness * (0.55 + 0.45 * np.sin(np.linspace(0.25, 0.85, 40) * np.pi))
    if thickness > NORMAL_NUCHAL:  # a thick one tapers to the usual band at its ends
        swell = np.sin(np.linspace(0.04, 0.96, 40) * np.pi) ** 0.7
        swell = NORMAL_NUCHAL / 2.0 + (thickness - NORMAL_NUCHAL / 2.0) * swell
    upper = np.stack([x, level + sag - swell / 2], axis=1)
    lower = np.stack([x, level + sag + swell / 2], axis=1)
    canvas.tissue(pose.to_px(np.vstack([upper, lower[::-1]])), rng.uniform(-46.0, -36.0), softness_px=1.0)
    line = rng.uniform(0.045, 0.075)
    gap = np.array([0.0, line / 2])
    canvas.surface(pose.to_px(upper - gap), rng.uniform(6.0, 16.0), line * pose.unit_px, directivity=3.0, gaps=0.1)
    canvas.surface(pose.to_px(lower + gap), rng.uniform(10.0, 20.0), line * pose.unit_px, directivity=3.0, gaps=0.08)
    if chance(rng, 0.5):
        amnion = lower + np.array([0.0, rng.uniform(0.15, 0.35)])
        canvas.surface(pose.to_px(amnion), rng.uniform(0.0, 10.0), 0.05 * pose.unit_px, directivity=3.0, gaps=0.35)
    return pose.to_px(np.vstack([upper - 2 * gap, lower + 2 * gap]))
