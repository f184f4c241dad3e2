"""What a phantom is: a picture and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dicom_node.simulator.speckle import GreyImage

Point = tuple[float, float]
Box = tuple[float, float, float, float]

FETAL_BRAIN = "Fetal brain"
FETAL_ABDOMEN = "Fetal abdomen"
FETAL_FEMUR = "Fetal femur"
FETAL_THORAX = "Fetal thorax"
MATERNAL_CERVIX = "Maternal cervix"
OTHER = "Other"
MID_SAGITTAL_HEAD = "First-trimester mid-sagittal head"  #: not one of the six classes of the `planes` data

NOT_A_BRAIN = "Not A Brain"


@dataclass(frozen=True, slots=True)
class HeadEllipse:
    """An ellipse in the image: centre and semi-axes in pixels, angle of the major axis clockwise from +x."""

    cx_px: float
    cy_px: float
    semi_major_px: float
    semi_minor_px: float
    angle_deg: float

    @property
    def perimeter_px(self) -> float:
        """Perimeter by Ramanujan's second approximation (error below 1e-5 at these eccentricities)."""
        a, b = self.semi_major_px, self.semi_minor_px
        h = ((a - b) / (a + b)) ** 2
        return float(np.pi * (a + b) * (1.0 + 3.0 * h / (10.0 + np.sqrt(4.0 - 3.0 * h))))

    def axis_ends_px(self) -> tuple[tuple[Point, Point], tuple[Point, Point]]:
        """End points of the major and of the minor axis."""
        turn = np.deg2rad(self.angle_deg)
        along = np.array([np.cos(turn), np.sin(turn)])
        across = np.array([-along[1], along[0]])
        return self._ends(along * self.semi_major_px), self._ends(across * self.semi_minor_px)

    def _ends(self, half: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[Point, Point]:
        return (
            (float(self.cx_px + half[0]), float(self.cy_px + half[1])),
            (float(self.cx_px - half[0]), float(self.cy_px - half[1])),
        )


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """A simulated frame with exact ground truth; all coordinates are pixels of `pixels`."""

    pixels: GreyImage  #: shape (H, W), uint8
    plane: str  #: one of the constants above
    mm_per_px: float
    brain_plane: str = NOT_A_BRAIN
    standard_plane: bool = True
    boxes: dict[str, Box] = field(default_factory=dict)  #: structure -> (x0, y0, x1, y1)
    categories: dict[str, str] = field(default_factory=dict)  #: structure -> normal, borderline or abnormal
    ellipse: HeadEllipse | None = None  #: outer outline of skull or abdomen
    landmarks: dict[str, tuple[Point, Point]] = field(default_factory=dict)  #: axis1, axis2: end points
    measurements_mm: dict[str, float] = field(default_factory=dict)  #: HC, BPD, OFD, AC, FL; or sizes of structures
    mask: GreyImage | None = None  #: shape (H, W), 255 inside head, abdomen or femur shaft
    weeks: float | None = None  #: gestational age the sizes were drawn for
