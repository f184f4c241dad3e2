"""One decoded picture and what is known of its scale."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FrameReference:
    """Which picture: an instance and, in a multi-frame instance, the frame (1-based, PS3.3 C.18.3)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A calibrated 2D tissue region (PS3.3 C.8.5.5), in image pixels, x1 and y1 included.

    ``mm_per_px_x`` and ``mm_per_px_y`` are |Physical Delta| times 10, as the standard gives centimetres.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    mm_per_px_x: float
    mm_per_px_y: float

    def contains(self, points_px: npt.NDArray[np.floating]) -> bool:
        """Tell whether every point (n, 2: x, y) lies inside the region."""
        x, y = points_px[:, 0], points_px[:, 1]
        return bool(((x >= self.x0) & (x <= self.x1 + 1) & (y >= self.y0) & (y <= self.y1 + 1)).all())


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scale of a picture: its usable tissue regions, or the reason why there is none.

    Exactly one of the two is given; millimetres are only ever computed through :meth:`region_for`.
    """

    regions: tuple[Region, ...] = ()
    reason: str | None = None

    def __post_init__(self) -> None:
        if bool(self.regions) == bool(self.reason):
            raise ValueError("a calibration has either regions or the reason why it has none")

    def region_for(self, points_px: npt.NDArray[np.floating]) -> Region | str:
        """Give the one region that holds all points (n, 2), or the reason why there are no millimetres."""
        if self.reason:
            return self.reason
        for region in self.regions:
            if region.contains(points_px):
                return region
        return "the structure is not inside one calibrated tissue region"


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture.

    ``pixels`` has shape (rows, columns, 3), dtype uint8, RGB. ``plane`` is the name of the standard plane once the
    gate has seen the frame (None before), ``plane_probability`` what the gate gave it (0..1).
    """

    reference: FrameReference
    pixels: npt.NDArray[np.uint8]
    calibration: Calibration
    plane: str | None = None
    plane_probability: float | None = None

    def on_plane(self, plane: str, probability: float) -> Frame:
        """Give the same frame with the gate's answer."""
        return dataclasses.replace(self, plane=plane, plane_probability=probability)
