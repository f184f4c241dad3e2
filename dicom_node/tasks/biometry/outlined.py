"""One thing in a map of probabilities: which pixels are its, and its shape and size there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dicom_node.tasks.biometry.geometry import (
    BRIDGES,
    Array,
    Ellipse,
    Likely,
    Mask,
    distance,
    ellipse_of_map,
    near,
    shaft_ends,
    whole_piece,
)

FINE = 3  #: outlines are drawn at this many times the map's resolution
NEAR_PX = 8  #: of the map: probabilities as far from the mask still count for its size


@dataclass(frozen=True, slots=True)
class Outlined:
    """A map of probabilities (height, width), and at FINE times its resolution what is outlined in it.

    :ivar fine: the map, finer.
    :ivar mask: 1 where the thing is.
    :ivar close: 1 there and near it.
    """

    likely: Likely
    fine: Likely
    mask: Mask
    close: Mask

    @classmethod
    def of(cls, likely: Likely) -> Outlined:
        """Outline the one thing in a map."""
        fine = np.asarray(cv2.resize(likely, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        mask = whole_piece(fine)
        return cls(likely, fine, mask, near(mask, NEAR_PX * FINE))

    def ellipse(self) -> Ellipse:
        """Give the ellipse of something round, in the map's pixels."""
        return ellipse_of_map(self.likely * self.close[FINE // 2 :: FINE, FINE // 2 :: FINE])

    def shaft_ends(self) -> Array:
        """Give both ends (2, 2: x, y) of a bone, in the map's pixels."""
        return shaft_ends(self.fine * self.close) / FINE

    def size_px(self, region: str) -> float:
        """Give the first size of a region, in the map's pixels: 0 where nothing is outlined."""
        if not self.mask.any():
            return 0.0
        return distance(self.shaft_ends()) if region == "femur" else self.ellipse().circumference

    @property
    def confidence(self) -> float:
        """The mean probability inside the mask."""
        return float(self.fine[self.mask == 1].mean())

    @property
    def elsewhere(self) -> float:
        """The share of what is likely in the whole map that is not near the mask: a faint background is nowhere."""
        likely = self.fine * (self.fine > BRIDGES[-1])
        return float(likely[self.close == 0].sum(dtype=np.float64) / likely.sum(dtype=np.float64))
