"""Abnormalities worked into a picture of a head of which the boxes are known, with the category that follows.

Nothing here knows millimetres: a picture is taken as normal, and a change is a factor of what it shows. Each function
is pure. A structure that stays normal is changed a little as well (or tissue beside it is), so that the traces of
retouching do not give the category away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.head_condition import CATEGORY_SHARES, Category
from dicom_node.simulator.records import Box
from dicom_node.simulator.retouching import dark_line, fill, widen
from dicom_node.simulator.speckle import GreyImage

Boxes = Mapping[str, Box]
Factors = Mapping[Category, tuple[tuple[float, float], ...]]  #: what is left of the size, or what it grows to

#: thickness of the translucent band; 2 mm times 1.75 is the 99th centile of 3.5 mm
NUCHAL: Factors = {"normal": ((0.85, 1.15),), "borderline": ((1.45, 1.7),), "abnormal": ((2.0, 3.2),)}
CISTERNA: Factors = {
    "normal": ((0.85, 1.15),),
    "borderline": ((0.5, 0.62), (1.45, 1.7)),
    "abnormal": ((0.1, 0.3), (2.0, 2.8)),
}
SKIN: Factors = {"normal": ((0.85, 1.15),), "borderline": ((1.5, 1.75),), "abnormal": ((2.1, 2.8),)}
#: length of a short bright echo; 0 is a structure that is gone
ECHO: Factors = {"normal": ((1.0, 1.0),), "borderline": ((0.58, 0.7),), "abnormal": ((0.0, 0.0), (0.25, 0.45))}
VENTRICLE: Factors = {"normal": ((1.0, 1.0),), "borderline": ((0.5, 0.62),), "abnormal": ((0.0, 0.0), (0.15, 0.3))}


@dataclass(frozen=True, slots=True)
class Changed:
    """A picture, shape (H, W) uint8, with its boxes after a change; a structure that is gone has no box."""

    pixels: GreyImage
    boxes: Boxes


def change_structure(pixels: GreyImage, boxes: Boxes, structure: str, category: Category, rng: Generator) -> Changed:
    """Make one structure of a picture normal, borderline or abnormal.

    Raises KeyError for a structure that cannot be changed (not a key of CHANGES) or that has no box.
    """
    factors, change = CHANGES[structure]
    ranges = factors[category]
    factor = float(rng.uniform(*ranges[int(rng.integers(len(ranges)))]))
    return change(pixels, boxes, structure, factor, rng)


def change_head(pixels: GreyImage, boxes: Boxes, rng: Generator) -> tuple[Changed, dict[str, Category]]:
    """Draw a category for each structure that can be changed and has a box, and make it so."""
    changed = Changed(pixels, dict(boxes))
    categories: dict[str, Category] = {}
    names = list(CATEGORY_SHARES)
    for structure in CHANGES:
        if structure in boxes:
            category = names[int(rng.choice(len(names), p=list(CATEGORY_SHARES.values())))]
            changed = change_structure(changed.pixels, changed.boxes, structure, category, rng)
            categories[structure] = category
    return changed, categories


def _thicken_band(pixels: GreyImage, boxes: Boxes, structure: str, factor: float, rng: Generator) -> Changed:
    """Widen or narrow a fluid band between two bright lines, away from the neck."""
    del rng
    x0, y0, x1, y1 = boxes[structure]
    middle, thickness = dark_line(pixels, boxes[structure])
    extra = (factor - 1.0) * thickness
    core = thickness if extra < 0.0 else 0.5 * thickness
    warped, moved = widen(pixels, (x0, x1), middle - core / 2.0, core, extra)
    others = {name: moved(box) for name, box in boxes.items() if name != structure}
    return Changed(warped, others | {structure: (x0, y0, x1, min(y1 + extra, pixels.shape[0] - 1.0))})


def _flip(pixels: GreyImage) -> GreyImage:
    return np.ascontiguousarray(pixels[::-1])


def _flip_box(box: Box, pixels: GreyImage) -> Box:
    last = pixels.shape[0] - 1.0
    return (box[0], last - box[3], box[2], last - box[1])


def _thicken_skin(pixels: GreyImage, boxes: Boxes, structure: str, factor: float, rng: Generator) -> Changed:
    """Thicken a bright line outwards, into the fluid above it."""
    del rng
    x0, y0, x1, y1 = boxes[structure]
    height, extra = y1 - y0, (factor - 1.0) * (y1 - y0)
    columns = int(x1) - int(x0) + 1
    top = np.full(columns, pixels.shape[0] - 1.0 - y1)
    warped, moved = widen(_flip(pixels), (x0, x1), top, height, extra)
    others = {
        name: _flip_box(moved(_flip_box(box, pixels)), pixels) for name, box in boxes.items() if name != structure
    }
    return Changed(_flip(warped), others | {structure: (x0, max(y0 - extra, 0.0), x1, y1)})


def _shorten_echo(pixels: GreyImage, boxes: Boxes, structure: str, factor: float, rng: Generator) -> Changed:
    """Replace one end of a bright echo, or all of it, with tissue like that beside it; the end is drawn."""
    x0, y0, x1, y1 = boxes[structure]
    rest = {name: box for name, box in boxes.items() if name != structure}
    if factor >= 1.0:
        return Changed(_fill_beside(pixels, boxes[structure], rng.uniform(1.5, 2.5), rng), dict(boxes))
    kept = factor * (x1 - x0)
    at_left = rng.random() < 0.5  # noqa: PLR2004 - either end
    left, right = (x0, x0 + kept) if at_left else (x1 - kept, x1)
    gone = (right, y0, x1, y1) if at_left else (x0, y0, left, y1)
    filled = fill(pixels, gone, rng)
    return Changed(filled, rest | {structure: (left, y0, right, y1)} if factor > 0.0 else rest)


def _close_ventricle(pixels: GreyImage, boxes: Boxes, structure: str, factor: float, rng: Generator) -> Changed:
    """Fill a ventricle with brain, all of it or all but a slit in its middle."""
    x0, y0, x1, y1 = boxes[structure]
    rest = {name: box for name, box in boxes.items() if name != structure}
    if factor >= 1.0:
        return Changed(_fill_beside(pixels, boxes[structure], -rng.uniform(1.2, 1.6), rng), dict(boxes))
    half, middle = factor * (y1 - y0) / 2.0, (y0 + y1) / 2.0
    if factor <= 0.0:
        return Changed(fill(pixels, boxes[structure], rng), rest)
    above = fill(pixels, (x0, y0, x1, middle - half), rng)
    return Changed(
        fill(above, (x0, middle + half, x1, y1), rng), rest | {structure: (x0, middle - half, x1, middle + half)}
    )


def _fill_beside(pixels: GreyImage, box: Box, heights: float, rng: Generator) -> GreyImage:
    """Retouch tissue so many heights below a box, and not the box."""
    shift = heights * (box[3] - box[1])
    return fill(pixels, (box[0], box[1] + shift, box[2], box[3] + shift), rng)


Change = Callable[[GreyImage, Boxes, str, float, Generator], Changed]

#: what looks right on real pictures (thalami, midbrain and palate do not); each after what it would be moved by
CHANGES: Mapping[str, tuple[Factors, Change]] = {
    "cisterna_magna": (CISTERNA, _thicken_band),
    "nuchal_translucency": (NUCHAL, _thicken_band),
    "fourth_ventricle": (VENTRICLE, _close_ventricle),
    "nasal_bone": (ECHO, _shorten_echo),
    "nasal_tip": (ECHO, _shorten_echo),
    "nasal_skin": (SKIN, _thicken_skin),
}
