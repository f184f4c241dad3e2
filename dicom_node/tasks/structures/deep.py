"""1,792 deep features of a structure's surroundings: EfficientNet-B4 on a square crop, pooled.

Source: Tan and Le, ICML 2019. Its own heads (which structure, is the plane standard) are what it was trained by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import normalised, warp
from dicom_node.tasks.structures.net import STRUCTURES

if TYPE_CHECKING:
    from dicom_node.tasks.structures.radiomics import Box, Grey

DEEP_FEATURES = 1792
CONTEXT = 1.5  #: side of the crop, in longest sides of the box
SMALLEST_SHARE = 0.1  #: side of the crop, at least, of the picture's long side
BATCH = 32


class CropNet(nn.Module):
    """EfficientNet-B4 for one grey channel: crops (n, 1, size, size) to structure logits (n, 9) and standard (n,)."""

    def __init__(self) -> None:
        super().__init__()
        import timm  # noqa: PLC0415 - slow to import

        self.backbone = timm.create_model("efficientnet_b4", pretrained=False, in_chans=1, num_classes=0, drop_rate=0.0)
        self.dropout = nn.Dropout(0.3)
        self.structure = nn.Linear(DEEP_FEATURES, len(STRUCTURES))
        self.standard = nn.Linear(DEEP_FEATURES, 1)

    def features(self, crops: Tensor) -> Tensor:
        """Give the pooled features (n, 1792)."""
        pooled: Tensor = self.backbone(crops)
        return pooled

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Give both heads' logits."""
        pooled = self.dropout(self.features(crops))
        return self.structure(pooled), self.standard(pooled)[:, 0]


def crop_of(grey: Grey, box: Box, size: int, reserve: float = 1.0) -> Grey:
    """Cut the square around a box (x0, y0, x1, y1; picture pixels) out of a picture, as (size, size).

    ``reserve`` is how much larger than usual the square is.
    """
    x0, y0, x1, y1 = box
    side = reserve * max(CONTEXT * max(x1 - x0, y1 - y0), SMALLEST_SHARE * max(grey.shape))
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    first = np.maximum(np.floor([left - 2, top - 2]), 0).astype(int)
    last = np.ceil([left + side + 2, top + side + 2]).astype(int)
    part = grey[first[1] : last[1], first[0] : last[0]]
    scale = size / side
    matrix = np.array([[scale, 0.0, (first[0] - left) * scale], [0.0, scale, (first[1] - top) * scale]])
    return warp(part, matrix, size, size)


def deep_features(net: CropNet, crops: Sequence[Grey], device: str) -> npt.NDArray[np.float32]:
    """Give the features (n, 1792) of crops of one size."""
    found = [np.zeros((0, DEEP_FEATURES), dtype=np.float32)]
    with torch.inference_mode():
        for batch in batches(crops, BATCH):
            seen = torch.from_numpy(normalised(np.stack(batch)))[:, None].to(device)
            found.append(net.features(seen.contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(found)
