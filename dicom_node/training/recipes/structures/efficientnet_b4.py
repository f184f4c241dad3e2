"""How the network of deep features is trained.

Data: boxes that the shipped detector finds on standard and non-standard real heads (``head_structures``; the test and
validation splits are those of the detector), and the drawn boxes of simulated heads. It learns which structure a crop
shows and, on real heads only, whether its frame is a standard plane. Start: an untrained network. A draw is one box of
one frame. AdamW, one cosine cycle.
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

from dicom_node.errors import BadInput
from dicom_node.inference.letterbox import normalised
from dicom_node.tasks.structures.deep import CropNet, crop_of
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept
from dicom_node.training.datasets import HeadExample, grey_image, read_heads
from dicom_node.training.detected import detect_boxes
from dicom_node.training.metrics import auc
from dicom_node.training.recipe import Recipe, stacked

CHANGES = Augmentation(turn_deg=10, zoom=0.12, stretch=0.08, shift=0.06, mirror=True, light=0.4)
RESERVE = 1.25  #: how much more than the crop is kept, for turns and shifts to show
NON_STANDARD_WEIGHT = 3.0  #: there are three times fewer of them
UNKNOWN = -1.0
STANDARD_LOSS = 0.7


@dataclass(frozen=True, slots=True)
class KeptCrops:
    """A head's crops in memory (each square, with its reserve), their structures, and whether its plane is standard."""

    crops: tuple[Kept, ...]
    structures: tuple[int, ...]
    standard: float


class CropRecipe(Recipe[HeadExample]):
    """See the module."""

    task = "structures"
    network = "efficientnet_b4"
    epochs = 5
    draws = 4096
    batch_size = 32
    learning_rate = 1e-3
    weight_decay = 0.02
    width = 64
    height = 64
    simulated_share = 0.15
    simulated: ClassVar[Mapping[str, int]] = {"head_structures": 240}

    def __init__(self) -> None:
        self._tables: dict[Path, Path] = {}

    def prepare(
        self, data_dir: Path, simulated_dir: Path | None, run_dir: Path, models_dir: Path | None, device: str
    ) -> None:
        """Let the shipped detector find the boxes of every real head."""
        if models_dir is None:
            raise BadInput("crops are cut from the boxes that the shipped detector finds; no models are given")
        self._tables[data_dir] = detect_boxes(data_dir, models_dir, device, run_dir.parent)
        if simulated_dir is not None:
            self._tables[simulated_dir] = simulated_dir / "head_structures" / "boxes.csv"

    def read(self, data_dir: Path) -> Sequence[HeadExample]:
        """Read heads with their boxes."""
        return read_heads(data_dir, self._tables[data_dir])

    def net(self, data_dir: Path) -> nn.Module:  # noqa: ARG002 - nothing is given to start from
        """Make an untrained network."""
        return CropNet()

    def weight(self, example: HeadExample) -> float:
        """Draw the rarer planes more often."""
        return NON_STANDARD_WEIGHT if example.standard is False else 1.0

    def keep(self, example: HeadExample) -> KeptCrops:
        """Cut every box's surroundings out of the picture."""
        grey = grey_image(example.picture.path)
        size = round(self.width * RESERVE)
        return KeptCrops(
            tuple(Kept(crop_of(grey, box, size, RESERVE), (1.0, 1.0)) for box in example.boxes.values()),
            tuple(STRUCTURES.index(name) for name in example.boxes),
            UNKNOWN if example.standard is None else float(example.standard),
        )

    def sample(self, kept: KeptCrops, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Take one box of the head."""
        i = int(rng.integers(len(kept.crops)))
        size = round(self.width * RESERVE)
        whole, _ = (CHANGES if augment else AS_IT_IS).place(kept.crops[i], size, size, rng)
        edge = (size - self.width) // 2
        crop = whole[edge : edge + self.height, edge : edge + self.width]
        return {"grey": crop, "structure": np.int64(kept.structures[i]), "standard": np.float32(kept.standard)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack crops and labels."""
        return stacked([{**sample, "grey": normalised(sample["grey"])[None]} for sample in samples])

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give the cross-entropy of the structures, and of the planes where they are known."""
        structure, standard = net(batch["grey"].contiguous(memory_format=torch.channels_last))
        known = batch["standard"] != UNKNOWN
        of_structure = F.cross_entropy(structure, batch["structure"], label_smoothing=0.05)
        if not known.any():
            return of_structure
        of_standard = F.binary_cross_entropy_with_logits(standard[known], batch["standard"][known])
        return of_structure + STANDARD_LOSS * of_standard

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Share of crops whose structure is named, and how well one crop tells its frame's plane."""
        named, true, scores = [], [], []
        for batch in batches:
            structure, standard = net(batch["grey"].contiguous(memory_format=torch.channels_last))
            named.append((structure.argmax(-1) == batch["structure"]).cpu().numpy())
            known = batch["standard"] != UNKNOWN
            true.append(batch["standard"][known].cpu().numpy() == 1)
            scores.append(standard[known].cpu().numpy())
        found = auc(np.concatenate(true), np.concatenate(scores))
        return {"named": float(np.concatenate(named).mean()), "standard_auc": found}
