"""How the detector ``swin`` is trained; ``detection.py`` tells data and loss. It comes after ``yolo11``.

No pretrained Swin Transformer is at hand and a thousand pictures teach one little, so the shipped ``yolo11`` is its
teacher (Hinton et al. 2015; Romero et al., FitNets, ICLR 2015): stem, neck and head are the teacher's and stay as they
are, and the Swin stages learn to make the maps that the teacher's backbone makes, while the detection loss corrects
them where boxes are drawn. The maps need no boxes, so the non-standard planes of the train split teach as well.
Without a teacher everything is learned from boxes alone. AdamW, one cosine cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dicom_node.inference.weights import load_weights
from dicom_node.tasks.structures.swin import STEM, SwinDetector
from dicom_node.tasks.structures.yolo11 import NECK, backbone, build_yolo11, neck_and_head
from dicom_node.training.datasets import StructureExample, read_head_pictures, read_structures
from dicom_node.training.recipes.structures.detection import DetectorRecipe, KeptBoxes

GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  #: ultralytics' own
MAPS_LOSS = 8.0  #: weight of the maps' mean squared error, in the teacher's variance


class SwinRecipe(DetectorRecipe):
    """See the module."""

    network = "swin"
    epochs = 12
    in_halves = True
    draws = 1064
    batch_size = 8
    learning_rate = 7e-4
    weight_decay = 0.02
    width = 512
    height = 384

    def __init__(self) -> None:
        self._teacher: Any = None

    def prepare(  # a teacher is all it needs
        self,
        data_dir: Path,  # noqa: ARG002
        simulated_dir: Path | None,  # noqa: ARG002
        run_dir: Path,  # noqa: ARG002
        models_dir: Path | None,
        device: str,
    ) -> None:
        """Load the teacher."""
        if models_dir is not None:
            weights = models_dir / self.task / "yolo11.safetensors"
            self._teacher = load_weights(build_yolo11(), weights, device)

    def read(self, data_dir: Path) -> Sequence[StructureExample]:
        """Read standard planes with their boxes, then the other heads without any."""
        standard = read_structures(data_dir)
        known = {example.picture for example in standard}
        others = [StructureExample(picture, {}) for picture in read_head_pictures(data_dir) if picture not in known]
        return [*standard, *others]

    def net(self, data_dir: Path) -> nn.Module:  # noqa: ARG002 - the start is the teacher, not a file beside the data
        """Make the network; with a teacher, its stem, neck and head are the teacher's and learn nothing."""
        net = SwinDetector()
        net.yolo.args = SimpleNamespace(**GAINS, overlap_mask=False)
        if self._teacher is not None:
            net.stem.load_state_dict(self._teacher.model[:STEM].state_dict())
            net.yolo.model[NECK:].load_state_dict(self._teacher.model[NECK:].state_dict())
            for taught in (net.stem, net.yolo):
                taught.requires_grad_(requires_grad=False)
        return net

    def sample(self, kept: KeptBoxes, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture, and say whether its boxes are known."""
        return {**super().sample(kept, rng, augment=augment), "known": len(kept.boxes) > 0}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Add which pictures' boxes are known."""
        return {**super().collate(samples), "known": torch.tensor([sample["known"] for sample in samples])}

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give the detection loss per picture with boxes, and what the maps differ from the teacher's."""
        if not isinstance(net, SwinDetector):
            raise TypeError("this recipe trains a SwinDetector")
        if self._teacher is None:
            return self._detection_loss(net, net.pyramid(batch["img"]), batch)
        _hold_statistics(net.stem, net.yolo)
        maps = net.pyramid(batch["img"])
        with torch.no_grad():
            aims = backbone(self._teacher, batch["img"])
        apart = [F.mse_loss(found, aim) / aim.var() for found, aim in zip(maps, aims, strict=True)]
        return self._detection_loss(net, maps, batch) + MAPS_LOSS * torch.stack(apart).mean()

    def _detection_loss(self, net: SwinDetector, maps: Sequence[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Ask only about the pictures whose boxes are known, which get new numbers for that."""
        known = batch["known"]
        if not known.any():
            return torch.zeros((), device=known.device)
        number = known.cumsum(0) - 1
        asked = {**batch, "img": batch["img"][known], "batch_idx": number[batch["batch_idx"].long()].float()}
        parts, _ = net.yolo.loss(asked, preds=neck_and_head(net.yolo, [one[known] for one in maps]))
        loss: Tensor = parts.sum() / len(asked["img"])
        return loss


def _hold_statistics(*parts: nn.Module) -> None:
    """Keep the batch statistics of parts that do not learn."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
