"""From a stored picture to a network's input and back: grey, scaled to fit, centred on black."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

GREY_MEAN, GREY_SPREAD = 0.449, 0.226  #: the ImageNet statistics, averaged over the colours


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture lies in an input of ``width`` x ``height`` pixels; coordinates are continuous (PS3.3 C.18.6)."""

    scale: float
    x_px: float
    y_px: float
    width: int
    height: int

    @classmethod
    def fit(cls, shape: tuple[int, ...], width: int, height: int) -> Letterbox:
        """Centre a picture of ``shape`` (rows, columns, ...) in the input, as large as it goes without distortion."""
        rows, columns = shape[:2]
        scale = min(width / columns, height / rows)
        return cls(scale, (width - columns * scale) / 2, (height - rows * scale) / 2, width, height)

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The map from picture to input as a (2, 3) matrix over continuous coordinates."""
        return np.array([[self.scale, 0.0, self.x_px], [0.0, self.scale, self.y_px]])

    def apply(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Give the input (height, width) of a grey picture (rows, columns)."""
        return warp(grey, self.matrix, self.width, self.height)

    def to_picture(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Bring points (n, 2: x, y) of the input back into the picture."""
        return np.asarray((points - np.array([self.x_px, self.y_px])) / self.scale, dtype=np.float64)


def warp(
    grey: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Draw a grey picture under an affine map of continuous coordinates; what lies outside is black.

    A picture that shrinks is averaged over its pixels first, so that speckle does not turn into aliasing.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = grey
    if scale < 1.0:
        size = (max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1))
        source = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    matrix = matrix @ np.diag([grey.shape[1] / source.shape[1], grey.shape[0] / source.shape[0], 1.0])
    centred = matrix.copy()  # OpenCV counts from the centre of the first pixel, DICOM from its corner
    centred[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(cv2.warpAffine(source, centred, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def grey_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give the grey picture (rows, columns) of an RGB one (rows, columns, 3)."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def normalised(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bring grey values 0..255 to the spread that ImageNet weights expect, keeping the shape."""
    return ((grey.astype(np.float32) / 255.0 - GREY_MEAN) / GREY_SPREAD).astype(np.float32)
