"""Drawing anatomy: shapes in a body's own coordinates become the three maps of a `Scene`."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from dicom_node.simulator.speckle import FLUID_DB, FloatArray, Scene, Sector

Points = npt.NDArray[np.float64]  #: shape (N, 2), x then y
SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a body lies in the image: its unit, its origin, its turn (clockwise) and whether it is mirrored in x."""

    x_px: float
    y_px: float
    unit_px: float
    turn_deg: float = 0.0
    mirrored: bool = False

    def to_px(self, points: npt.ArrayLike) -> Points:
        """Body coordinates (N, 2) to image coordinates."""
        body = np.asarray(points, dtype=np.float64).reshape(-1, 2) * self.unit_px
        if self.mirrored:
            body = body * np.array([-1.0, 1.0])
        turn = np.deg2rad(self.turn_deg) * (-1.0 if self.mirrored else 1.0)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.asarray(body @ rotation.T + np.array([self.x_px, self.y_px]))


def arc(  # noqa: PLR0917 - centre, radii, range: the order in which one says it
    x: float, y: float, rx: float, ry: float, start_deg: float = 0.0, end_deg: float = 360.0, count: int = 96
) -> Points:
    """Points along an axis-parallel elliptic arc, angles clockwise from +x (y points down)."""
    angle = np.deg2rad(np.linspace(start_deg, end_deg, count))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def blob(  # noqa: PLR0917 - as arc
    rng: Generator, x: float, y: float, rx: float, ry: float, roughness: float = 0.06, turn_deg: float = 0.0
) -> Points:
    """Draw a closed organic outline: an ellipse with a few random harmonics."""
    angle = np.linspace(0.0, 2.0 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angle)
    for order in (2, 3, 4, 5):
        radius += roughness / order * 2.0 * rng.standard_normal() * np.cos(order * angle + rng.uniform(0.0, 6.28))
    points = np.stack([rx * radius * np.cos(angle), ry * radius * np.sin(angle)], axis=1)
    turn = np.deg2rad(turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation.T + np.array([x, y]))


def curve(points: npt.ArrayLike, count: int = 40) -> Points:
    """Draw a smooth line through a few control points (natural parameter, cubic where there are four or more)."""
    control = np.asarray(points, dtype=np.float64)
    knots = np.linspace(0.0, 1.0, len(control))
    degree = min(3, len(control) - 1)
    fit = np.linspace(0.0, 1.0, count)
    return np.stack([np.polyval(np.polyfit(knots, control[:, i], degree), fit) for i in (0, 1)], axis=1)


def smooth_noise(shape: tuple[int, int], scale_px: float, rng: Generator, stretch: float = 1.0) -> FloatArray:
    """Gaussian random field of about unit variance, features `scale_px` high and `stretch` times as wide."""
    height, width = shape[0], shape[1]
    rows, columns = int(height / scale_px) + 4, int(width / (scale_px * stretch)) + 4
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    shift_y, shift_x = rng.uniform(0.0, 1.0, 2)
    to_coarse = np.array([[1.0 / (scale_px * stretch), 0.0, 1.0 + shift_x], [0.0, 1.0 / scale_px, 1.0 + shift_y]])
    fine = cv2.warpAffine(coarse, to_coarse, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.asarray(fine * np.float32(1.3), dtype=np.float32)


class Canvas:
    """The maps of a scene while it is drawn; every coordinate given here is in image pixels."""

    def __init__(self, width: int, height: int, sector: Sector, rng: Generator) -> None:
        self.sector = sector
        self.rng = rng
        self.shape = (height, width)
        self._echo_db = np.full(self.shape, FLUID_DB, dtype=np.float32)
        self._specular = np.zeros(self.shape, dtype=np.float32)
        self._loss_db = np.zeros(self.shape, dtype=np.float32)
        uneven = 1.0 + 0.3 * smooth_noise(self.shape, 7.0, rng, 2.0) + 0.25 * smooth_noise(self.shape, 25.0, rng)
        self._unevenness = np.clip(uneven, 0.2, 1.8).astype(np.float32)  # of interfaces' brightness, around 1

    def mask(self, points: Points, softness_px: float = 1.0) -> FloatArray:
        """Coverage 0..1 of a closed outline, its edge `softness_px` wide."""
        filled = np.zeros(self.shape, dtype=np.uint8)
        cv2.fillPoly(filled, [_fixed_point(points)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        soft = cv2.GaussianBlur(filled, (0, 0), softness_px)
        return np.asarray(soft, dtype=np.float32) / np.float32(255.0)

    def tissue(
        self,
        points: Points,
        echo_db: float,
        *,
        softness_px: float = 1.5,
        texture_db: float = 0.0,
        texture_px: float = 14.0,
        loss_db: float = 0.0,
    ) -> None:
        """Fill an outline with tissue of the given echogenicity, blotchy by `texture_db`."""
        self.paint(self.mask(points, softness_px), echo_db, texture_db, texture_px)
        if loss_db > 0.0:
            self._loss_db += self.mask(points) * np.float32(loss_db)

    def paint(self, cover: FloatArray, echo_db: float, texture_db: float = 0.0, texture_px: float = 14.0) -> None:
        """Replace the echogenicity under a coverage map."""
        level = np.full(self.shape, echo_db, dtype=np.float32)
        if texture_db > 0.0:
            fine = smooth_noise(self.shape, texture_px, self.rng, 2.5)
            coarse = smooth_noise(self.shape, 4.0 * texture_px, self.rng, 2.0)
            level += (fine + np.float32(0.7) * coarse) * np.float32(texture_db)
        self._echo_db += cover * (level - self._echo_db)

    def surface(
        self,
        points: Points,
        echo_db: float,
        thickness_px: float,
        *,
        directivity: float = 1.0,
        loss_db: float = 0.0,
        gaps: float = 0.0,
    ) -> None:
        """Draw a smooth interface, brightest where the beam meets it square, as a power `directivity` of the cosine.

        `gaps` is the share of its length that is faint (sutures, drop-outs); `loss_db` what it takes from the beam.
        """
        middle = (points[1:] + points[:-1]) / 2.0
        along = np.diff(points, axis=0)
        beam = middle - np.array([self.sector.apex_x_px, self.sector.apex_y_px])
        cross = np.abs(along[:, 0] * beam[:, 1] - along[:, 1] * beam[:, 0])
        facing = cross / np.maximum(np.linalg.norm(along, axis=1) * np.linalg.norm(beam, axis=1), 1e-9)
        strength = np.maximum(facing, 0.08) ** directivity * self._dropouts(len(middle), gaps)
        strength *= 10.0 ** (echo_db / 20.0)
        thickness, room = max(round(0.7 * thickness_px), 1), int(2.0 * thickness_px) + 6
        low = np.clip(points.min(axis=0).astype(int) - room, 0, None)
        high = np.minimum(points.max(axis=0).astype(int) + room, self.shape[::-1])
        if (high <= low).any():
            return
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        layer = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.float32)
        bone = np.zeros_like(layer)
        ends = _fixed_point(points - low)
        for k, level in enumerate(strength):
            cv2.line(layer, ends[k], ends[k + 1], float(level), thickness, cv2.LINE_8, SUBPIXEL_BITS)
            if loss_db > 0.0:
                cv2.line(bone, ends[k], ends[k + 1], loss_db, thickness, cv2.LINE_8, SUBPIXEL_BITS)
        soft = cv2.GaussianBlur(layer, (0, 0), max(0.3 * thickness_px, 0.7)) * self._unevenness[window]
        self._specular[window] = np.maximum(self._specular[window], soft)
        diffuse = 20.0 * np.log10(np.maximum(soft, 1e-4)) - 6.0
        self._echo_db[window] = np.maximum(self._echo_db[window], diffuse)
        self._loss_db[window] += bone

    def shade(self, points: Points, loss_db: float) -> None:
        """Let an outline weaken the beam without changing its echo."""
        self._loss_db += self.mask(points) * np.float32(loss_db)

    def scene(self) -> Scene:
        """Give the finished maps."""
        return Scene(echo_db=self._echo_db, specular=self._specular, loss_db=self._loss_db)

    def _dropouts(self, count: int, share: float) -> Points:
        """Brightness 0.12 to 1 along an interface: faint stretches, and ends that fade when it has `share`."""
        if share <= 0.0:
            return np.ones(count)
        knots = max(min(count // 4, 14), 4)
        wave = np.interp(np.linspace(0.0, knots - 1.0, count), np.arange(knots), self.rng.uniform(0.0, 1.0, knots))
        fade = np.minimum(1.0, np.minimum(np.arange(count) + 1.0, count - np.arange(count)) / (0.12 * count))
        return np.asarray(np.clip((wave - share) / 0.25, 0.12, 1.0) * fade)


def _fixed_point(points: Points) -> npt.NDArray[np.int32]:
    return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
