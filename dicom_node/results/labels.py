"""Placing text on a picture where it hides least: neither a structure, nor other text, nor the anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
Line = tuple[str, Colour]

_MIN_FONT_PX = 5
_BRIGHT = 50  #: grey value from which a pixel counts as anatomy or as the scanner's own text
_LINE_HEIGHT = 1.35  #: in font sizes


class Page:
    """A picture being written on.

    :ivar picture: shape (rows, columns, 3), RGB uint8, with everything written so far.
    """

    def __init__(self, picture: Picture, shapes: Sequence[Box], named: Sequence[Box], font_px: int) -> None:
        """Take the picture with its shapes drawn, the boxes around all of these, and those that labels will name.

        A label may lie within a measured head, but not on another named structure.
        """
        self._bright = picture.max(axis=2) > _BRIGHT
        self._canvas = Image.fromarray(picture)
        self._draw = ImageDraw.Draw(self._canvas)
        self._columns, self._rows = self._canvas.size
        self._shapes = list(shapes)
        self._named = list(named)
        self._taken: list[Box] = []
        self._font_px = font_px

    @property
    def picture(self) -> Picture:
        """Give the picture as it is now."""
        return np.asarray(self._canvas, dtype=np.uint8)

    def write_banner(self, text: str, colour: Colour) -> None:
        """Write one line along the lower or the upper edge, wherever it covers less of what was found."""
        font_px = self._font_px
        while self._draw.textlength(text, _font(font_px)) > self._columns - 4 and font_px > _MIN_FONT_PX:
            font_px -= 1
        width, height = self._draw.textlength(text, _font(font_px)), font_px * 1.5
        x0 = (self._columns - width) / 2
        box = min(
            [(x0, y0, x0 + width, y0 + height) for y0 in (self._rows - height, 0.0)],
            key=lambda place: _covered(place, self._shapes),
        )
        self._write(box, text, colour, font_px)

    def write_block(self, lines: Sequence[Line]) -> None:
        """Write lines as a block in the emptiest corner."""
        size, margin = self._font_px, self._font_px * 0.6
        fitted = [(part, colour) for text, colour in lines for part in self._wrapped(text, self._columns * 0.4)]
        if not fitted:
            return
        width = max(self._draw.textlength(text, _font(size)) for text, _ in fitted)
        height = len(fitted) * size * _LINE_HEIGHT
        xs = (margin, self._columns - margin - width)
        ys = (self._rows - margin - height - size * 1.5, margin + size * 1.5, self._rows / 2 - height / 2)
        box = min([(x, y, x + width, y + height) for y in ys for x in xs], key=self._cost_of_block)
        for index, (text, colour) in enumerate(fitted):
            self._write((box[0], box[1] + index * size * _LINE_HEIGHT, box[2], box[3]), text, colour, size)
        self._taken.append(box)

    def write_label(self, text: str, subject: Box, colour: Colour) -> None:
        """Name a shape beside it; farther off, with a thin line, where there is no room beside it."""
        width, height = self._draw.textlength(text, _font(self._font_px)), self._font_px * 1.25
        gap = self._font_px * 0.3
        places = _around(subject, width, height, gap)
        box = min(places, key=lambda place: self._cost_of_label(_grown(place, gap / 2), subject))
        self._lead(box, subject, colour, 2 * gap)
        self._write(box, text, colour, self._font_px)

    def _cost_of_block(self, place: Box) -> float:
        """Rate a place from 0: the share of it that is bright, and what it covers of shapes and of our text."""
        x0, y0, x1, y1 = (max(0, int(v)) for v in place)
        under = self._bright[y0 : y1 + 1, x0 : x1 + 1]
        bright = float(under.mean()) if under.size else 1.0  # nothing lies under it: it is outside a tiny picture
        return bright + (4 * _covered(place, self._shapes) + 16 * _covered(place, self._taken)) / _area(place)

    def _cost_of_label(self, place: Box, subject: Box) -> float:
        """Rate a place from 0: what it covers, what sticks out of the picture, and how far it is from its shape."""
        outside = _area(place) - _common_area(place, (0.0, 0.0, float(self._columns), float(self._rows)))
        covered = 8 * _covered(place, self._named) + 12 * _covered(place, self._taken)
        away = abs(place[0] + place[2] - subject[0] - subject[2]) + abs(place[1] + place[3] - subject[1] - subject[3])
        return (10 * outside + covered) / _area(place) + 0.075 * away / self._font_px

    def _lead(self, label: Box, subject: Box, colour: Colour, from_px: float) -> None:
        """Join a distant label to its shape by the shortest line between the two."""
        x = _nearest(label[0], label[2], subject[0], subject[2])
        y = _nearest(label[1], label[3], subject[1], subject[3])
        if np.hypot(x[1] - x[0], y[1] - y[0]) > from_px:
            self._draw.line([(x[0], y[0]), (x[1], y[1])], fill=colour, width=1)

    def _wrapped(self, text: str, max_width: float) -> list[str]:
        """Break a line between words so that it fits."""
        lines: list[str] = []
        for word in text.split(" "):
            if lines and self._draw.textlength(f"{lines[-1]} {word}", _font(self._font_px)) <= max_width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def _write(self, box: Box, text: str, colour: Colour, font_px: int) -> None:
        """Write with a dark rim instead of a box: readable on tissue, and it hides little of it."""
        rim = max(1, font_px // 8)
        self._draw.text(box[:2], text, fill=colour, font=_font(font_px), stroke_width=rim, stroke_fill=(0, 0, 0))
        self._taken.append(box)


def _around(subject: Box, width: float, height: float, gap: float) -> list[Box]:
    """List places for a label around a shape, the nearest first."""
    x0, y0, x1, y1 = subject
    middle = (y0 + y1 - height) / 2
    places = []
    for ring in range(12):
        step = gap + ring * height * 0.8
        above, below, left, right = y0 - step - height, y1 + step, x0 - step - width, x1 + step
        corners = [(x, y) for y in (above, below) for x in (x0, x1 - width, right, left)]
        places += [(x, y, x + width, y + height) for x, y in [*corners, (right, middle), (left, middle)]]
    return places


def _nearest(a0: float, a1: float, b0: float, b1: float) -> tuple[float, float]:
    """Give the nearest points of two intervals; twice the middle of what they share, if they do."""
    if a1 < b0:
        return a1, b0
    if b1 < a0:
        return a0, b1
    middle = (max(a0, b0) + min(a1, b1)) / 2
    return middle, middle


def _covered(place: Box, boxes: Sequence[Box]) -> float:
    return sum(_common_area(place, box) for box in boxes)


def _common_area(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _grown(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give the font that comes with Pillow: no font of the machine is needed."""
    return ImageFont.load_default(size_px)
