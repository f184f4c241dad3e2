"""Placing text on a picture where it hides nothing: no structure, no other text, and as little tissue as can be.

Every place of the picture is tried, by summed areas; text that finds none is not squeezed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.results.lettering import LINE_HEIGHT, Colour, Picture, width_of, wrapped, write

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
Line = tuple[str, Colour]

_Array = npt.NDArray[np.float64]
_Cost = Callable[[_Array, _Array, _Array], _Array]  # of x0 (1, n), y0 (m, 1) and the bright share (m, n)
_SMALLEST_FONT_PX = 5
_BRIGHT = 50  #: grey value from which a pixel counts as anatomy or as the scanner's own text


class Page:
    """A picture being written on.

    :ivar picture: shape (rows, columns, 3), RGB uint8, with everything written so far.
    """

    def __init__(self, picture: Picture, shapes: Sequence[Box], untouchable: Sequence[Box], font_px: int) -> None:
        """Take the picture with its shapes drawn, the boxes around these, and what no text may touch.

        A label may lie within a measured head, but on no named structure, no calliper and no measured line.
        """
        self.picture = picture
        self.places: list[Box] = []  #: where text was written
        self._rows, self._columns = picture.shape[:2]
        lit = (picture.max(axis=2) > _BRIGHT).astype(np.uint8)
        self._bright = _summed(cv2.dilate(lit, np.ones((font_px, font_px), np.uint8)) > 0)  # thin letters count whole
        self._shapes = _summed(self._mask(shapes))
        self._blocked = self._mask(untouchable)
        self._font_px = font_px

    def write_banner(self, text: str, colour: Colour, prefer: Box | None = None) -> Box:
        """Write one line along the lower or the upper edge, where it covers neither what was found nor other text.

        :param prefer: where to begin, if nothing is in the way.
        :returns: where it is.
        """
        font_px = self._font_px
        while width_of(text, font_px) > self._columns - 4 and font_px > _SMALLEST_FONT_PX:
            font_px -= 1
        width, height = width_of(text, font_px), font_px * 1.25
        x0 = (self._columns - width) / 2
        box = (
            self._still_free(prefer, width, height)
            or self._place(width, height, self._at_an_edge(width, height))
            or (x0, self._rows - 1.2 * height, x0 + width, float(self._rows))
        )
        self._write(box, text, colour, font_px)
        return box

    def write_block(self, lines: Sequence[Line], prefer: Box | None = None) -> Box | None:
        """Write lines as a block, in an empty corner if there is one; smaller where the picture is crowded.

        :param prefer: where to begin, if nothing is in the way: a block that jumps from frame to frame cannot be read.
        :returns: where they are.
        """
        for font_px, share in ((self._font_px, 0.4), (self._font_px, 0.25), (max(8, self._font_px * 3 // 4), 0.3)):
            fitted = [
                (part, colour) for text, colour in lines for part in wrapped(text, self._columns * share, font_px)
            ]
            if not fitted:
                return None
            width = max(width_of(text, font_px) for text, _ in fitted)
            height = len(fitted) * font_px * LINE_HEIGHT
            box = self._still_free(prefer, width, height) or self._place(
                width, height, self._far_from_the_middle(width, height)
            )
            if box is not None:
                break
        else:
            box = (0.0, 0.0, width, height)
        for index, (text, colour) in enumerate(fitted):
            write(self.picture, (box[0], box[1] + index * font_px * LINE_HEIGHT), text, colour, font_px)
        self._take(box)
        return box

    def write_label(self, text: str, subject: Box, colour: Colour, prefer: Box | None = None) -> Box | None:
        """Name a shape beside it, or farther off with a thin line.

        :param prefer: where to begin, if nothing is in the way.
        :returns: where the label is; None when the picture has no free place for it.
        """
        width, height = width_of(text, self._font_px), self._font_px * 1.25
        box = self._still_free(prefer, width, height) or self._place(
            width, height, _near(subject, width, height, self._font_px)
        )
        if box is not None:
            self._lead(box, subject, colour, 0.8 * self._font_px)
            self._write(box, text, colour, self._font_px)
        return box

    def reserve(self, width: float, height: float, within: Box, prefer: Box | None = None) -> Box | None:
        """Find room for something that is drawn by another hand, low and to the left within a part of the picture."""

        def cost(x: _Array, y: _Array, bright: _Array) -> _Array:
            outside = (x < within[0]) | (y < within[1]) | (x + width > within[2]) | (y + height > within[3])
            far = (x - within[0]) / self._columns + (within[3] - y) / self._rows
            return np.asarray(4 * bright + far + 1e6 * outside)

        box = self._still_free(prefer, width, height) or self._place(width, height, cost)
        if box is None or box[0] < within[0] or box[1] < within[1] or box[2] > within[2] or box[3] > within[3]:
            return None
        self._take(box)
        return box

    def _place(self, width: float, height: float, cost: _Cost) -> Box | None:
        """Give the free place of the least cost, with a little air around it; None when there is none."""
        air = max(1, self._font_px // 4)
        w, h = int(np.ceil(width)) + 2 * air, int(np.ceil(height)) + 2 * air
        if w > self._columns or h > self._rows:
            return None
        step = max(1, self._font_px // 4)
        x = np.arange(0, self._columns - w + 1, step)[np.newaxis, :]
        y = np.arange(0, self._rows - h + 1, step)[:, np.newaxis]
        blocked = _shares(_summed(self._blocked), x, y, w, h)
        costs = cost((x + air).astype(np.float64), (y + air).astype(np.float64), _shares(self._bright, x, y, w, h))
        costs = np.where(blocked > 0, np.inf, costs)
        row, column = np.unravel_index(int(costs.argmin()), costs.shape)
        if not np.isfinite(costs[row, column]):
            return None
        x0, y0 = float(x[0, column] + air), float(y[row, 0] + air)
        return x0, y0, x0 + width, y0 + height

    def _still_free(self, prefer: Box | None, width: float, height: float) -> Box | None:
        """Give the place that begins where another did, if it is free and inside the picture."""
        if prefer is None:
            return None
        box = (prefer[0], prefer[1], prefer[0] + width, prefer[1] + height)
        inside = min(box[0], box[1], self._columns - box[2], self._rows - box[3]) >= 0
        return box if inside and not (self._blocked & self._mask([box])).any() else None

    def _at_an_edge(self, width: float, height: float) -> _Cost:
        """Rate a place for the banner: at the lower edge, else the upper one, in the middle of it, and dark."""
        covers = self._covers(width, height)

        def cost(x: _Array, y: _Array, bright: _Array) -> _Array:
            low, high = self._rows - height - y, y + height
            edge = np.minimum(low, high) / height
            aside = np.abs(x + width / 2 - self._columns / 2) / self._columns
            return np.asarray(4 * bright + 4 * covers(x, y) + edge + aside)

        return cost

    def _covers(self, width: float, height: float) -> Callable[[_Array, _Array], _Array]:
        """Give what tells how much of places (0..1) lies on shapes."""
        w, h = int(np.ceil(width)), int(np.ceil(height))
        return lambda x, y: _shares(self._shapes, x.astype(int), y.astype(int), w, h)

    def _far_from_the_middle(self, width: float, height: float) -> _Cost:
        """Rate a place for a block: dark, clear of all shapes, and in a corner."""
        covers = self._covers(width, height)

        def cost(x: _Array, y: _Array, bright: _Array) -> _Array:
            side = np.minimum(x, self._columns - width - x) / self._columns
            edge = np.minimum(y, self._rows - height - y) / self._rows
            return np.asarray(3 * bright + 4 * covers(x, y) + side + edge)

        return cost

    def _lead(self, label: Box, subject: Box, colour: Colour, from_px: float) -> None:
        """Join a distant label to its shape by the shortest line between the two."""
        x = _nearest(label[0], label[2], subject[0], subject[2])
        y = _nearest(label[1], label[3], subject[1], subject[3])
        if np.hypot(x[1] - x[0], y[1] - y[0]) > from_px:
            start, end = ((round(16 * x[i]), round(16 * y[i])) for i in (0, 1))
            cv2.line(self.picture, start, end, colour, 1, cv2.LINE_AA, 4)

    def _write(self, box: Box, text: str, colour: Colour, font_px: int) -> None:
        write(self.picture, box[:2], text, colour, font_px)
        self._take(box)

    def _take(self, box: Box) -> None:
        self.places.append(box)
        self._blocked |= self._mask([box])

    def _mask(self, boxes: Sequence[Box]) -> npt.NDArray[np.bool_]:
        mask = np.zeros((self._rows, self._columns), dtype=np.bool_)
        for x0, y0, x1, y1 in boxes:
            mask[max(0, int(y0)) : max(0, int(np.ceil(y1))), max(0, int(x0)) : max(0, int(np.ceil(x1)))] = True
        return mask


def _near(subject: Box, width: float, height: float, font_px: int) -> _Cost:
    """Rate a place for a label: near its shape, in line with its left edge, and dark."""
    x0, y0, x1, y1 = subject

    def cost(x: _Array, y: _Array, bright: _Array) -> _Array:
        beside = np.maximum(np.maximum(x0 - x - width, x - x1), 0)
        above = np.maximum(np.maximum(y0 - y - height, y - y1), 0)
        aligned = np.minimum(np.abs(x - x0), np.abs(y + height / 2 - (y0 + y1) / 2))
        return np.asarray((np.hypot(beside, above) + 0.1 * aligned) / font_px + 0.5 * bright)

    return cost


def _summed(mask: npt.NDArray[np.bool_]) -> _Array:
    """Give the sums (rows + 1, columns + 1) of everything above and to the left."""
    return np.asarray(cv2.integral(mask.astype(np.uint8)), dtype=np.float64)


def _shares(sums: _Array, x: npt.NDArray[np.int_], y: npt.NDArray[np.int_], width: int, height: int) -> _Array:
    """Give the share (0..1) of each window that the mask of these sums fills, cut at the edges of the picture."""
    rows, columns = sums.shape[0] - 1, sums.shape[1] - 1
    right, bottom = np.minimum(x + width, columns), np.minimum(y + height, rows)
    x, y = np.minimum(x, columns), np.minimum(y, rows)
    return np.asarray((sums[bottom, right] - sums[y, right] - sums[bottom, x] + sums[y, x]) / (width * height))


def _nearest(a0: float, a1: float, b0: float, b1: float) -> tuple[float, float]:
    """Give the nearest points of two intervals; twice the middle of what they share, if they do."""
    if a1 < b0:
        return a1, b0
    if b1 < a0:
        return a0, b1
    middle = (max(a0, b0) + min(a1, b1)) / 2
    return middle, middle
