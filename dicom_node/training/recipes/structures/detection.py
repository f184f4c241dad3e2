"""What both detectors share in training: pictures with boxes, ultralytics' detection loss, and the share found.

Data: the standard planes of ``head_structures`` (all but the images whose number ends in 7: test, or 3: valid) and
simulated mid-sagittal heads. Loss: ultralytics' detection loss, weighed by each recipe. No mosaic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept, keep, moved
from dicom_node.training.datasets import StructureExample, read_structures
from dicom_node.training.metrics import box_iou
from dicom_node.training.recipe import Recipe

CHANGES = Augmentation(turn_deg=4, zoom=0.2, stretch=0.05, shift=0.06, mirror=True, light=0.35)
VISIBLE = 0.5  #: share of a box that must still lie in the input for it to count


@dataclass(frozen=True, slots=True)
class KeptBoxes:
    """A picture in memory with its structures (n,) and boxes (n, 4: x0, y0, x1, y1 in the file's pixels)."""

    picture: Kept
    structures: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]


class DetectorRecipe(Recipe[StructureExample]):
    """See the module."""

    task = "structures"
    batch_size = 16
    weight_decay = 0.01
    width = 576
    height = 416
    simulated_share = 0.12
    simulated: ClassVar[Mapping[str, int]] = {"head_structures": 240}
    changes: ClassVar[Augmentation] = CHANGES

    def read(self, data_dir: Path) -> Sequence[StructureExample]:
        """Read boxes."""
        return read_structures(data_dir)

    def keep(self, example: StructureExample) -> KeptBoxes:
        """Load a picture and its boxes."""
        picture = keep(example.picture.path, self.width, self.height)
        names = np.array([STRUCTURES.index(name) for name in example.boxes], dtype=np.int64)
        return KeptBoxes(picture, names, np.array(list(example.boxes.values()), dtype=np.float64).reshape(-1, 4))

    def sample(self, kept: KeptBoxes, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture and bring its boxes along, as centre and size in shares of the input."""
        changes = self.changes if augment else AS_IT_IS
        grey, matrix = changes.place(kept.picture, self.width, self.height, rng)
        boxes = moved_boxes(kept.boxes, matrix)
        limit = np.array([self.width, self.height] * 2, dtype=np.float64)
        cut = np.clip(boxes, 0.0, limit)
        visible = _area(cut) >= VISIBLE * np.maximum(_area(boxes), 1e-6)
        sides = cut[:, 2:] - cut[:, :2]
        shares = np.concatenate([cut[:, :2] + sides / 2, sides], axis=1) / limit
        return {"grey": grey, "structures": kept.structures[visible], "boxes": shares[visible]}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack the pictures and list all boxes with the index of their picture, as ultralytics' loss wants it."""
        grey = torch.from_numpy(np.stack([sample["grey"] for sample in samples]))
        owner = np.concatenate([np.full(len(s["boxes"]), i, dtype=np.float32) for i, s in enumerate(samples)])
        return {
            "img": grey[:, None].float().div(255.0).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last),
            "batch_idx": torch.from_numpy(owner),
            "cls": torch.from_numpy(np.concatenate([s["structures"] for s in samples]).astype(np.float32)),
            "bboxes": torch.from_numpy(np.concatenate([s["boxes"] for s in samples]).astype(np.float32)),
        }

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give the detection loss per picture."""
        parts, _ = net(batch)
        loss: Tensor = parts.sum() / len(batch["img"])
        return loss

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Share of the boxes whose structure's best box overlaps by half, and the mean overlap of those that do."""
        overlaps = []
        for batch in batches:
            predictions = net(batch["img"])[0].cpu().numpy()
            size = np.array([self.width, self.height] * 2)
            for owner, structure, box in zip(
                *(batch[k].cpu().numpy() for k in ("batch_idx", "cls", "bboxes")), strict=True
            ):
                prediction = predictions[int(owner)]
                best = prediction[:4, prediction[4 + int(structure)].argmax()]
                overlaps.append(box_iou(_corners(best), _corners(box * size)))
        found = np.array(overlaps)
        matched = found >= 0.5  # noqa: PLR2004 - the usual threshold
        return {"found": float(matched.mean()), "mean_iou": float(found[matched].mean()) if matched.any() else 0.0}


def moved_boxes(boxes: np.ndarray[Any, Any], matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the upright boxes (n, 4) around boxes that went through a map (2, 3).

    A turned box grows; the ellipse inside it is what the structure fills, so that its bounds are taken instead.
    """
    middle = moved((boxes[:, :2] + boxes[:, 2:]) / 2, matrix)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt((half**2) @ (matrix[:, :2] ** 2).T)
    return np.concatenate([middle - reach, middle + reach], axis=1)


def _area(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def _corners(box: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    x, y, width, height = (float(number) for number in box)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
