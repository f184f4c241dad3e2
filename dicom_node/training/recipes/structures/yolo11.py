"""How the detector ``yolo11`` is trained; ``detection.py`` tells data and loss.

Start: ``../weights/yolo11n_head_structures_352.pt`` beside the data folder where it exists (it has seen the valid split
at a smaller scale, so that split says which of two trainings is better, and not how good they are), else an untrained
network. AdamW, in three courses, each from the averaged weights of the one before: one cosine cycle with pictures at
about 85 % of their own resolution (nasal skin is 8 pixels thin), a shorter one at 95 %, and then a steady rate, whose
weights are averaged evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from dicom_node.tasks.structures.yolo11 import build_yolo11
from dicom_node.training.augmentation import Augmentation
from dicom_node.training.recipes.structures.detection import DetectorRecipe

BOX_GAINS = {
    "box": 12.0,
    "cls": 0.5,
    "dfl": 2.5,
}  #: more for where a box lies than ultralytics' own: that it is there, most know
STARTING_WEIGHTS = "weights/yolo11n_head_structures_352.pt"


class FirstCourse(DetectorRecipe):
    """Most of the learning; see the module."""

    network = "yolo11"
    epochs = 44
    draws = 832
    learning_rate = 8e-4
    simulated_share = 0.05
    in_halves = True
    changes = Augmentation(zoom=0.15, stretch=0.04, shift=0.06, mirror=True, light=0.35)

    def net(self, data_dir: Path) -> nn.Module:
        """Make the network with the starting weights, when they lie beside the data."""
        net: Any = build_yolo11()
        net.args = SimpleNamespace(**BOX_GAINS, overlap_mask=False)
        start = data_dir.parent / STARTING_WEIGHTS
        if start.is_file():
            net.load_state_dict(starting_weights(start, net.state_dict()))
        net.requires_grad_(requires_grad=True)
        result: nn.Module = net
        return result


class SharperCourse(FirstCourse):
    """The same in larger inputs; see the module."""

    epochs = 12
    learning_rate = 4e-4
    width = 640
    height = 480
    before = FirstCourse()


class Yolo11Recipe(SharperCourse):
    """The steady course, whose average is shipped; see the module."""

    epochs = 14
    steady = True
    seed = 11
    before = SharperCourse()


def starting_weights(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the numbers of an ultralytics checkpoint (a pickle: only for training, only from a trusted folder)."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)  # nosec B614
    numbers = (checkpoint.get("ema") or checkpoint["model"]).float().state_dict()
    return {name: numbers[name] for name in wanted}
