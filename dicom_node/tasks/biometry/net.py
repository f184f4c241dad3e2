"""The biometry network: a U-Net that also says which region it sees.

EfficientNet-lite0 encoder; one mask per region, trained with a joint loss.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import Tensor, nn

REGIONS = ("head", "abdomen", "femur")
ENCODER = "tu-tf_efficientnet_lite0"


class BiometryNet(nn.Module):
    """Grey pictures (batch, 1, height, width) to mask logits (batch, 3, height, width) and region logits (batch, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = smp.Unet(
            ENCODER,
            encoder_weights=None,
            decoder_channels=(128, 64, 32, 16, 16),
            in_channels=1,
            classes=len(REGIONS),
            aux_params={"classes": len(REGIONS), "dropout": 0.2},
        )

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        masks, region = self.unet(grey)
        return masks, region
