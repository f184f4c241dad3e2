"""Two ways to alter a picture without a seam: stretching a band, and filling with the speckle of the neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from dicom_node.simulator.records import Box
from dicom_node.simulator.speckle import FloatArray, GreyImage

Line = npt.NDArray[np.float64]  #: a row (px) for each column of a box
EDGE_SHARE = 0.3  #: of a box's width: a change sets in over twice this, half of it beyond the box
REACH = 5.0  #: times the extra thickness: how far it pushes what lies beyond


def dark_line(pixels: GreyImage, box: Box) -> tuple[Line, float]:
    """Find the middle row of the dark band in a box, column by column, and the band's usual thickness in pixels.

    The line is a parabola through the darkest rows; the thickness is counted at half way between dark and bright.
    """
    x0, y0, x1, y1 = (int(edge) for edge in box)
    window = cv2.GaussianBlur(pixels, (0, 0), 1.2)[y0 : y1 + 1, x0 : x1 + 1].astype(np.float64)
    rows, columns = window.shape
    inner = max(rows // 6, 1) if rows > 2 else 0  # noqa: PLR2004 - a band's middle is not at its edges
    core = window[inner : rows - inner]
    along = np.linspace(-1.0, 1.0, columns)
    darkest = inner + core.argmin(axis=0).astype(np.float64)
    line = np.polyval(np.polyfit(along, darkest, 2 if columns > 8 else 0), along)  # noqa: PLR2004 - enough for a parabola
    near = np.abs(darkest - line) <= max(0.2 * rows, 1.0)
    if near.sum() > columns // 3:
        line = np.polyval(np.polyfit(along[near], darkest[near], 2 if columns > 8 else 0), along)  # noqa: PLR2004 - as above
    line = np.clip(line, 0.0, rows - 1.0)
    middle = (np.quantile(window, 0.1) + np.quantile(window, 0.9)) / 2.0
    thicknesses = [_run(window[:, k] < middle, round(line[k])) for k in range(columns)]
    return line + y0, float(np.clip(np.median(thicknesses), 2.0, 0.5 * rows + 1.0))


def _run(dark: npt.NDArray[np.bool_], at: int) -> int:
    """Length of the run of True through a place."""
    if not dark[at]:
        return 0
    above = np.flatnonzero(~dark[:at])
    below = np.flatnonzero(~dark[at:])
    start = above[-1] + 1 if len(above) else 0
    end = at + below[0] if len(below) else len(dark)
    return int(end - start)


def widen(
    pixels: GreyImage, columns: tuple[float, float], top: Line, core_px: float, extra_px: float
) -> tuple[GreyImage, Callable[[Box], Box]]:
    """Stretch (or squeeze, when `extra_px` is negative) a band of rows, pushing what lies below it.

    `top` is the first row of the band, `core_px` thick, for each column from columns[0] to columns[1]. The push
    fades out below and beyond the columns. Gives the picture, and a function that moves a box as the picture moved.
    """
    height, width = pixels.shape
    extra_px = max(extra_px, -0.92 * core_px)
    x = np.arange(width, dtype=np.float64)
    start, end = int(columns[0]), int(columns[0]) + len(top) - 1
    first = np.interp(x, np.arange(start, end + 1), top)
    edge = max(EDGE_SHARE * len(top), 2.0)
    share = np.clip(np.minimum(x - start + edge, end + edge - x) / (2.0 * edge), 0.0, 1.0)
    extra = extra_px * (3.0 * share**2 - 2.0 * share**3)
    reach = REACH * abs(extra_px) + core_px + 12.0
    y = np.arange(height, dtype=np.float64)[:, None]
    past = y - first - core_px - extra  # rows below the stretched band
    inside = first + (y - first) * core_px / (core_px + extra)
    below = first + core_px + past * (reach + extra) / reach
    source = np.where(y <= first, y, np.where(past <= 0.0, inside, np.where(past < reach, below, y)))
    across = np.broadcast_to(x.astype(np.float32), pixels.shape)
    warped = cv2.remap(
        pixels,
        np.ascontiguousarray(across),
        source.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )

    def forward(row: float, column: int) -> float:
        head, more = first[column], extra[column]
        if row <= head:
            return row
        if row <= head + core_px:
            return float(head + (row - head) * (core_px + more) / core_px)
        beyond = row - head - core_px
        return float(head + core_px + more + beyond * reach / (reach + more)) if beyond < reach + more else row

    def moved(box: Box) -> Box:
        span = range(int(np.clip(box[0], 0, width - 1)), int(np.clip(box[2], 0, width - 1)) + 1, 2)
        upper, lower = (float(np.mean([forward(row, column) for column in span])) for row in (box[1], box[3]))
        return (box[0], min(upper, height - 1.0), box[2], min(lower, height - 1.0))

    return np.asarray(warped, dtype=np.uint8), moved


def fill(pixels: GreyImage, box: Box, rng: Generator) -> GreyImage:
    """Fill the ellipse about a box with tissue: brightness grown in from around it, speckle taken from beside it."""
    height, width = pixels.shape
    x0, y0 = max(int(box[0]), 0), max(int(box[1]), 0)
    x1, y1 = min(int(box[2]), width - 1), min(int(box[3]), height - 1)
    if x1 <= x0 or y1 <= y0:
        return pixels
    tall, wide = y1 - y0 + 1, x1 - x0 + 1
    hole = np.zeros(pixels.shape, dtype=np.uint8)
    radii = (round(0.6 * wide) + 1, round(0.6 * tall) + 1)  # about the box, whose corners hold little
    cv2.ellipse(hole, ((x0 + x1) // 2, (y0 + y1) // 2), radii, 0.0, 0.0, 360.0, 255, cv2.FILLED)
    around = pixels[max(y0 - tall, 0) : y1 + tall, max(x0 - wide // 3, 0) : x1 + wide // 3]
    no_walls = np.minimum(pixels, np.quantile(around, 0.7))  # bright lines beside it are not its tissue
    outside = (hole == 0).astype(np.float32)
    sigma = max(4.0, 0.5 * min(tall, wide))
    weight = cv2.GaussianBlur(outside, (0, 0), sigma)
    base = cv2.GaussianBlur(no_walls.astype(np.float32) * outside, (0, 0), sigma) / np.maximum(weight, 1e-3)
    patched = np.clip(base * _neighbouring_speckle(pixels, hole, rng), 0.0, 255.0)
    cover = cv2.GaussianBlur(hole, (0, 0), max(1.5, 0.1 * min(tall, wide))).astype(np.float32) / 255.0
    blended = pixels.astype(np.float32) * (1.0 - cover) + patched * cover
    return np.asarray(np.clip(blended, 0.0, 255.0), dtype=np.uint8)


def _neighbouring_speckle(pixels: GreyImage, hole: GreyImage, rng: Generator) -> FloatArray:
    """Ratio of the picture to its smoothed self, shifted so that the hole gets that of evenly lit tissue nearby."""
    level = cv2.GaussianBlur(pixels, (0, 0), 5.0).astype(np.float32)
    ratio = np.clip((pixels.astype(np.float32) + 4.0) / (level + 4.0), 0.3, 2.2)
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    tall, wide = len(rows), len(columns)
    best, shift = np.inf, (0, 0)
    for _ in range(24):
        down = int(rng.integers(-4 * tall - 10, 4 * tall + 11))
        right = int(rng.integers(-2 * wide - 10, 2 * wide + 11))
        top, left = rows[0] + down, columns[0] + right
        if top < 0 or left < 0 or top + tall > pixels.shape[0] or left + wide > pixels.shape[1]:
            continue
        if abs(down) < tall and abs(right) < wide:
            continue
        window = level[top : top + tall, left : left + wide]
        unevenness = float(window.std() / (window.mean() + 1.0)) + (10.0 if window.mean() < 12.0 else 0.0)  # noqa: PLR2004 - fluid has no speckle to give
        if unevenness < best:
            best, shift = unevenness, (down, right)
    return np.asarray(np.roll(ratio, (-shift[0], -shift[1]), axis=(0, 1)), dtype=np.float32)
