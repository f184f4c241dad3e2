"""What one picture may look like otherwise: placed, turned, mirrored, shadowed, lit, blurred, speckled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.inference.letterbox import Letterbox, warp
from dicom_node.training.datasets import grey_image

Matrix = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture kept in memory at about the network's resolution; ``scale`` leads from the file's pixels to it."""

    grey: Grey
    scale: tuple[float, float]


def keep(path: Path, width: int, height: int, reserve: float = 1.25) -> Kept:
    """Read a picture and shrink it to ``reserve`` times what the input can show, for augmentation to choose from."""
    grey = grey_image(path)
    rows, columns = grey.shape
    factor = min(reserve * Letterbox.fit(grey.shape, width, height).scale, 1.0)
    size = (max(round(columns * factor), 1), max(round(rows * factor), 1))  # a line stays one, however long it is
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor < 1.0 else grey
    return Kept(np.asarray(small, dtype=np.uint8), (size[0] / columns, size[1] / rows))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far pictures are changed; zero everywhere leaves them as inference sees them."""

    turn_deg: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shift: float = 0.0
    mirror: bool = False
    light: float = 0.0
    shadow: float = 0.0  #: the share of the pictures that get a shadow

    def place(self, kept: Kept, width: int, height: int, rng: np.random.Generator) -> tuple[Grey, Matrix]:
        """Give an input (height, width) and the map (2, 3) from the file's pixels (continuous) to it."""
        matrix = self._matrix(kept, width, height, rng)
        grey = warp(kept.grey, matrix, width, height)
        whole = np.vstack([matrix, [0.0, 0.0, 1.0]]) @ np.diag([*kept.scale, 1.0])
        if self.shadow and rng.random() < self.shadow:
            grey = shadowed(grey, rng)
        return (self._relit(grey, rng) if self.light else grey), whole[:2]

    def _matrix(self, kept: Kept, width: int, height: int, rng: np.random.Generator) -> Matrix:
        base = np.vstack([Letterbox.fit(kept.grey.shape, width, height).matrix, [0.0, 0.0, 1.0]])
        turn = np.deg2rad(rng.uniform(-self.turn_deg, self.turn_deg))
        zoom = np.exp(rng.uniform(-self.zoom, self.zoom))
        stretch = np.exp(rng.uniform(-self.stretch, self.stretch))
        flip = -1.0 if self.mirror and rng.random() < 0.5 else 1.0  # noqa: PLR2004 - a coin
        linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        linear = linear @ np.diag([flip * zoom * stretch, zoom / stretch])
        middle = np.array([width, height]) / 2
        change = np.eye(3)
        change[:2, :2] = linear
        change[:2, 2] = middle - linear @ middle + rng.uniform(-self.shift, self.shift, 2) * [width, height]
        return np.asarray((change @ base)[:2])

    def _relit(self, grey: Grey, rng: np.random.Generator) -> Grey:
        """Change gain, contrast curve, sharpness and speckle, as machines and their users do."""
        table = (np.arange(256) / 255.0) ** np.exp(rng.uniform(-self.light, self.light)) * 255.0
        table = table * np.exp(rng.uniform(-self.light, self.light) / 2)
        lit = np.clip(table, 0, 255).astype(np.uint8)[grey]
        if rng.random() < 0.3:  # noqa: PLR2004
            lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 1.1))
        if rng.random() < 0.3:  # noqa: PLR2004
            grain = rng.normal(1.0, 0.12, lit.shape)
            lit = np.clip(lit * grain, 0, 255).astype(np.uint8)
        return np.asarray(lit, dtype=np.uint8)


AS_IT_IS = Augmentation()


def shadowed(grey: Grey, rng: np.random.Generator) -> Grey:
    """Darken what lies behind something (rows, columns): a soft wedge that leads away from the probe above."""
    height, width = grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    probe = np.array([width * rng.uniform(0.3, 0.7), -height * rng.uniform(0.1, 0.8)])
    behind = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.05, 0.8) * height])
    start = float(np.linalg.norm(behind - probe))
    away = (behind - probe) / start
    depth = (x - probe[0]) * away[0] + (y - probe[1]) * away[1]
    aside = (x - probe[0]) * away[1] - (y - probe[1]) * away[0]
    half = width * rng.uniform(0.015, 0.08) * depth / start
    soft = width * rng.uniform(0.005, 0.02)
    wedge = _sigmoid((half - np.abs(aside)) / soft) * _sigmoid((depth - start) / soft)
    return np.asarray(np.rint(grey * (1.0 - rng.uniform(0.5, 0.95) * wedge)), dtype=np.uint8)


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))))


def moved(points: npt.NDArray[np.float64], matrix: Matrix) -> npt.NDArray[np.float64]:
    """Bring points (n, 2: x, y) through a map (2, 3)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])
