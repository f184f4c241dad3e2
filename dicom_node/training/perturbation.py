"""The same head seen again: by another hand, through another speckle and gain, on another machine.

What a feature says must outlast these, or it says something about the examination and not about the fetus. There are
no two real sites in the data: ``machine`` changes a real picture as another scanner would have shown it.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.training.datasets import Boxes

Grey = npt.NDArray[np.uint8]

CONTOUR_SHARE = 0.06  #: spread of each edge of a box, in its sides: about the overlap of 0.8 between found and drawn
GAIN = 0.15
SPECKLE = 0.15  #: spread of the grain, multiplied to the picture
GRAIN_PX = 0.8
CURVE = 0.25  #: of the exponent of the grey curve
BLUR_PX = (0.4, 1.0)
ZOOM = (0.75, 1.25)  #: the pixel of another machine, in ours


def seen_again(grey: Grey, boxes: Boxes, rng: np.random.Generator) -> Mapping[str, tuple[Grey, Boxes]]:
    """Give a picture (rows, columns) and its boxes once more for each kind of difference."""
    return {
        "contour": (grey, {name: recontoured(box, grey.shape, rng) for name, box in boxes.items()}),
        "speckle": (respeckled(grey, rng), boxes),
        "machine": other_machine(grey, boxes, rng),
    }


def recontoured(
    box: tuple[float, float, float, float], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a box (x0, y0, x1, y1) as another hand would."""
    x0, y0, x1, y1 = box
    sides = np.array([x1 - x0, y1 - y0] * 2)
    limit = np.array([*shape[1::-1]] * 2, dtype=np.float64)
    changes = np.clip(rng.normal(0.0, CONTOUR_SHARE, 4), -2 * CONTOUR_SHARE, 2 * CONTOUR_SHARE)
    left, top, right, bottom = (float(e) for e in np.clip(np.array(box) + changes * sides, 0.0, limit))
    return left, top, right, bottom


def respeckled(grey: Grey, rng: np.random.Generator) -> Grey:
    """Put a new grain on a picture and turn its gain."""
    noise = cv2.GaussianBlur(rng.normal(0.0, 1.0, grey.shape), (0, 0), GRAIN_PX)
    grain = np.asarray(noise, dtype=np.float64) * (SPECKLE / float(np.std(noise)))
    gain = float(np.exp(rng.uniform(-GAIN, GAIN)))
    return np.clip(grey * (1.0 + grain) * gain, 0, 255).astype(np.uint8)


def other_machine(grey: Grey, boxes: Boxes, rng: np.random.Generator) -> tuple[Grey, Boxes]:
    """Give a picture another grey curve, point spread and pixel size; the boxes go along."""
    zoom = float(rng.uniform(*ZOOM))
    table = 255.0 * (np.arange(256) / 255.0) ** float(np.exp(rng.uniform(-CURVE, CURVE)))
    seen = cv2.GaussianBlur(table.astype(np.uint8)[grey], (0, 0), float(rng.uniform(*BLUR_PX)))
    size = (round(grey.shape[1] * zoom), round(grey.shape[0] * zoom))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    scale = np.array([size[0] / grey.shape[1], size[1] / grey.shape[0]] * 2)
    moved = {}
    for name, box in boxes.items():
        x0, y0, x1, y1 = (float(edge) for edge in np.array(box) * scale)
        moved[name] = (x0, y0, x1, y1)
    return np.asarray(cv2.resize(seen, size, interpolation=how), dtype=np.uint8), moved
