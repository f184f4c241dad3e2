"""Placing text on a picture where it hides nothing: no structure, no other text, and as little tissue as can be.

Every place of the picture is tried, by summed areas; text that finds none is not squeezed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.results.caption import Line
from dicom_node.results.ground import Ground
from dicom_node.results.lettering import LINE_HEIGHT, Colour, Picture, width_of, wrapped, write

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
Mask = npt.NDArray[np.bool_]  # (rows, columns)

_Array = npt.NDArray[np.float64]
_Cost = Callable[[_Array, _Array, _Array], _Array]  # of x0 (1, n), y0 (m, 1) and the ground's mean cost (m, n)
_SMALLEST_FONT_PX = 5
_BLOCK_SHARES = (0.5, 0.3, 0.24, 0.19)  #: of the picture's width that a block may take
_COVERED = 100.0  #: what a block costs that covers the whole picture
_A_LINE = 0.04  #: what each of its lines costs: a short block is read faster
_SMALL_LETTERS = 1.2
_A_LINE_OF_THE_BANNER = 0.3
_PLACES_TRIED = 400  #: of a label, before it is listed instead
_BESIDE = 0.8  #: letters: a label this near needs no line
_LEFT = 0.2  #: viewers write into the left corners


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that stand together: where, how broken and how large."""

    box: Box
    lines: tuple[Line, ...]
    break_px: float
    font_px: int

    @classmethod
    def of(cls, lines: Iterable[Line], break_px: float, font_px: int) -> Block:
        """Break lines; the block stands in the upper left corner."""
        broken = tuple((part, colour) for text, colour in lines for part in wrapped(text, break_px, font_px))
        width = max((width_of(text, font_px) for text, _ in broken), default=0.0)
        return cls((0.0, 0.0, width, len(broken) * font_px * LINE_HEIGHT), broken, break_px, font_px)

    @property
    def size(self) -> tuple[float, float]:
        """Its width and its height."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


class Page:
    """A picture being written on.

    :ivar picture: shape (rows, columns, 3), RGB uint8, with everything written so far.
    """

    def __init__(
        self, picture: Picture, ground: Ground, covered: Mask, untouchable: Sequence[Box], font_px: int
    ) -> None:
        """Take the picture with its shapes drawn, what it is made of, what lies within the shapes, and what is taboo.

        A label may lie within a measured head, but on no named structure, no calliper and no measured line.

        :param covered: shape (rows, columns): where a shape is.
        """
        self.picture = picture
        self.places: list[Box] = []  #: where text was written
        self._rows, self._columns = picture.shape[:2]
        self._ground = _summed(ground)
        self._shapes = _summed(covered)
        self._blocked = self._mask(untouchable)
        self._blocked_sums = _summed(self._blocked)
        self._font_px = font_px
        self._small_px = max(9, round(font_px * 0.8))

    def write_banner(self, text: str, colour: Colour, prefer: Block | None = None) -> Block:
        """Write a warning along an edge, or broken in a corner where it would cover what was found.

        :param prefer: where to begin, if nothing is in the way.
        :returns: what was written. A warning is never left out: with no free place at all it stands at the lower edge.
        """
        lines = [(text, colour)]
        font_px = self._font_px
        while width_of(text, font_px) > self._columns - 4 and font_px > _SMALLEST_FONT_PX:
            font_px -= 1
        whole = Block.of(lines, float(self._columns), font_px)
        broken = [
            Block.of(lines, share * self._columns, size)
            for size in (font_px, min(font_px, self._small_px))
            for share in _BLOCK_SHARES
        ]
        block = self._as_before(lines, prefer) or self._cheapest_of(
            [whole, *broken],
            self._at_an_edge,
            lambda way: _A_LINE_OF_THE_BANNER * len(way.lines) + _SMALL_LETTERS * (way.font_px < font_px),
        )
        if block is None:
            width, height = whole.size
            x0, y0 = (self._columns - width) / 2, self._rows - height
            block = replace(whole, box=(x0, y0, x0 + width, y0 + height))
        self._write_lines(block)
        return block

    def write_block(self, lines: Sequence[Line], prefer: Block | None = None) -> Block | None:
        """Write lines as a block, broken and placed so that it hides least; smaller where the picture is crowded.

        :param prefer: where to begin, if nothing is in the way: a block that jumps from frame to frame cannot be read.
        :returns: what was written; None without lines, or without a free place.
        """
        if not lines:
            return None
        block = self._as_before(lines, prefer) or self._best(lines)
        if block is not None:
            self._write_lines(block)
        return block

    def write_label(self, text: str, subject: Box, colour: Colour, prefer: Box | None = None) -> Box | None:
        """Name a shape beside it, or farther off with a thin line.

        :param prefer: where to begin, if nothing is in the way.
        :returns: where the label is; None when there is no free place that a line could join to its shape.
        """
        width, height = width_of(text, self._font_px), self._font_px * 1.25
        before = self._still_free(prefer, width, height)
        places = self._places(width, height, _near(subject, width, height, self._font_px))
        for box in chain([before] if before else [], islice(places, _PLACES_TRIED)):
            if self._join(box, subject, colour):
                write(self.picture, box[:2], text, colour, self._font_px)
                self._take(box)
                return box
        return None

    def reserve(self, width: float, height: float, within: Box, prefer: Box | None = None) -> Box | None:
        """Find room for something that is drawn by another hand, low and to the left within a part of the picture."""

        def cost(x: _Array, y: _Array, ground: _Array) -> _Array:
            outside = (x < within[0]) | (y < within[1]) | (x + width > within[2]) | (y + height > within[3])
            far = (x - within[0]) / self._columns + (within[3] - y) / self._rows
            return np.asarray(4 * ground + far + 1e6 * outside)

        box = self._still_free(prefer, width, height) or self._place(width, height, cost)
        if box is None or box[0] < within[0] or box[1] < within[1] or box[2] > within[2] or box[3] > within[3]:
            return None
        self._take(box)
        return box

    def _as_before(self, lines: Sequence[Line], before: Block | None) -> Block | None:
        """Give a block that stands where another did, if that is free."""
        if before is None:
            return None
        block = Block.of(lines, before.break_px, before.font_px)
        box = self._still_free(before.box, *block.size)
        return replace(block, box=box) if box else None

    def _best(self, lines: Sequence[Line]) -> Block | None:
        """Give the block that hides least, of all ways to break it; None when there is no place."""
        ways = [
            Block.of(lines, break_px, font_px)
            for font_px in dict.fromkeys((self._font_px, self._small_px))
            for break_px in self._widths(lines, font_px)
        ]
        return self._cheapest_of(
            ways,
            self._in_a_corner,
            lambda way: _A_LINE * len(way.lines) + _SMALL_LETTERS * (way.font_px < self._font_px),
        )

    def _cheapest_of(
        self, ways: Sequence[Block], cost_of: Callable[[float, float], _Cost], effort: Callable[[Block], float]
    ) -> Block | None:
        """Give the way whose best place, and whose reading, cost least; None when none of them has a free place."""
        placed = []
        for way in {(it.lines, it.font_px): it for it in ways}.values():
            found = self._cheapest(*way.size, cost_of(*way.size))
            if found is not None:
                cost, box = found
                placed.append((cost + effort(way), replace(way, box=box)))
        return min(placed, key=lambda it: it[0])[1] if placed else None

    def _widths(self, lines: Sequence[Line], font_px: int) -> list[float]:
        """List where lines may break: at the end of one of them, or so that the block is tall."""
        whole = {width_of(text, font_px) for text, _ in lines}
        least, most = (share * self._columns for share in (min(_BLOCK_SHARES), max(_BLOCK_SHARES)))
        fitting = {width for width in whole if least <= width <= most}
        return sorted(fitting | {share * self._columns for share in _BLOCK_SHARES}, reverse=True)

    def _place(self, width: float, height: float, cost: _Cost) -> Box | None:
        found = self._cheapest(width, height, cost)
        return found[1] if found else None

    def _cheapest(self, width: float, height: float, cost: _Cost) -> tuple[float, Box] | None:
        """Give the least cost and its free place; None when there is none."""
        found = self._costs(width, height, cost)
        if found is None:
            return None
        costs, place_of = found
        at = int(costs.argmin())
        return (float(costs.flat[at]), place_of(at)) if np.isfinite(costs.flat[at]) else None

    def _places(self, width: float, height: float, cost: _Cost) -> Iterator[Box]:
        """Give the free places, the cheapest first."""
        found = self._costs(width, height, cost)
        if found is not None:
            costs, place_of = found
            for at in costs.argsort(axis=None, kind="stable")[: np.isfinite(costs).sum()]:
                yield place_of(int(at))

    def _costs(self, width: float, height: float, cost: _Cost) -> tuple[_Array, Callable[[int], Box]] | None:
        """Give what each place costs, with a little air around it, and what tells where it is; None without room."""
        air = max(1, self._font_px // 4)
        w, h = int(np.ceil(width)) + 2 * air, int(np.ceil(height)) + 2 * air
        if w > self._columns or h > self._rows:
            return None
        step = max(1, self._font_px // 3)
        x = np.arange(0, self._columns - w + 1, step)[np.newaxis, :]
        y = np.arange(0, self._rows - h + 1, step)[:, np.newaxis]
        blocked = _shares(self._blocked_sums, x, y, w, h)
        costs = cost((x + air).astype(np.float64), (y + air).astype(np.float64), _shares(self._ground, x, y, w, h))
        costs = np.where(blocked > 0, np.inf, costs)

        def place_of(at: int) -> Box:
            row, column = divmod(at, costs.shape[1])
            x0, y0 = float(x[0, column] + air), float(y[row, 0] + air)
            return x0, y0, x0 + width, y0 + height

        return costs, place_of

    def _still_free(self, prefer: Box | None, width: float, height: float) -> Box | None:
        """Give the place that begins where another did, if it is free and inside the picture."""
        if prefer is None:
            return None
        box = (prefer[0], prefer[1], prefer[0] + width, prefer[1] + height)
        inside = min(box[0], box[1], self._columns - box[2], self._rows - box[3]) >= 0
        return box if inside and not (self._blocked & self._mask([box])).any() else None

    def _at_an_edge(self, width: float, height: float) -> _Cost:
        """Rate a place for the banner: at the lower or upper edge, in the middle of it, dark, and on no shape."""
        covers = self._covers(width, height)

        def cost(x: _Array, y: _Array, ground: _Array) -> _Array:
            low, high = self._rows - height - y, y + height
            edge = np.minimum(low, high) / height
            aside = np.abs(x + width / 2 - self._columns / 2) / self._columns
            return np.asarray(4 * ground + 4 * covers(x, y) + edge + aside)

        return cost

    def _covers(self, width: float, height: float) -> Callable[[_Array, _Array], _Array]:
        """Give what tells how much of places (0..1) lies on shapes."""
        w, h = int(np.ceil(width)), int(np.ceil(height))
        return lambda x, y: _shares(self._shapes, x.astype(int), y.astype(int), w, h)

    def _in_a_corner(self, width: float, height: float) -> _Cost:
        """Rate a place for a block: in a corner, and by how much it covers. A small block may what a large may not."""
        covers = self._covers(width, height)
        size = _COVERED * width * height / (self._columns * self._rows)

        def cost(x: _Array, y: _Array, ground: _Array) -> _Array:
            side = np.minimum(x / self._columns + _LEFT, (self._columns - width - x) / self._columns)
            edge = np.minimum(y, self._rows - height - y) / self._rows
            return np.asarray(size * (ground + covers(x, y)) + side + edge)

        return cost

    def _join(self, label: Box, subject: Box, colour: Colour) -> bool:
        """Join a distant label to its shape by the shortest line; False when it would cross something else."""
        x = _nearest(label[0], label[2], subject[0], subject[2])
        y = _nearest(label[1], label[3], subject[1], subject[3])
        length = np.hypot(x[1] - x[0], y[1] - y[0])
        if length <= _BESIDE * self._font_px:
            return True
        along = np.linspace(0.0, 1.0 - 2.0 / length, max(2, round(length)))  # to two pixels before its own shape
        rows = np.clip(y[0] + along * (y[1] - y[0]), 0, self._rows - 1).astype(int)
        columns = np.clip(x[0] + along * (x[1] - x[0]), 0, self._columns - 1).astype(int)
        if self._blocked[rows, columns].any():
            return False
        start, end = ((round(16 * x[i]), round(16 * y[i])) for i in (0, 1))
        cv2.line(self.picture, start, end, colour, 1, cv2.LINE_AA, 4)
        return True

    def _write_lines(self, block: Block) -> None:
        for index, (text, colour) in enumerate(block.lines):
            at = (block.box[0], block.box[1] + index * block.font_px * LINE_HEIGHT)
            write(self.picture, at, text, colour, block.font_px)
        self._take(block.box)

    def _take(self, box: Box) -> None:
        self.places.append(box)
        self._blocked |= self._mask([box])
        self._blocked_sums = _summed(self._blocked)

    def _mask(self, boxes: Sequence[Box]) -> Mask:
        mask = np.zeros((self._rows, self._columns), dtype=np.bool_)
        for x0, y0, x1, y1 in boxes:
            mask[max(0, int(y0)) : max(0, int(np.ceil(y1))), max(0, int(x0)) : max(0, int(np.ceil(x1)))] = True
        return mask


def _near(subject: Box, width: float, height: float, font_px: int) -> _Cost:
    """Rate a place for a label: near its shape, in line with its left edge, and dark."""
    x0, y0, x1, y1 = subject

    def cost(x: _Array, y: _Array, ground: _Array) -> _Array:
        beside = np.maximum(np.maximum(x0 - x - width, x - x1), 0)
        above = np.maximum(np.maximum(y0 - y - height, y - y1), 0)
        aligned = np.minimum(np.abs(x - x0), np.abs(y + height / 2 - (y0 + y1) / 2))
        return np.asarray((np.hypot(beside, above) + 0.1 * aligned) / font_px + 0.5 * ground)

    return cost


def _summed(values: Mask | Ground) -> _Array:
    """Give the sums (rows + 1, columns + 1) of everything above and to the left."""
    numbers = values.view(np.uint8) if values.dtype == np.bool_ else values
    return np.asarray(cv2.integral(numbers.astype(numbers.dtype, copy=False), sdepth=cv2.CV_64F), dtype=np.float64)


def _shares(sums: _Array, x: npt.NDArray[np.int_], y: npt.NDArray[np.int_], width: int, height: int) -> _Array:
    """Give the mean in each window of what was summed (of a mask its share), cut at the edges.

    :param x: where windows begin, shape (1, n); ``y`` shape (m, 1).
    """
    rows, columns = sums.shape[0] - 1, sums.shape[1] - 1
    top, left = np.minimum(y[:, 0], rows), np.minimum(x[0], columns)
    bottom, right = np.minimum(top + height, rows), np.minimum(left + width, columns)
    bands = sums[bottom] - sums[top]
    return np.asarray((bands[:, right] - bands[:, left]) / (width * height))


def _nearest(a0: float, a1: float, b0: float, b1: float) -> tuple[float, float]:
    """Give the nearest points of two intervals; twice the middle of what they share, if they do."""
    if a1 < b0:
        return a1, b0
    if b1 < a0:
        return a0, b1
    middle = (max(a0, b0) + min(a1, b1)) / 2
    return middle, middle
