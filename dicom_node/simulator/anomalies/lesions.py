"""What several views show alike: a sac through a gap in the skull, ragged exposed tissue, an orbit."""

from __future__ import annotations

import numpy as np

from dicom_node.simulator.anomalies.fetus import Fetus
from dicom_node.simulator.canvas import Canvas, Points, Pose, arc, blob, curve


def defect_deg(fetus: Fetus) -> tuple[float, float]:
    """Angles between which the skull is missing: about a third of the sac's width, never wider than the sac."""
    half = 10.0 + 30.0 * fetus.sac_radius
    return fetus.sac_deg - half, fetus.sac_deg + half


def sac(canvas: Canvas, pose: Pose, fetus: Fetus, at_edge: Points) -> Points:
    """Draw the sac on the skull's defect at a point (2,) of its outline; gives the lesion's outline in pixels.

    A meningocele is a thin-walled bag of clear fluid; an encephalocele holds brain that comes through the gap.
    """
    rng, radius = canvas.rng, fetus.sac_radius
    away = at_edge / np.linalg.norm(at_edge)
    x, y = at_edge + away * radius * 0.8
    turn = float(np.degrees(np.arctan2(away[1], away[0])))
    outline = blob(rng, x, y, radius, radius * rng.uniform(0.75, 1.0), 0.06, turn)
    neck = at_edge + np.outer([-0.25, 0.5], away)
    across = np.array([-away[1], away[0]]) * radius * 0.38
    stalk = pose.to_px(np.vstack([neck[0] - across, neck[1] - across, neck[1] + across, neck[0] + across]))
    canvas.tissue(pose.to_px(outline), rng.uniform(-48.0, -36.0), softness_px=1.5)
    canvas.tissue(stalk, rng.uniform(-40.0, -30.0), softness_px=2.5)
    if fetus.sac_holds_brain:
        level, fill = rng.uniform(-20.0, -11.0), rng.uniform(0.55, 0.85)
        brain = blob(rng, x - 0.1 * radius * away[0], y - 0.1 * radius * away[1], radius * fill, radius * fill, 0.14)
        for shape in (pose.to_px(brain), stalk):
            canvas.tissue(shape, level, softness_px=2.5, texture_db=4.5, texture_px=5.0)
        for _ in range(int(rng.integers(2, 6))):
            spot = np.array([x, y]) + rng.normal(0.0, 0.3 * radius, 2)
            fold = curve([spot, spot + rng.normal(0.0, 0.2 * radius, 2), spot + rng.normal(0.0, 0.3 * radius, 2)], 12)
            canvas.surface(pose.to_px(fold), rng.uniform(-8.0, 2.0), 0.03 * pose.unit_px, gaps=0.2)
    wall = np.vstack([outline, outline[:1]])
    canvas.surface(
        pose.to_px(wall),
        rng.uniform(0.0, 12.0),
        rng.uniform(0.02, 0.045) * pose.unit_px,
        directivity=1.2,
        gaps=rng.uniform(0.05, 0.25),
    )
    return pose.to_px(np.vstack([outline, at_edge[None, :]]))


def exposed_tissue(canvas: Canvas, pose: Pose, x: float, y: float, size: tuple[float, float]) -> Points:
    """Draw area cerebrovasculosa: ragged, blotchy tissue that no bone covers; gives its outline in pixels."""
    rng = canvas.rng
    outline = blob(rng, x, y, size[0], size[1], 0.22)
    canvas.tissue(pose.to_px(outline), rng.uniform(-16.0, -7.0), softness_px=2.5, texture_db=6.0, texture_px=6.0)
    for _ in range(int(rng.integers(1, 4))):
        at = rng.normal([x, y], [0.5 * size[0], 0.4 * size[1]])
        cyst = blob(rng, at[0], at[1], 0.05, 0.04, 0.15)
        canvas.tissue(pose.to_px(cyst), rng.uniform(-42.0, -28.0), softness_px=1.5)
    for _ in range(int(rng.integers(4, 10))):
        spot = rng.normal([x, y], [0.4 * size[0], 0.4 * size[1]])
        strand = curve([spot, spot + rng.normal(0.0, 0.08, 2), spot + rng.normal(0.0, 0.12, 2)], 12)
        canvas.surface(pose.to_px(strand), rng.uniform(-8.0, 4.0), 0.03 * pose.unit_px, gaps=0.3)
    return pose.to_px(outline)


def orbit(canvas: Canvas, pose: Pose, x: float, y: float, radius: float) -> Points:
    """Draw a dark globe with its lens in a bright bony rim; gives the rim in pixels."""
    rng = canvas.rng
    rim = arc(x, y, radius, radius * rng.uniform(0.85, 1.0), 0.0, 360.0, 60)
    canvas.tissue(pose.to_px(rim), rng.uniform(-44.0, -30.0), softness_px=1.5)
    canvas.surface(
        pose.to_px(rim),
        rng.uniform(6.0, 15.0),
        0.04 * pose.unit_px,
        directivity=0.7,
        gaps=rng.uniform(0.1, 0.25),
        loss_db=0.1,
    )
    lens = arc(x, y - 0.35 * radius, 0.25 * radius, 0.25 * radius, 0.0, 360.0, 20)
    canvas.surface(pose.to_px(lens), rng.uniform(-10.0, 2.0), 0.015 * pose.unit_px, gaps=0.2)
    return pose.to_px(rim)
