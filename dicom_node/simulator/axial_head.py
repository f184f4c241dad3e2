"""Axial fetal head at the three brain planes, with the exact outer ellipse of the skull.

Body coordinates: the ellipse's semi-major axis is 1, the forehead at +x, the probe above.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.growth import head_circumference_mm
from dicom_node.simulator.records import FETAL_BRAIN, HeadEllipse, PhantomImage
from dicom_node.simulator.speckle import render
from dicom_node.simulator.surroundings import burn_in, chance, convex_view, machine, outline_mask, uterus

BRAIN_PLANES = ("Trans-thalamic", "Trans-cerebellum", "Trans-ventricular")


def axial_head(rng: Generator, *, brain_plane: str | None = None, weeks: float | None = None) -> PhantomImage:
    """Draw a head in one of the brain planes (drawn when None) at a gestational age (14 to 38 weeks when None)."""
    plane = brain_plane or str(rng.choice(BRAIN_PLANES, p=(0.55, 0.25, 0.2)))
    age = float(rng.uniform(14.0, 38.0)) if weeks is None else weeks
    width, height = [(800, 540), (800, 552), (640, 441)][int(rng.integers(3))]
    semi_major = height * rng.uniform(0.34, 0.5)
    flatness = float(np.clip(rng.normal(0.79, 0.035), 0.7, 0.88))
    turn = float(np.clip(rng.normal(0.0, 9.0), -25.0, 25.0))
    mirrored = chance(rng, 0.5)
    pose = Pose(width * rng.uniform(0.44, 0.55), height * rng.uniform(0.47, 0.53), semi_major, turn, mirrored)
    ellipse = HeadEllipse(
        pose.x_px, pose.y_px, semi_major, semi_major * flatness, (-turn if mirrored else turn) % 180.0
    )
    hc_mm = head_circumference_mm(age) * float(rng.normal(1.0, 0.03))
    mm_per_px = hc_mm / ellipse.perimeter_px
    outline = pose.to_px(arc(0.0, 0.0, 1.0, flatness))
    canvas = Canvas(width, height, convex_view(rng, width, height, outline), rng)
    uterus(canvas, outline, fluid=rng.uniform(0.1, 0.75))
    skull_and_brain(canvas, pose, flatness)
    draw = {"Trans-thalamic": thalamic, "Trans-cerebellum": cerebellar, "Trans-ventricular": ventricular}[plane]
    draw(canvas, pose, flatness)
    axis1, axis2 = ellipse.axis_ends_px()
    return PhantomImage(
        pixels=burn_in(render(canvas.scene(), canvas.sector, machine(rng, width), rng), rng),
        plane=FETAL_BRAIN,
        brain_plane=plane,
        mm_per_px=mm_per_px,
        ellipse=ellipse,
        landmarks={"axis1": axis1, "axis2": axis2},
        measurements_mm={
            "HC": hc_mm,
            "OFD": 2.0 * ellipse.semi_major_px * mm_per_px,
            "BPD": 2.0 * ellipse.semi_minor_px * mm_per_px,
        },
        mask=outline_mask(outline, (height, width)),
        weeks=age,
    )


def skull_and_brain(canvas: Canvas, pose: Pose, flatness: float, defect_deg: tuple[float, float] | None = None) -> None:
    """Scalp, skull that shines where the beam meets it square and drops out at the sides, faint brain.

    `defect_deg` are the angles (clockwise from the forehead, 0 to 360) between which the bone is missing.
    """
    rng, unit = canvas.rng, pose.unit_px
    thickness = rng.uniform(0.045, 0.085)
    scalp = rng.uniform(1.02, 1.1)
    canvas.tissue(
        pose.to_px(arc(0.0, 0.0, scalp, flatness * scalp)), rng.uniform(-16.0, -8.0), texture_db=3.0, texture_px=6.0
    )
    brain = arc(0.0, 0.0, 1.0 - thickness / 2, flatness - thickness / 2)
    canvas.tissue(pose.to_px(brain), rng.uniform(-27.0, -17.0), texture_db=4.0, texture_px=9.0)
    near_half = np.vstack(
        [arc(0.0, 0.0, 0.93, flatness * 0.9, 180.0, 360.0), curve([[0.9, 0.0], [0.0, -0.05], [-0.9, 0.0]])]
    )
    canvas.tissue(
        pose.to_px(near_half), rng.uniform(-22.0, -13.0), softness_px=0.07 * unit, texture_db=3.5, texture_px=12.0
    )
    echo_db, directivity = rng.uniform(11.0, 20.0), rng.uniform(1.2, 3.2)
    gaps, loss_db = rng.uniform(0.02, 0.2), rng.uniform(0.03, 0.18)

    def bone(start_deg: float, end_deg: float, count: int) -> list[Points]:
        middle = arc(0.0, 0.0, 1.0 - thickness / 2, flatness - thickness / 2, start_deg, end_deg, count)
        return [pose.to_px(part) for part in outside_defect(middle, start_deg, end_deg, defect_deg)]

    for ring in bone(0.0, 360.0, 140):
        canvas.surface(ring, echo_db, thickness * unit, directivity=directivity, gaps=gaps, loss_db=loss_db)
    for side in (0.0, 180.0):
        for edge in bone(side - 22.0, side + 22.0, 24):
            canvas.surface(edge, rng.uniform(-14.0, 10.0), thickness * unit, directivity=0.2, gaps=0.2, loss_db=0.35)
    _sulci(canvas, pose, flatness)


def outside_defect(
    line: Points, start_deg: float, end_deg: float, defect_deg: tuple[float, float] | None
) -> list[Points]:
    """Cut the part between two angles out of an arc whose points run evenly from `start_deg` to `end_deg`."""
    if defect_deg is None:
        return [line]
    angle = np.linspace(start_deg, end_deg, len(line))
    parts = (line[angle < defect_deg[0]], line[angle > defect_deg[1]])
    return [part for part in parts if len(part) > 1]


def _sulci(canvas: Canvas, pose: Pose, flatness: float) -> None:
    for _ in range(int(canvas.rng.integers(10, 40))):
        radius, angle = canvas.rng.uniform(0.2, 0.85), canvas.rng.uniform(0.0, 2.0 * np.pi)
        at = np.array([radius * np.cos(angle), radius * flatness * np.sin(angle)])
        run = canvas.rng.normal(0.0, [0.09, 0.03])
        fold = curve([at, at + run + canvas.rng.normal(0.0, 0.02, 2), at + 2 * run], 12)
        canvas.surface(pose.to_px(fold), canvas.rng.uniform(-14.0, 2.0), 0.025 * pose.unit_px, gaps=0.25)


def midline(canvas: Canvas, pose: Pose, start: float, end: float, level_db: float) -> None:
    """Draw the falx or the cleft between the hemispheres from one place on the axis to another."""
    sway = canvas.rng.normal(0.0, 0.006, 4)
    line = curve(np.stack([np.linspace(start, end, 4), sway], axis=1), 40)
    canvas.surface(pose.to_px(line), level_db, canvas.rng.uniform(0.015, 0.03) * pose.unit_px, gaps=0.35)


def _septal_cavity(canvas: Canvas, pose: Pose, x: float) -> None:
    """Cavum septi pellucidi: a dark box on the midline between two short bright lines."""
    rng = canvas.rng
    length, half = rng.uniform(0.2, 0.3), rng.uniform(0.045, 0.075)
    box = np.array([[x, -half], [x + length, -half * 0.8], [x + length, half * 0.8], [x, half]])
    canvas.tissue(pose.to_px(box), rng.uniform(-48.0, -34.0), softness_px=1.5)
    for side in (-1.0, 1.0):
        wall = curve([[x, side * half], [x + length / 2, side * half * 1.1], [x + length, side * half * 0.9]], 20)
        canvas.surface(pose.to_px(wall), rng.uniform(2.0, 13.0), 0.03 * pose.unit_px, gaps=0.15)


def _thalami(canvas: Canvas, pose: Pose, x: float) -> None:
    rng = canvas.rng
    for side in (-1.0, 1.0):
        thalamus = blob(rng, x, side * 0.15, 0.24, 0.14, 0.04, side * 14.0)
        canvas.tissue(pose.to_px(thalamus), rng.uniform(-30.0, -22.0), softness_px=4.0, texture_db=1.5)
        rim = curve([[x - 0.25, side * 0.2], [x - 0.02, side * 0.31], [x + 0.24, side * 0.16]], 20)
        canvas.surface(pose.to_px(rim), rng.uniform(-10.0, 2.0), 0.03 * pose.unit_px, gaps=0.35)
    midline(canvas, pose, x - 0.2, x + 0.22, rng.uniform(-4.0, 8.0))


def insula(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """Draw the Sylvian fissure of the far side: a bright curved line half way to the skull."""
    y = flatness * canvas.rng.uniform(0.52, 0.66)
    fold = curve([[-0.35, y], [-0.05, y + 0.07], [0.2, y + 0.02], [0.36, y - 0.09]], 24)
    canvas.surface(pose.to_px(fold), canvas.rng.uniform(-4.0, 8.0), 0.035 * pose.unit_px, gaps=0.3)


def plexus(canvas: Canvas, pose: Pose, points: Points) -> None:
    """Fill an outline with choroid plexus: bright and coarse."""
    rng = canvas.rng
    canvas.tissue(pose.to_px(points), rng.uniform(-6.0, 2.0), softness_px=3.0, texture_db=4.0, texture_px=6.0)


def thalamic(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """Draw the cavum septi pellucidi and the thalami either side of a broken midline."""
    midline(canvas, pose, 0.5, 0.92, canvas.rng.uniform(2.0, 13.0))
    midline(canvas, pose, -0.9, -0.3, canvas.rng.uniform(-10.0, 6.0))
    _septal_cavity(canvas, pose, canvas.rng.uniform(0.24, 0.34))
    _thalami(canvas, pose, canvas.rng.uniform(-0.1, 0.05))
    insula(canvas, pose, flatness)
    if chance(canvas.rng, 0.5):
        plexus(canvas, pose, blob(canvas.rng, -0.4, 0.3, 0.14, 0.07, 0.08, 25.0))


def cerebellar(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """Two round hemispheres and the vermis behind the thalami, the cisterna magna dark behind them."""
    rng = canvas.rng
    midline(canvas, pose, 0.5, 0.9, rng.uniform(0.0, 12.0))
    _septal_cavity(canvas, pose, rng.uniform(0.26, 0.36))
    _thalami(canvas, pose, rng.uniform(0.02, 0.12))
    x, size = rng.uniform(-0.6, -0.5), rng.uniform(0.2, 0.27)
    canvas.tissue(
        pose.to_px(blob(rng, x - 0.24, 0.0, 0.13, size * 1.3, 0.05)), rng.uniform(-46.0, -32.0), softness_px=3.0
    )
    for side in (-1.0, 1.0):
        lobe = blob(rng, x, side * size * 0.95, size * 0.82, size * 0.95, 0.03)
        canvas.tissue(pose.to_px(lobe), rng.uniform(-22.0, -13.0), softness_px=2.0, texture_db=2.0)
        rim = arc(x, side * size * 0.95, size * 0.82, size * 0.95, 0.0, 360.0, 48)
        canvas.surface(pose.to_px(rim), rng.uniform(-2.0, 9.0), 0.03 * pose.unit_px, gaps=0.2)
    canvas.tissue(pose.to_px(blob(rng, x, 0.0, size * 0.5, size * 0.3, 0.05)), rng.uniform(-6.0, 2.0), softness_px=3.0)
    insula(canvas, pose, flatness)


def ventricular(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """Draw an unbroken midline and the far lateral ventricle: dark between two walls, filled by the choroid plexus."""
    rng = canvas.rng
    midline(canvas, pose, -0.9, 0.3, rng.uniform(0.0, 12.0))
    midline(canvas, pose, 0.5, 0.92, rng.uniform(2.0, 13.0))
    if chance(rng, 0.7):
        _septal_cavity(canvas, pose, rng.uniform(0.24, 0.34))
    atrium = rng.uniform(0.16, 0.24)
    medial = curve([[0.35, 0.12], [0.0, 0.17], [-0.35, 0.22], [-0.68, 0.26]], 30)
    lateral = curve([[0.35, 0.2], [0.0, 0.34], [-0.35, 0.26 + atrium], [-0.68, 0.28 + atrium]], 30)
    canvas.tissue(pose.to_px(np.vstack([medial, lateral[::-1]])), rng.uniform(-48.0, -34.0), softness_px=2.5)
    for wall in (medial, lateral):
        canvas.surface(pose.to_px(wall), rng.uniform(-2.0, 9.0), 0.03 * pose.unit_px, gaps=0.25)
    plexus(canvas, pose, blob(rng, -0.2, 0.28, rng.uniform(0.18, 0.28), rng.uniform(0.07, 0.11), 0.08, -10.0))
    insula(canvas, pose, flatness * 1.1)
