"""Mid-sagittal head and neck. Body coordinates: vertex at -x, face up (-y), the trunk leaves at +x."""

from __future__ import annotations

import numpy as np

from dicom_node.simulator.anomalies.fetus import ANENCEPHALY, ENCEPHALOCELE, HOLOPROSENCEPHALY, Fetus
from dicom_node.simulator.anomalies.lesions import exposed_tissue, orbit, sac
from dicom_node.simulator.axial_head import outside_defect
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.surroundings import chance

CENTRE_X, HALF_LENGTH, HALF_HEIGHT = -0.22, 0.7, 0.62  #: of the vault
NAPE_DEG, VERTEX_DEG, BROW_DEG = 52.0, 180.0, 298.0  #: of the vault, clockwise from +x


def draw_profile(canvas: Canvas, pose: Pose, fetus: Fetus, *, shown: bool) -> Points | None:
    """Draw head and neck from the side; gives the lesion's outline in pixels where the plane shows it."""
    rng = canvas.rng
    lesion = fetus.label if shown else ""
    _neck_and_trunk(canvas, pose)
    outline: Points | None = None
    if lesion == ANENCEPHALY:
        rise = fetus.remnant
        outline = exposed_tissue(canvas, pose, -0.02 - 0.3 * rise, -0.05, (0.14 + 0.5 * rise, 0.38))
        _face(canvas, pose)
        eye = orbit(canvas, pose, 0.12, -0.36, rng.uniform(0.13, 0.17))
        return np.vstack([outline, eye])
    _vault(canvas, pose, _defect(fetus) if lesion == ENCEPHALOCELE else None)
    _face(canvas, pose)
    if lesion == HOLOPROSENCEPHALY:
        ventricle = blob(rng, -0.36, -0.1, 0.44, 0.4, 0.05)
        canvas.tissue(pose.to_px(ventricle), rng.uniform(-46.0, -36.0), softness_px=3.0)
        outline = pose.to_px(ventricle)
    else:
        _brain(canvas, pose, fetus)
    if lesion == ENCEPHALOCELE:
        start, end = _defect(fetus)
        edge = _ellipse((start + end) / 2.0, (start + end) / 2.0, 1)[0]
        centre = np.array([CENTRE_X, 0.0])
        middle = pose.to_px(centre)[0]
        sac_pose = Pose(float(middle[0]), float(middle[1]), pose.unit_px, pose.turn_deg, pose.mirrored)
        outline = sac(canvas, sac_pose, fetus, edge - centre)
    return outline


def _ellipse(start_deg: float, end_deg: float, count: int) -> Points:
    return arc(CENTRE_X, 0.0, HALF_LENGTH, HALF_HEIGHT, start_deg, end_deg, count)


def _defect(fetus: Fetus) -> tuple[float, float]:
    """Where the sagittal plane cuts the skull's defect: the back of the head, or the brow for a frontal sac."""
    at = 92.0 + 0.8 * (fetus.sac_deg - 180.0) if fetus.occipital else 255.0
    half = 10.0 + 30.0 * fetus.sac_radius
    return at - half, at + half


def _neck_and_trunk(canvas: Canvas, pose: Pose) -> None:
    """Neck and chest with the spine as a row of bright dots."""
    rng = canvas.rng
    back = curve([[-0.1, 0.52], [0.45, 0.4], [1.2, 0.5], [2.4, 0.55]], 40)
    chest = rng.uniform(-0.5, -0.2)
    front = curve([[0.2, -0.1], [0.5, -0.12], [0.95, chest], [2.4, chest - 0.1]], 40)
    canvas.tissue(
        pose.to_px(np.vstack([back, front[::-1]])),
        rng.uniform(-13.0, -6.0),
        softness_px=2.5,
        texture_db=4.0,
        texture_px=7.0,
    )
    canvas.surface(pose.to_px(back), rng.uniform(0.0, 10.0), 0.03 * pose.unit_px, directivity=2.0, gaps=0.2)
    for x in np.arange(0.3, 2.3, 0.11):
        for y in (0.19, 0.29):
            dot = pose.to_px([[x - 0.018, y + rng.normal(0.0, 0.006)], [x + 0.018, y + rng.normal(0.0, 0.006)]])
            canvas.surface(dot, rng.uniform(5.0, 13.0), 0.035 * pose.unit_px, directivity=0.5, loss_db=0.12)


def _vault(canvas: Canvas, pose: Pose, defect: tuple[float, float] | None) -> None:
    rng, unit = canvas.rng, pose.unit_px
    canvas.tissue(
        pose.to_px(arc(CENTRE_X, 0.0, HALF_LENGTH * 1.06, HALF_HEIGHT * 1.06)),
        rng.uniform(-16.0, -8.0),
        texture_db=3.0,
    )
    canvas.tissue(
        pose.to_px(arc(CENTRE_X, 0.0, HALF_LENGTH * 0.97, HALF_HEIGHT * 0.97)),
        rng.uniform(-25.0, -16.0),
        texture_db=4.0,
        texture_px=9.0,
    )
    bone = _ellipse(NAPE_DEG, BROW_DEG, 120)
    level, thickness = rng.uniform(10.0, 19.0), rng.uniform(0.05, 0.085) * unit
    for part in outside_defect(bone, NAPE_DEG, BROW_DEG, defect):
        canvas.surface(pose.to_px(part), level, thickness, directivity=rng.uniform(1.0, 2.8), gaps=0.1, loss_db=0.1)


def _brain(canvas: Canvas, pose: Pose, fetus: Fetus) -> None:
    """Thalamus, brain stem and cerebellum; above them plexus (early) or corpus callosum and cavum (later)."""
    rng, unit = canvas.rng, pose.unit_px
    canvas.tissue(pose.to_px(blob(rng, -0.12, 0.02, 0.17, 0.14, 0.04)), rng.uniform(-29.0, -21.0), softness_px=4.0)
    canvas.tissue(pose.to_px(blob(rng, 0.1, 0.2, 0.12, 0.2, 0.05, -30.0)), rng.uniform(-28.0, -20.0), softness_px=4.0)
    cerebellum = blob(rng, -0.02, 0.4, 0.16, 0.1, 0.06, -20.0)
    canvas.tissue(pose.to_px(cerebellum), rng.uniform(-12.0, -5.0), softness_px=2.5, texture_db=3.0)
    if fetus.first_trimester:
        front = blob(rng, -0.3, -0.28, 0.32, 0.22, 0.06)
        canvas.tissue(pose.to_px(front), rng.uniform(-40.0, -28.0), softness_px=4.0)
        tuft = blob(rng, -0.55, 0.05, 0.26, 0.28, 0.08)
        canvas.tissue(pose.to_px(tuft), rng.uniform(-12.0, -4.0), softness_px=4.0, texture_db=5.0, texture_px=7.0)
        return
    for lift, level in ((0.0, rng.uniform(-2.0, 9.0)), (0.1, rng.uniform(-8.0, 4.0))):
        body = arc(-0.2, 0.0, 0.34 + lift, 0.26 + lift, 180.0, 330.0, 40)
        canvas.surface(pose.to_px(body), level, 0.025 * unit, directivity=1.0, gaps=0.25)
    cavum = blob(rng, -0.12, -0.17, 0.14, 0.06, 0.06)
    canvas.tissue(pose.to_px(cavum), rng.uniform(-44.0, -32.0), softness_px=1.5)


def _face(canvas: Canvas, pose: Pose) -> None:
    """Profile with nasal bone, maxilla and mandible."""
    rng, unit = canvas.rng, pose.unit_px
    line = [[-0.05, -0.52], [0.12, -0.6], [0.26, -0.72], [0.36, -0.6], [0.5, -0.58], [0.6, -0.42], [0.62, -0.2]]
    flesh = np.vstack([np.array(line), [[0.4, 0.1], [0.0, -0.05]]])
    canvas.tissue(pose.to_px(flesh), rng.uniform(-13.0, -6.0), softness_px=3.0, texture_db=4.0, texture_px=6.0)
    for bone in (
        curve([[0.08, -0.56], [0.15, -0.6], [0.21, -0.63]], 12),
        curve([[0.14, -0.3], [0.26, -0.4], [0.36, -0.48]], 16),
        curve([[0.36, -0.22], [0.46, -0.34], [0.52, -0.46]], 16),
    ):
        canvas.surface(pose.to_px(bone), rng.uniform(8.0, 16.0), 0.05 * unit, directivity=0.8, gaps=0.1, loss_db=0.15)
    if chance(rng, 0.6):
        orbit(canvas, pose, 0.1, -0.38, 0.09)
