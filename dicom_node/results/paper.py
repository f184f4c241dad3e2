"""The paper that the summary page is written on: cards, each with a pen that goes down, in few colours and sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from dicom_node.results.lettering import LINE_HEIGHT, Colour, Picture, width_of, wrapped, write

WIDTH, HEIGHT = 1280, 960
WHITE: Colour = (240, 240, 240)
GREY: Colour = (165, 172, 180)
GOOD: Colour = (120, 220, 150)
BODY, LIST, SMALL, LARGE = 19, 17, 15, 26  #: font sizes in pixels
MARGIN, PAD = 16, 14
_PAPER: Colour = (16, 19, 23)
_CARD: Colour = (28, 33, 39)


def _blank() -> Picture:
    return np.full((HEIGHT, WIDTH, 3), _PAPER, dtype=np.uint8)


@dataclass(slots=True)
class Paper:
    """A picture with a pen: ``y`` is where the next line begins, ``box`` what may be written on."""

    picture: Picture = field(default_factory=_blank)
    box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT)
    y: float = 0.0

    def card(self, box: tuple[int, int, int, int], title: str) -> Paper:
        """Begin a part of the page."""
        cv2.rectangle(self.picture, box[:2], (box[2] - 1, box[3] - 1), _CARD, -1)
        inner = (box[0] + PAD, box[1] + 10, box[2] - PAD, box[3] - 8)
        part = Paper(self.picture, inner, float(inner[1]))
        part.line(title.upper(), GREY, SMALL)
        part.y += 4
        return part

    @property
    def width(self) -> int:
        """What a line may take."""
        return self.box[2] - self.box[0]

    def room(self, font_px: int) -> int:
        """Tell how many lines still fit."""
        return max(0, int((self.box[3] - self.y) / (font_px * LINE_HEIGHT)))

    def line(self, text: str, colour: Colour = WHITE, font_px: int = BODY, indent: float = 0) -> None:
        """Write a text, wrapped; what does not fit into the card is left out."""
        for part in wrapped(text, self.width - indent, font_px):
            if self.room(font_px) == 0:
                return
            self.ink((self.box[0] + indent, self.y), part, colour, font_px)
            self.y += font_px * LINE_HEIGHT

    def cells(self, texts: Iterable[tuple[str, float]], colour: Colour, font_px: int = BODY) -> None:
        """Write one row of a table: texts, each with where it begins in the card."""
        if self.room(font_px):
            for text, x in texts:
                self.ink((self.box[0] + x, self.y), text, colour, font_px)
            self.y += font_px * LINE_HEIGHT

    def ink(self, at: tuple[float, float], text: str, colour: Colour, font_px: int) -> None:
        """Write one line anywhere, the pen stays."""
        write(self.picture, at, text, colour, font_px, rimmed=False)

    def ink_up_to(self, end: tuple[float, float], text: str, colour: Colour, font_px: int) -> None:
        """Write one line that ends at ``end``, the pen stays."""
        self.ink((end[0] - width_of(text, font_px), end[1]), text, colour, font_px)
