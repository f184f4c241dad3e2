"""What a network of this task can find, and which networks there are.

A detector maps pictures (batch, 3, height, width) in 0..1, sides multiples of 32, to boxes and scores (batch, 4 + 9,
places). Boxes are centre x, centre y, width, height in input pixels; scores are probabilities, in the order below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STRUCTURES = (
    "thalami",
    "midbrain",
    "palate",
    "fourth_ventricle",
    "cisterna_magna",
    "nuchal_translucency",
    "nasal_tip",
    "nasal_skin",
    "nasal_bone",
)


def build_net(network: str) -> torch.nn.Module:
    """Make an untrained detector: ``swin``, else YOLO11n. torch and what each is built with are imported here."""
    if network == "swin":
        from dicom_node.tasks.structures.swin import SwinDetector  # noqa: PLC0415

        return SwinDetector()
    from dicom_node.tasks.structures.yolo11 import build_yolo11  # noqa: PLC0415

    return build_yolo11()
