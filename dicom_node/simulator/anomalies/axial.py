"""Axial planes of the head. Body coordinates: half the occipito-frontal diameter is 1, the forehead at +x."""

from __future__ import annotations

import numpy as np

from dicom_node.simulator.anomalies.fetus import (
    ANENCEPHALY,
    ENCEPHALOCELE,
    HOLOPROSENCEPHALY,
    RACHISCHISIS,
    Fetus,
)
from dicom_node.simulator.anomalies.lesions import defect_deg, exposed_tissue, orbit, sac
from dicom_node.simulator.axial_head import (
    cerebellar,
    insula,
    midline,
    plexus,
    skull_and_brain,
    thalamic,
    ventricular,
)
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve
from dicom_node.simulator.surroundings import chance

INDENT_DEG, INDENT_WIDTH_DEG = 42.0, 17.0  #: of the frontal bones in the lemon sign


class LemonPose(Pose):
    """A head whose frontal bones are scalloped: everything in front at both sides is pressed towards the midline."""

    __slots__ = ()

    def to_px(self, points: object) -> Points:
        """Body coordinates (N, 2) to image coordinates."""
        body = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        angle = np.degrees(np.arctan2(np.abs(body[:, 1]), body[:, 0]))
        press = 0.17 * np.exp(-(((angle - INDENT_DEG) / INDENT_WIDTH_DEG) ** 2))
        return Pose.to_px(self, body * (1.0 - press)[:, None])


def draw_axial(canvas: Canvas, pose: Pose, fetus: Fetus, *, shown: bool) -> Points | None:
    """Draw the head in one of its axial planes; gives the lesion's outline in pixels where the plane shows it."""
    lesion = fetus.label if shown else ""
    if lesion == ANENCEPHALY:
        return _skull_base(canvas, pose, fetus)
    if lesion == RACHISCHISIS:
        return _lemon_and_banana(canvas, pose, fetus)
    skull_and_brain(canvas, pose, fetus.flatness, defect_deg(fetus) if lesion == ENCEPHALOCELE else None)
    if lesion == HOLOPROSENCEPHALY:
        return _single_ventricle(canvas, pose, fetus)
    _brain(canvas, pose, fetus)
    if lesion == ENCEPHALOCELE:
        edge = arc(0.0, 0.0, 1.0, fetus.flatness, fetus.sac_deg, fetus.sac_deg, 1)[0]
        return sac(canvas, pose, fetus, edge)
    return None


def _brain(canvas: Canvas, pose: Pose, fetus: Fetus) -> None:
    if fetus.first_trimester:
        _butterfly(canvas, pose, fetus.flatness)
        return
    (thalamic, cerebellar, ventricular)[int(canvas.rng.choice(3, p=(0.45, 0.3, 0.25)))](canvas, pose, fetus.flatness)


def _butterfly(canvas: Canvas, pose: Pose, flatness: float) -> None:
    """First trimester: two large bright plexuses in fluid on either side of an unbroken midline."""
    rng = canvas.rng
    midline(canvas, pose, -0.9, 0.92, rng.uniform(0.0, 12.0))
    for side in (-1.0, 1.0):
        fluid = blob(rng, -0.02, side * 0.42 * flatness, 0.78, 0.3 * flatness, 0.04)
        canvas.tissue(pose.to_px(fluid), rng.uniform(-44.0, -32.0), softness_px=3.0)
        body = blob(rng, rng.uniform(-0.3, -0.1), side * 0.44 * flatness, 0.42, 0.2, 0.08, side * rng.uniform(-12, 20))
        plexus(canvas, pose, body)


def _skull_base(canvas: Canvas, pose: Pose, fetus: Fetus) -> Points:
    """No vault: bony skull base and orbits in front, ragged tissue on and behind them."""
    rng, unit = canvas.rng, pose.unit_px
    flesh = blob(rng, 0.15, 0.0, 0.62, 0.52, 0.07)
    canvas.tissue(pose.to_px(flesh), rng.uniform(-14.0, -6.0), softness_px=2.5, texture_db=4.0, texture_px=7.0)
    for side in (-1.0, 1.0):
        wing = curve([[0.45, side * 0.42], [0.2, side * 0.2], [-0.05, side * 0.12], [-0.3, side * 0.36]], 30)
        canvas.surface(pose.to_px(wing), rng.uniform(6.0, 16.0), 0.08 * unit, directivity=0.8, gaps=0.2, loss_db=0.15)
        if chance(rng, 0.7):
            orbit(canvas, pose, 0.52, side * 0.28, rng.uniform(0.16, 0.22))
    spread = 0.35 + 0.5 * fetus.remnant
    return exposed_tissue(canvas, pose, -0.3, rng.normal(0.0, 0.06), (spread, spread * rng.uniform(0.7, 1.1)))


def _single_ventricle(canvas: Canvas, pose: Pose, fetus: Fetus) -> Points:
    """Holoprosencephaly: one ventricle across the midline over fused thalami, a thin mantle, no falx, no cavum."""
    rng, flatness = canvas.rng, fetus.flatness
    back = rng.uniform(0.55, 0.75) if fetus.alobar else rng.uniform(0.1, 0.35)
    front, half = rng.uniform(0.5, 0.7), flatness * rng.uniform(0.6, 0.78)
    control = [[-back, 0.0], [-0.5 * back, half], [0.3 * front, 1.05 * half], [front, 0.0]]
    right = np.vstack([curve(control, 40)])
    ventricle = np.vstack([right, (right * np.array([1.0, -1.0]))[::-1]])
    canvas.tissue(pose.to_px(ventricle), rng.uniform(-48.0, -36.0), softness_px=3.0)
    for wall in (right, right * np.array([1.0, -1.0])):
        canvas.surface(pose.to_px(wall), rng.uniform(-6.0, 6.0), 0.03 * pose.unit_px, gaps=0.3)
    x = rng.uniform(-0.35, -0.15)
    thalami = blob(rng, x, 0.0, rng.uniform(0.24, 0.32), rng.uniform(0.3, 0.4), 0.05)
    canvas.tissue(pose.to_px(thalami), rng.uniform(-20.0, -12.0), softness_px=3.0, texture_db=2.5)
    rim = arc(x, 0.0, 0.27, 0.34, -75.0, 75.0, 30)
    canvas.surface(pose.to_px(rim), rng.uniform(-6.0, 6.0), 0.03 * pose.unit_px, gaps=0.3)
    if not fetus.alobar:
        midline(canvas, pose, -0.9, -0.5, rng.uniform(-6.0, 6.0))
        for side in (-1.0, 1.0):
            horn = blob(rng, -0.52, side * 0.3 * flatness, 0.22, 0.1, 0.08, side * -15.0)
            canvas.tissue(pose.to_px(horn), rng.uniform(-46.0, -34.0), softness_px=2.5)
    return pose.to_px(np.vstack([ventricle, thalami]))


def _lemon_and_banana(canvas: Canvas, pose: Pose, fetus: Fetus) -> Points:
    """Signs of an open spine in the head: scalloped frontal bones, a curved cerebellum, no cisterna magna."""
    rng = canvas.rng
    bent = LemonPose(pose.x_px, pose.y_px, pose.unit_px, pose.turn_deg, pose.mirrored)
    skull_and_brain(canvas, bent, fetus.flatness)
    if fetus.first_trimester:
        _butterfly(canvas, bent, fetus.flatness)
    else:
        midline(canvas, bent, 0.2, 0.85, rng.uniform(-4.0, 10.0))
        insula(canvas, bent, fetus.flatness)
        bow = arc(-0.45, 0.0, 0.36, 0.42, 100.0, 260.0, 40)
        inner = arc(-0.36, 0.0, 0.24, 0.4, 100.0, 260.0, 40)[::-1]
        canvas.tissue(bent.to_px(np.vstack([bow, inner])), rng.uniform(-20.0, -11.0), softness_px=2.5, texture_db=2.5)
        for edge in (bow, inner):
            canvas.surface(bent.to_px(edge), rng.uniform(-6.0, 5.0), 0.03 * pose.unit_px, gaps=0.25)
    return bent.to_px(arc(0.0, 0.0, 1.0, fetus.flatness))
