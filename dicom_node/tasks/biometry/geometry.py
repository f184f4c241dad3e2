"""From a mask to a shape and from a shape to its size, in pixels or millimetres. Pure; OpenCV and numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]
Likely = npt.NDArray[np.float32]  #: a map of probabilities
HALF = 0.5  #: more likely than not
BRIDGES = (0.35, 0.2)  #: how likely the bridge between two pieces of one thing may be, tried in this order
WHOLE = 0.95  #: of a thing's sure pixels are the whole thing: specks are not worth a bridge


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse as the image of the unit circle: ``centre`` (2,) and ``axes`` (2, 2), whose columns are semi-axes."""

    centre: Array
    axes: Array

    @classmethod
    def of(cls, centre: tuple[float, float], semi_major: float, semi_minor: float, angle_deg: float) -> Ellipse:
        """Make one from its lengths; the angle is that of the major axis, clockwise from +x (y points down)."""
        turn = np.deg2rad(angle_deg)
        along = np.array([np.cos(turn), np.sin(turn)])
        across = np.array([-along[1], along[0]])
        return cls(np.array(centre, dtype=np.float64), np.stack([along * semi_major, across * semi_minor], axis=1))

    @classmethod
    def of_ends(cls, ends: Array) -> Ellipse:
        """Make one from the ends of one axis, then of the other (4, 2: x, y), as an ELLIPSE of SCOORD has them."""
        return cls(ends.mean(axis=0), np.stack([(ends[0] - ends[1]) / 2, (ends[2] - ends[3]) / 2], axis=1))

    def scaled(self, scale: tuple[float, float]) -> Ellipse:
        """Give it in other units per x and per y, with its true principal axes there (longest first).

        A stretched ellipse is an ellipse, but its axes are not the stretched axes: they are the singular vectors of
        the stretched map.
        """
        stretch = np.array(scale, dtype=np.float64)
        turned, lengths, _ = np.linalg.svd(stretch[:, None] * self.axes)
        return Ellipse(self.centre * stretch, turned * lengths)

    @property
    def lengths(self) -> tuple[float, float]:
        """Both semi-axes, as they stand in ``axes``."""
        return float(np.linalg.norm(self.axes[:, 0])), float(np.linalg.norm(self.axes[:, 1]))

    @property
    def circumference(self) -> float:
        """HC or AC as it is measured in the clinic: pi / 2 times the sum of both axes.

        So have it Hadlock 1982 (1.57 times the sum) and the labels of the landmarks. The perimeter of the outline is
        0.5 % longer for a head twice as long as wide, and 0.3 % for most.
        """
        return float(np.pi * sum(self.lengths))

    @property
    def perimeter(self) -> float:
        """Length of the outline (:func:`ellipse_perimeter`)."""
        return ellipse_perimeter(*self.lengths)

    def ends(self, axis: int) -> Array:
        """Both ends (2, 2: x, y) of an axis."""
        return np.stack([self.centre + self.axes[:, axis], self.centre - self.axes[:, axis]])

    def outline(self, count: int = 64) -> Array:
        """Points (count, 2: x, y) along it."""
        angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
        return np.asarray(self.centre + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ self.axes.T)


def ellipse_perimeter(a: float, b: float) -> float:
    """Perimeter of an ellipse with semi-axes ``a`` and ``b``, in their unit.

    Ramanujan 1914, second approximation: its error is below one millionth for any head.
    """
    h = ((a - b) / (a + b)) ** 2
    return float(np.pi * (a + b) * (1.0 + 3.0 * h / (10.0 + np.sqrt(4.0 - 3.0 * h))))


def whole_piece(likely: Likely) -> Mask:
    """Outline one thing in a map of probabilities (rows, columns): a mask in one piece. Nothing likely, nothing out.

    What is more likely than not may lie in several pieces: a bone breaks where its shadow or a neighbour dims it. They
    are one thing when a less likely bridge joins them, and then the mask's level is lowered until it has the bridge
    too. Of several things that of the most likely pixels is kept.
    """
    surely = likely > HALF
    mask = _piece(likely > BRIDGES[-1], surely)
    wanted = WHOLE * np.count_nonzero(surely & (mask == 1))
    for level in (HALF, *BRIDGES):
        piece = _piece((likely > level) & (mask == 1), surely)
        if np.count_nonzero(surely & (piece == 1)) >= wanted:
            return piece
    return mask


def _piece(candidates: npt.NDArray[np.bool_], surely: npt.NDArray[np.bool_]) -> Mask:
    """Give the connected piece of candidates that has the most sure pixels."""
    count, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels[surely & candidates], minlength=count)
    return np.asarray((labels == sizes.argmax()) & sizes.any(), dtype=np.uint8)


def outline_of(mask: Mask) -> Array:
    """Give the outer outline (n, 2: x, y, continuous) of a mask in one piece, along its border pixels' centres."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(contours[0][:, 0, :] + 0.5, dtype=np.float64) if contours else np.zeros((0, 2))


def near(mask: Mask, reach: int) -> Mask:
    """Give the pixels of a mask and those at most ``reach`` pixels from it (in a square)."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)))


def ellipse_of_map(likely: Likely) -> Ellipse:
    """Give the ellipse of a map of probabilities (height, width), not all zero: its centre, directions, ratio and area.

    Directions and ratio are those of the second moments, so that no single dent or bulge moves them much; each pixel of
    the edge counts by its probability, so that the size does not jump with a threshold. The moments tell a size too (a
    filled ellipse has a quarter of its squared semi-axes as variances), but of all shapes of an area the ellipse has
    the least: what is ragged came out too large. So the size is that of the area.
    """
    centre, spread, directions = _moments(likely)
    area = float(likely.sum(dtype=np.float64))
    return Ellipse(centre, directions * spread * np.sqrt(area / (np.pi * spread.prod())))


def overlap(mask: Mask, ellipse: Ellipse) -> float:
    """Intersection over union of a mask and an ellipse within the mask's picture."""
    drawn = draw(ellipse.outline(), mask.shape[1], mask.shape[0])
    union = int(np.count_nonzero(mask | drawn))
    return float(np.count_nonzero(mask & drawn) / union) if union else 0.0


def shaft_ends(likely: Likely) -> Array:
    """Give both ends (2, 2: x, y) of a thin bar in a map of probabilities (height, width), not all zero.

    The bar is cut across in slices of one pixel; it ends where a slice holds half of what the slices of its middle do.
    Its variance would tell its length too, but only of a bar of even thickness, and few bones are.
    """
    centre, spread, directions = _moments(likely)
    y, x = np.nonzero(likely)
    place = (np.stack([x, y], axis=1) + 0.5 - centre) @ directions[:, 0]
    first = int(np.floor(place.min()))
    slices = np.bincount((np.floor(place) - first).astype(np.int64), weights=likely[y, x])
    starts = first + np.arange(len(slices))
    middle = float(np.median(slices[(starts > -spread[0] - 1) & (starts < spread[0])]))
    inside = np.flatnonzero(slices >= HALF * middle)
    along = np.array([starts[inside[0]], starts[inside[-1]] + 1.0])
    return np.asarray(centre + along[:, None] * directions[:, 0])


def agreement(one: Likely, other: Likely) -> float:
    """Dice of two maps of probabilities (height, width): 1 where they say the same, 0 where they have nothing alike."""
    both = float(one.sum(dtype=np.float64) + other.sum(dtype=np.float64))
    return 2.0 * float(np.minimum(one, other).sum(dtype=np.float64)) / both if both else 0.0


def _moments(likely: Likely) -> tuple[Array, Array, Array]:
    """Give centre (2,), principal spreads (2,; larger first) and their directions (2, 2: columns)."""
    y, x = np.nonzero(likely)
    weight = likely[y, x].astype(np.float64)
    points = np.stack([x, y], axis=1) + 0.5
    centre = np.average(points, axis=0, weights=weight)
    away = points - centre
    variances, directions = np.linalg.eigh((away * weight[:, None]).T @ away / weight.sum())
    return centre, np.sqrt(np.maximum(variances[::-1], 0.0)), directions[:, ::-1]


def elongation(mask: Mask) -> float:
    """Ratio of a mask's principal spreads, 1 or more: a bone's shaft is long and thin."""
    y, x = np.nonzero(mask)
    small, large = np.linalg.eigvalsh(np.cov(np.stack([x, y]).astype(np.float64)))
    return float(np.sqrt(large / max(small, 1e-6)))


def distance(ends: Array, scale: tuple[float, float] = (1.0, 1.0)) -> float:
    """Length between two points (2, 2: x, y), each direction in its own scale."""
    return float(np.linalg.norm((ends[1] - ends[0]) * np.array(scale)))


def shaft(ends: Array, width: float) -> Array:
    """Corners (4, 2: x, y) of the rectangle that lies along a segment."""
    along = (ends[1] - ends[0]) / max(distance(ends), 1e-6)
    across = np.array([-along[1], along[0]]) * width / 2
    return np.stack([ends[0] + across, ends[1] + across, ends[1] - across, ends[0] - across])


def draw(outline: Array, width: int, height: int) -> Mask:
    """Fill a closed outline (n, 2: x, y, continuous) in a mask (height, width; 0 or 1)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    fixed = np.round((outline - 0.5) * 16.0).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, cv2.LINE_8, 4)
    return mask


def coverage(outline: Array, width: int, height: int, fineness: int = 8) -> npt.NDArray[np.float32]:
    """Give how much of each pixel (height, width; 0..1) lies inside a closed outline (n, 2: x, y, continuous).

    A mask of :func:`draw` is about half a pixel too wide on every side, because OpenCV fills each pixel that the
    outline touches; on a small picture that is more than half a per cent of a head.
    """
    fine = draw(outline * fineness, width * fineness, height * fineness) * np.uint8(255)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0)
