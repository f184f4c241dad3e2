"""The quality gate: why a mask cannot be measured. Where there is a reason there is no number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dicom_node.inference.letterbox import Letterbox
from dicom_node.tasks.biometry.geometry import Ellipse, Likely, Mask, agreement, elongation, outline_of, overlap
from dicom_node.tasks.biometry.outlined import FINE, Outlined


@dataclass(frozen=True, slots=True)
class Gate:
    """What a mask must have. How many errors each threshold stops is told in docs/models/biometry.md."""

    minimum_share: Mapping[str, float] = field(
        default_factory=lambda: {"head": 0.02, "abdomen": 0.02, "femur": 0.0015}
    )  #: of the picture's area
    maximum_at_border: float = 0.15  #: share of the outline that lies on the picture's border
    minimum_overlap: float = 0.9  #: of the mask and its ellipse
    minimum_elongation: float = 6.0  #: of a femur
    minimum_confidence: Mapping[str, float] = field(
        default_factory=lambda: {"head": 0.9, "abdomen": 0.85, "femur": 0.9}
    )  #: mean probability inside the mask
    minimum_agreement: Mapping[str, float] = field(
        default_factory=lambda: {"head": 0.95, "abdomen": 0.94, "femur": 0.89}
    )  #: of the looks at the picture and at its mirror image
    maximum_elsewhere: float = 0.1  #: share of what looks like the region that lies away from the outline
    maximum_change: Mapping[str, float] = field(
        default_factory=lambda: {"head": 0.05, "abdomen": 0.05, "femur": 0.1}
    )  #: of the size when the picture is turned
    same_region: bool = True  #: as the plane's, where the segmentation says which region it sees

    def fault_of_region(self, plane: str, region: str, seen: str) -> str | None:
        """Say why a picture of a plane is not measured whose segmentation sees another region, or None."""
        if self.same_region and seen != region:
            return f"the plane is {plane}, but the segmentation sees the {seen}"
        return None

    def fault(self, outlined: Outlined, region: str, fit: Letterbox) -> str | None:
        """Say why what was outlined cannot be measured, or None.

        What was seen elsewhere is another femur, or the rest of this one beyond a gap.
        """
        x0, y0 = round(fit.x_px * FINE), round(fit.y_px * FINE)
        x1, y1 = outlined.mask.shape[1] - x0, outlined.mask.shape[0] - y0
        area = np.count_nonzero(outlined.mask)
        if not area or area < self.minimum_share[region] * (x1 - x0) * (y1 - y0):
            return f"no {region} was outlined"
        if outlined.confidence < self.minimum_confidence[region]:
            return f"the outline of the {region} is uncertain"
        x, y = outline_of(outlined.mask).T
        at_border = (x < x0 + FINE) | (x > x1 - FINE) | (y < y0 + FINE) | (y > y1 - FINE)
        if at_border.mean() > self.maximum_at_border:
            return f"the {region} leaves the picture"
        if outlined.elsewhere > self.maximum_elsewhere:
            return f"more of the {region} was seen outside its outline"
        return None

    def fault_of_looks(self, looks: Likely, region: str) -> str | None:
        """Say why two maps of a region (2, height, width; probabilities) cannot be one outline, or None."""
        if agreement(looks[0], looks[1]) < self.minimum_agreement[region]:
            return f"two looks at the {region} disagree"
        return None

    def fault_of_turn(self, size: float, turned: float, region: str) -> str | None:
        """Say why a size is not to be trusted that is another one in the turned picture, or None."""
        if not abs(turned / size - 1.0) <= self.maximum_change[region]:  # so that what is no number is a fault too
            return f"the {region} has another size when the picture is turned"
        return None

    def fault_of_ellipse(self, mask: Mask, ellipse: Ellipse, region: str) -> str | None:
        """Say why a mask is not the ellipse that was found for it (both in the mask's pixels), or None."""
        if overlap(mask, ellipse) < self.minimum_overlap:
            return f"the outline of the {region} is not an ellipse"
        return None

    def fault_of_shaft(self, mask: Mask) -> str | None:
        """Say why a mask is not a bone's shaft, or None."""
        return "the outline of the femur is not a shaft" if elongation(mask) < self.minimum_elongation else None


GATE = Gate()
NOTHING = {"head": 0.0, "abdomen": 0.0, "femur": 0.0}
ANYTHING = {"head": np.inf, "abdomen": np.inf, "femur": np.inf}
#: Lets everything through that has a size at all: what errors there would be without the gate.
OPEN = Gate(
    minimum_share=NOTHING,
    maximum_at_border=1.0,
    minimum_overlap=0.0,
    minimum_elongation=1.0,
    minimum_confidence=NOTHING,
    minimum_agreement=NOTHING,
    maximum_elsewhere=1.0,
    maximum_change=ANYTHING,
    same_region=False,
)
