"""What of a picture may be written on: best the black beside the sector, then fluid, then tissue, last of all letters.

Nothing is asked of the scanner: few say where their sector lies, and none where its text does.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.results.lettering import Picture

Ground = npt.NDArray[np.float32]  #: what writing on each pixel costs, shape (rows, columns)

ECHO = 1.0  #: full tissue, and the measure of the others
ENCLOSED = 0.2  #: black between echoes: a ventricle, a pool of fluid, the shadow of a bone
LETTERS = 10.0
_BLACK, _TISSUE = 6, 32  # grey values above the picture's own black
_STROKE = 60  # how far letters stand out from what they are written on
_PLAIN = 40  # and how dark that is


def ground_of(picture: Picture, font_px: int) -> Ground:
    """Rate every pixel of a picture (rows, columns, 3) as ground for letters of ``font_px``.

    The grey values are those around a pixel, so that a place between two letters or two speckles is not a gap.
    """
    grey = np.maximum(np.maximum(picture[:, :, 0], picture[:, :, 1]), picture[:, :, 2])
    around = cv2.blur(grey, (font_px, font_px)).astype(np.float32) - np.percentile(grey, 2)
    echo = np.clip((around - _BLACK) / (_TISSUE - _BLACK), 0.0, ECHO)
    return np.asarray(np.maximum(echo, _enclosed(echo)) + LETTERS * _letters(grey, font_px), dtype=np.float32)


def _enclosed(echo: Ground) -> Ground:
    """Mark what lies between echoes, across and up and down: it is within the sector, if not within the fetus."""
    seen = echo > ECHO / 2
    return np.where(_between(seen, 0) & _between(seen, 1), ENCLOSED, 0.0).astype(np.float32)


def _between(seen: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.bool_]:
    before = np.maximum.accumulate(seen, axis)
    after = np.flip(np.maximum.accumulate(np.flip(seen, axis), axis), axis)
    return np.asarray(before & after)


def _letters(grey: npt.NDArray[np.uint8], font_px: int) -> npt.NDArray[np.bool_]:
    """Mark what looks written, with a little air: bright strokes, thinner than the anatomy, on plain dark."""
    width = max(3, round(0.45 * font_px)) | 1
    plain = cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    strokes = (cv2.subtract(grey, plain) > _STROKE) & (plain < _PLAIN)
    return np.asarray(cv2.dilate(strokes.astype(np.uint8), np.ones((width, width), np.uint8)) > 0)
