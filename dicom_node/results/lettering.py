"""Letters on a picture: anti-aliased, evenly spaced at every size, with a dark rim so that they read on tissue too."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

LINE_HEIGHT = 1.35  #: in font sizes
_FINER = 4  # letters are drawn so much larger and reduced: small fonts drawn directly lose their word spaces


@lru_cache(maxsize=4096)
def width_of(text: str, font_px: int) -> float:
    """Give the width of one line in pixels, without its rim."""
    return float(_font(font_px * _FINER).getlength(text)) / _FINER


def write(
    picture: Picture, at: tuple[float, float], text: str, colour: Colour, font_px: int, *, rimmed: bool = True
) -> None:
    """Write one line into a picture, shape (rows, columns, 3), its upper left corner ``at`` (x, y).

    What lies outside the picture is cut off. Letters on plain paper need no rim.
    """
    letters, rim, margin = _drawn(text, font_px)
    rim = rim if rimmed else np.zeros_like(rim)
    x, y = round(at[0]) - margin, round(at[1]) - margin
    rows, columns = picture.shape[:2]
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(letters.shape[0], rows - y), min(letters.shape[1], columns - x)
    if top >= bottom or left >= right:
        return
    place = picture[y + top : y + bottom, x + left : x + right]
    dark, light = (part[top:bottom, left:right, np.newaxis].astype(np.float32) / 255 for part in (rim, letters))
    ink = np.array(colour, dtype=np.float32)
    place[:] = np.rint(place * (1 - dark) * (1 - light) + ink * light).astype(np.uint8)


def wrapped(text: str, max_width: float, font_px: int) -> list[str]:
    """Break a text between words into lines of at most ``max_width`` pixels; a longer word keeps a line of its own.

    A number and its percent sign are one word.
    """
    lines: list[str] = []
    for word in re.findall(r"\S+(?:\s%\S*)?", text):
        if lines and width_of(f"{lines[-1]} {word}", font_px) <= max_width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@lru_cache(maxsize=512)
def _drawn(text: str, font_px: int) -> tuple[Picture, Picture, int]:
    """Draw the letters and their rim as two masks of one shape, and give the margin around the line within them."""
    thick = max(1, font_px // 9)
    margin = thick + 1
    size = (int(width_of(text, font_px)) + 2 * margin + 2, int(font_px * LINE_HEIGHT) + 2 * margin)
    masks = []
    for stroke in (0, thick * _FINER):
        mask = Image.new("L", (size[0] * _FINER, size[1] * _FINER))
        at = (margin * _FINER, margin * _FINER)
        ImageDraw.Draw(mask).text(at, text, fill=255, font=_font(font_px * _FINER), stroke_width=stroke)
        masks.append(np.asarray(mask.reduce(_FINER), dtype=np.uint8))
    return masks[0], masks[1], margin


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give the font that comes with Pillow: no font of the machine is needed."""
    return ImageFont.load_default(size_px)
