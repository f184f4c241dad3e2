"""The planes network: EfficientNet-lite0, attention over places, a three-layer perceptron, two heads.

After Sivasubramanian et al. 2025 (light EfficientNet + attention + perceptron on FETAL_PLANES_DB).
"""

from __future__ import annotations

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

PLANES = ("brain", "abdomen", "femur", "thorax", "cervix", "other", "midsagittal_head")
BRAIN_PLANES = ("trans_thalamic", "trans_cerebellar", "trans_ventricular")
FEATURES = 1280
HEADS = 4


class AttentionPool(nn.Module):
    """Each of a few heads says where to look; a quarter of the features is gathered by each."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv2d(FEATURES, HEADS, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, 1280, h, w) to (batch, 1280)."""
        batch = features.shape[0]
        where = self.score(features).flatten(2).softmax(dim=-1)  # (batch, heads, places)
        what = features.flatten(2).view(batch, HEADS, FEATURES // HEADS, -1)
        return torch.einsum("bhp,bhcp->bhc", where, what).reshape(batch, FEATURES)


class PlanesNet(nn.Module):
    """Grey pictures (batch, 1, height, width) to logits of the planes (batch, 7) and brain planes (batch, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNet.from_name("efficientnet-lite0")
        self.backbone._fc = nn.Identity()  # noqa: SLF001 - the package has no other way to drop its classifier
        stem = self.backbone._conv_stem  # noqa: SLF001
        stem.in_channels = 1
        stem.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
        self.pool = AttentionPool()
        self.perceptron = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(FEATURES, 256),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(256, 128),
            nn.ReLU(inplace=True),
        )
        self.planes = nn.Linear(128, len(PLANES))
        self.brain_planes = nn.Linear(128, len(BRAIN_PLANES))

    def features(self, grey: Tensor) -> Tensor:
        """Give what the backbone sees (batch, 1280, height / 32, width / 32)."""
        seen: Tensor = self.backbone.extract_features(grey)
        return seen

    def named(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits of features."""
        seen = self.perceptron(self.pool(features))
        return self.planes(seen), self.brain_planes(seen)

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.named(self.features(grey))
