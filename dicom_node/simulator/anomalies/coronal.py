"""Coronal head through the orbits and the front of the brain. Body coordinates: vertex at -y, semi-height about 1."""

from __future__ import annotations

import numpy as np

from dicom_node.simulator.anomalies.fetus import ANENCEPHALY, ENCEPHALOCELE, HOLOPROSENCEPHALY, Fetus
from dicom_node.simulator.anomalies.lesions import exposed_tissue, orbit, sac
from dicom_node.simulator.axial_head import outside_defect
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.surroundings import chance

CENTRE_Y, HALF_WIDTH, HALF_HEIGHT = -0.18, 0.66, 0.7  #: of the vault
EYES_Y = 0.32


def draw_coronal(canvas: Canvas, pose: Pose, fetus: Fetus, *, shown: bool) -> Points | None:
    """Draw vault, brain and face from the front; gives the lesion's outline in pixels where the plane shows it."""
    lesion = fetus.label if shown else ""
    single_eye = lesion == HOLOPROSENCEPHALY and fetus.alobar and chance(canvas.rng, 0.35)
    _face(canvas, pose, neck=not single_eye)
    outline: Points | None = None
    if lesion == ANENCEPHALY:
        outline = exposed_tissue(canvas, pose, 0.0, -0.02 - 0.4 * fetus.remnant, (0.5, 0.16 + 0.5 * fetus.remnant))
    else:
        outline = _vault_and_brain(canvas, pose, fetus, lesion)
    apart = 0.27 if lesion != HOLOPROSENCEPHALY else 0.18  # eyes stand close in holoprosencephaly
    if single_eye:
        orbit(canvas, pose, 0.0, EYES_Y, canvas.rng.uniform(0.15, 0.2))
    else:
        radius = canvas.rng.uniform(0.16, 0.2) if lesion == ANENCEPHALY else canvas.rng.uniform(0.11, 0.15)
        rims = [orbit(canvas, pose, side * apart, EYES_Y - (radius - 0.12), radius) for side in (-1.0, 1.0)]
        if lesion == ANENCEPHALY and outline is not None:
            outline = np.vstack([outline, *rims])
    return outline


def _face(canvas: Canvas, pose: Pose, *, neck: bool) -> None:
    rng, unit = canvas.rng, pose.unit_px
    flesh = np.vstack([curve([[-0.55, 0.15], [-0.5, 0.55], [-0.25, 0.85], [0.0, 0.95]], 30)])
    outline = np.vstack([flesh, (flesh * np.array([-1.0, 1.0]))[::-1]])
    canvas.tissue(pose.to_px(outline), rng.uniform(-13.0, -6.0), softness_px=3.0, texture_db=4.0, texture_px=7.0)
    for y, half in ((0.56, 0.16), (0.74, 0.22)):  # maxilla and mandible
        bone = curve([[-half, y + 0.03], [0.0, y - 0.04], [half, y + 0.03]], 24)
        canvas.surface(pose.to_px(bone), rng.uniform(6.0, 15.0), 0.05 * unit, directivity=0.8, gaps=0.15, loss_db=0.12)
    if neck:
        nose = curve([[0.0, 0.3], [0.01, 0.4], [0.0, 0.5]], 12)
        canvas.surface(pose.to_px(nose), rng.uniform(0.0, 10.0), 0.05 * unit, gaps=0.1)


def _vault_and_brain(canvas: Canvas, pose: Pose, fetus: Fetus, lesion: str) -> Points | None:
    rng, unit = canvas.rng, pose.unit_px
    canvas.tissue(
        pose.to_px(arc(0.0, CENTRE_Y, HALF_WIDTH * 1.07, HALF_HEIGHT * 1.07)), rng.uniform(-16.0, -8.0), texture_db=3.0
    )
    canvas.tissue(
        pose.to_px(arc(0.0, CENTRE_Y, HALF_WIDTH * 0.97, HALF_HEIGHT * 0.97)),
        rng.uniform(-26.0, -17.0),
        texture_db=4.0,
        texture_px=9.0,
    )
    # The vault runs from one side of the skull base (150 degrees) over the vertex (270) to the other (390).
    at_deg = 270.0 + float(np.clip(fetus.sac_deg - 180.0, -80.0, 80.0)) * (1.0 if chance(rng, 0.5) else -1.0)
    half = 10.0 + 30.0 * fetus.sac_radius
    defect = (at_deg - half, at_deg + half) if lesion == ENCEPHALOCELE else None
    vault = arc(0.0, CENTRE_Y, HALF_WIDTH, HALF_HEIGHT, 150.0, 390.0, 100)
    level, thickness = rng.uniform(10.0, 19.0), rng.uniform(0.05, 0.08) * unit
    for part in outside_defect(vault, 150.0, 390.0, defect):
        canvas.surface(pose.to_px(part), level, thickness, directivity=rng.uniform(1.0, 2.5), gaps=0.1, loss_db=0.1)
    if lesion == HOLOPROSENCEPHALY:
        return _horseshoe(canvas, pose, fetus)
    _halves(canvas, pose, fetus)
    if lesion == ENCEPHALOCELE:
        edge = arc(0.0, CENTRE_Y, HALF_WIDTH, HALF_HEIGHT, at_deg, at_deg, 1)[0]
        return sac(canvas, pose, fetus, edge)
    return None


def _halves(canvas: Canvas, pose: Pose, fetus: Fetus) -> None:
    """Falx from the vertex, a ventricle on either side (full of plexus before 14 weeks), thalami below."""
    rng, unit = canvas.rng, pose.unit_px
    falx = curve([[rng.normal(0.0, 0.01), -0.84], [rng.normal(0.0, 0.015), -0.5], [0.0, -0.25]], 30)
    canvas.surface(pose.to_px(falx), rng.uniform(0.0, 12.0), 0.03 * unit, directivity=0.5, gaps=0.2)
    size = (0.22, 0.32) if fetus.first_trimester else (rng.uniform(0.06, 0.1), rng.uniform(0.14, 0.22))
    for side in (-1.0, 1.0):
        fluid = blob(rng, side * (0.1 + size[0]), -0.36, size[0], size[1], 0.06, side * 14.0)
        canvas.tissue(pose.to_px(fluid), rng.uniform(-46.0, -34.0), softness_px=2.0)
        if fetus.first_trimester or chance(rng, 0.5):
            tuft = blob(rng, side * (0.1 + size[0]), -0.3, size[0] * 0.6, size[1] * 0.6, 0.08)
            canvas.tissue(pose.to_px(tuft), rng.uniform(-6.0, 2.0), softness_px=2.0, texture_db=4.0, texture_px=5.0)
        thalamus = blob(rng, side * 0.13, 0.0, 0.12, 0.13, 0.04)
        canvas.tissue(pose.to_px(thalamus), rng.uniform(-28.0, -21.0), softness_px=3.0)
        fold = curve([[side * 0.5, -0.25], [side * 0.38, -0.18], [side * 0.46, -0.05]], 16)
        canvas.surface(pose.to_px(fold), rng.uniform(-8.0, 4.0), 0.03 * unit, gaps=0.3)


def _horseshoe(canvas: Canvas, pose: Pose, fetus: Fetus) -> Points:
    """One ventricle arched over fused thalami, without a falx."""
    rng = canvas.rng
    wide, high = rng.uniform(0.4, 0.54), rng.uniform(0.34, 0.46)
    if not fetus.alobar:
        wide, high = 0.8 * wide, 0.8 * high
    ventricle = blob(rng, 0.0, -0.34, wide, high, 0.04)
    canvas.tissue(pose.to_px(ventricle), rng.uniform(-48.0, -36.0), softness_px=3.0)
    canvas.surface(
        pose.to_px(np.vstack([ventricle, ventricle[:1]])), rng.uniform(-6.0, 6.0), 0.03 * pose.unit_px, gaps=0.3
    )
    thalami = blob(rng, 0.0, 0.02, rng.uniform(0.26, 0.34), rng.uniform(0.2, 0.28), 0.05)
    canvas.tissue(pose.to_px(thalami), rng.uniform(-20.0, -12.0), softness_px=3.0, texture_db=2.5)
    return pose.to_px(np.vstack([ventricle, thalami]))
