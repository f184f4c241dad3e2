"""Where structures can lie: what is further from its place in the head than any drawn box is not that structure.

Thalami, midbrain and palate, which are hardly ever missed, give the frame of the head: their centre, their spread, and
the side to which the face looks. In it the centre of every structure has a mean and a covariance, learned from the
boxes of the train split by ``dicom_node.training.anatomy``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicom_node.tasks.structures.net import STRUCTURES

Numbers = npt.NDArray[np.floating[Any]]
ANCHORS = ("thalami", "midbrain", "palate")
SURE = 0.25  #: score from which an anchor is taken for one
#: Squared Mahalanobis distance beyond which a place is implausible. Of the drawn boxes of the train split 1 in 1000 is
#: further than about 20; the rest is room for what that split does not show, anomalies among it.
FURTHEST = 40.0


class Place(NamedTuple):
    """Mean and covariance of a structure's centre in the frame of the head (x to the face, y down; no unit)."""

    x: float
    y: float
    xx: float
    xy: float
    yy: float

    def distance(self, points: Numbers) -> Numbers:
        """Give the squared Mahalanobis distance of points (n, 2)."""
        x, y = points[:, 0] - self.x, points[:, 1] - self.y
        spread = self.xx * self.yy - self.xy**2
        return np.asarray((self.yy * x**2 - 2 * self.xy * x * y + self.xx * y**2) / spread)


PLACES = {
    "thalami": Place(x=-0.25746, y=-0.10712, xx=0.00083, xy=-0.00038, yy=0.00135),
    "midbrain": Place(x=-0.40935, y=0.43712, xx=0.00182, xy=0.00113, yy=0.00125),
    "palate": Place(x=0.66682, y=-0.32999, xx=0.00091, xy=0.00174, yy=0.00389),
    "fourth_ventricle": Place(x=-0.09328, y=0.61498, xx=0.00354, xy=0.0004, yy=0.00145),
    "cisterna_magna": Place(x=-0.03828, y=0.82983, xx=0.01261, xy=0.00032, yy=0.00244),
    "nuchal_translucency": Place(x=0.76929, y=1.08508, xx=0.1477, xy=-0.01004, yy=0.00799),
    "nasal_tip": Place(x=0.74161, y=-0.8394, xx=0.00547, xy=0.00362, yy=0.00698),
    "nasal_skin": Place(x=0.58456, y=-0.81316, xx=0.00764, xy=0.00409, yy=0.00543),
    "nasal_bone": Place(x=0.55475, y=-0.73073, xx=0.00497, xy=0.00303, yy=0.00493),
}


class HeadFrame(NamedTuple):
    """Where a head's frame lies in the picture: centre and size in pixels, and +1 when the face looks to the right."""

    centre: Numbers
    size: float
    side: float

    def of(self, boxes: Numbers) -> Numbers:
        """Give the centres (n, 2) of boxes (n, 4) in this frame."""
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.asarray((middle - self.centre) / self.size * [self.side, 1.0])


def head_frame(anchors: Numbers) -> HeadFrame:
    """Give the frame of the head from the boxes (3, 4) of its anchors."""
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2
    centre = middles.mean(axis=0)
    size = max(float(np.sqrt(((middles - centre) ** 2).sum())), 1e-6)
    return HeadFrame(centre, size, 1.0 if middles[2, 0] >= middles[0, 0] else -1.0)


def plausible(boxes: Numbers, scores: Numbers) -> npt.NDArray[np.bool_]:
    """Say which boxes (9, k, 4) with scores (9, k) may be the structure that they are proposed for.

    Where an anchor is missing, or the anchors do not lie as they do in a head, nothing is known and all may be.
    """
    rows = [STRUCTURES.index(name) for name in ANCHORS]
    best = scores.argmax(axis=1)
    anchors = boxes[rows, best[rows]]
    everything = np.ones(scores.shape, dtype=bool)
    if scores[rows].max(axis=1).min() < SURE:
        return everything
    frame = head_frame(anchors)
    if any(
        PLACES[name].distance(frame.of(box[None]))[0] > FURTHEST for name, box in zip(ANCHORS, anchors, strict=True)
    ):
        return everything
    return np.stack([PLACES[n].distance(frame.of(own)) <= FURTHEST for n, own in zip(STRUCTURES, boxes, strict=True)])
