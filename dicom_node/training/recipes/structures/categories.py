"""How the categories are trained: three TabTransformers on selected features of boxes.

Data: the boxes that the shipped detector finds, on real heads, standard and not, for the plane's quality; on simulated
heads with changed structures for the categories (``structure_categories``), which no real set has. A structure that is
absent, or that is not found, has no box and teaches nothing. Before
that, the features of all boxes are extracted (``head_features``) and selected (``selection``) on the train split; what
was selected, and how every feature came through, lies in ``selection.csv`` beside the checkpoint. A draw is a frame
with all its boxes. AdamW, one cosine cycle.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dicom_node.errors import BadInput
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.structures.categories import CATEGORIES, FEATURES, MODES, CategoriesNet
from dicom_node.tasks.structures.deep import DEEP_FEATURES, CropNet
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import RADIOMIC_NAMES
from dicom_node.training.datasets import HeadExample, read_heads, split_of
from dicom_node.training.detected import detect_boxes
from dicom_node.training.head_features import FOUND, DeepNetwork, Rows, features_of
from dicom_node.training.metrics import auc
from dicom_node.training.recipe import Recipe, stacked
from dicom_node.training.selection import Selection, Target, select, standardised

DEEP = "efficientnet_b4"
PROCESSES = 2
SEEN_AGAIN = 60  #: heads whose boxes are looked at again for the ICC
MOST = 30  #: features of a kind that a LASSO may keep
NON_STANDARD_WEIGHT = 2.0
BOX_LOSS = 0.3
NOISE = 0.15  #: added to standardised features
BOX_DROPOUT = 0.15
UNKNOWN = -1
FEATURE_NAMES = (*RADIOMIC_NAMES, *(f"deep_{i}" for i in range(DEEP_FEATURES)))
KINDS = (slice(len(RADIOMIC_NAMES)), slice(len(RADIOMIC_NAMES), FEATURES))
Features = dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A head's standardised features (9, selected), which structures it has (9,), and what is known of them."""

    features: np.ndarray[Any, Any]
    present: np.ndarray[Any, Any]
    standard: float
    categories: np.ndarray[Any, Any]


class CategoriesRecipe(Recipe[HeadExample]):
    """See the module."""

    task = "structures"
    network = "categories"
    epochs = 16
    draws = 1024
    batch_size = 32
    learning_rate = 2e-3
    weight_decay = 0.05
    width = 64  # of the crops
    height = 64
    simulated_share = 0.35
    simulated: ClassVar[Mapping[str, int]] = {"structure_categories": 600}

    def __init__(self) -> None:
        self._tables: dict[Path, Path] = {}
        self._features: dict[Path, tuple[Any, Any]] = {}
        self._selection: Selection | None = None

    def prepare(
        self, data_dir: Path, simulated_dir: Path | None, run_dir: Path, models_dir: Path | None, device: str
    ) -> None:
        """Find boxes, extract their features, and select on those of the train split."""
        if models_dir is None:
            raise BadInput("features are those of the shipped detector and network; no models are given")
        deep = deep_network(models_dir, device)
        self._tables[data_dir] = detect_boxes(data_dir, models_dir, device, run_dir.parent)
        folder = run_dir / "features"
        real = [head for head in self.read(data_dir) if split_of(head.picture.group) != "test"]
        rows = {data_dir: features_of(real, deep, folder, processes=PROCESSES)[FOUND]}
        if simulated_dir is not None:
            self._tables[simulated_dir] = detect_boxes(simulated_dir, models_dir, device, run_dir.parent)
            changed = self.read(simulated_dir)
            rows[simulated_dir] = features_of(changed, deep, folder, processes=PROCESSES)[FOUND]
        train = [head for head in real if split_of(head.picture.group) == "train"]
        chosen = train[:: max(len(train) // SEEN_AGAIN, 1)]
        again = features_of(chosen, deep, folder, again=True, processes=PROCESSES)
        self._selection = self._select(train, rows[data_dir], rows.get(simulated_dir or data_dir), again, simulated_dir)
        write_table(self._selection.table, run_dir / "selection.csv")
        for place, found in rows.items():
            self._remember(place, found)

    def _select(
        self,
        train: Sequence[HeadExample],
        real: Rows,
        simulated: Rows | None,
        again: Mapping[str, Rows],
        simulated_dir: Path | None,
    ) -> Selection:
        """Select by the planes of real heads, and by the categories of simulated ones."""
        rows = real.of_images(head.picture.path.name for head in train)
        standard = {head.picture.path.name: float(bool(head.standard)) for head in train}
        targets = [Target(np.arange(len(rows.images)), np.array([standard[name] for name in rows.images]))]
        if simulated_dir is not None and simulated is not None:
            known = {head.picture.path.name: head.categories for head in self.read(simulated_dir)}
            grade = [
                CATEGORIES.index(known[image][STRUCTURES[structure]]) if STRUCTURES[structure] in known[image] else -1
                for image, structure in zip(simulated.images, simulated.structures, strict=True)
            ]
            wanted = np.flatnonzero(np.array(grade) >= 0)
            targets.append(Target(len(rows.images) + wanted, np.array(grade, dtype=np.float64)[wanted]))
            rows = Rows(
                np.concatenate([rows.images, simulated.images]),
                np.concatenate([rows.structures, simulated.structures]),
                np.concatenate([rows.features, simulated.features]),
            )
        pairs = {kind: (again[FOUND], second) for kind, second in again.items() if kind != FOUND}
        return select(FEATURE_NAMES, KINDS, rows=rows, again=pairs, targets=targets, most=MOST, seed=self.seed)

    def _remember(self, place: Path, rows: Rows) -> None:
        """Keep every image's structures and selected features at hand."""
        values = rows.features[:, self.selection.selected]
        for image in np.unique(rows.images):
            of_it = rows.images == image
            self._features[place / str(image)] = (rows.structures[of_it], values[of_it])

    @property
    def selection(self) -> Selection:
        """What was selected.

        :raises BadInput: nothing was prepared.
        """
        if self._selection is None:
            raise BadInput("features are selected before the network is made")
        return self._selection

    def read(self, data_dir: Path) -> Sequence[HeadExample]:
        """Read heads with their boxes."""
        return read_heads(data_dir, self._tables[data_dir])

    def net(self, data_dir: Path) -> CategoriesNet:  # noqa: ARG002 - what it takes was prepared
        """Make the untrained networks for the selected features."""
        net = CategoriesNet(torch.from_numpy(self.selection.selected))
        net.mean.copy_(torch.from_numpy(self.selection.mean))
        net.scale.copy_(torch.from_numpy(self.selection.scale))
        return net

    def weight(self, example: HeadExample) -> float:
        """Draw the rarer planes more often."""
        return NON_STANDARD_WEIGHT if example.standard is False else 1.0

    def keep(self, example: HeadExample) -> KeptHead:
        """Place a head's features by structure, and standardise them."""
        place = next(place for place in self._tables if example.picture.path.is_relative_to(place))
        structures, values = self._features[place / example.picture.path.name]
        chosen = self.selection
        seen = standardised(values, structures, chosen.mean, chosen.scale).astype(np.float32)
        features = np.zeros((len(STRUCTURES), seen.shape[1]), dtype=np.float32)
        features[structures] = seen
        present = np.zeros(len(STRUCTURES), dtype=bool)
        present[structures] = True
        categories = np.full(len(STRUCTURES), UNKNOWN, dtype=np.int64)
        for name, category in example.categories.items():
            if present[STRUCTURES.index(name)]:
                categories[STRUCTURES.index(name)] = CATEGORIES.index(category)
        standard = UNKNOWN if example.standard is None else float(example.standard)
        return KeptHead(features, present, standard, categories)

    def sample(self, kept: KeptHead, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Give a head, in training with some noise and without some of its boxes."""
        features, present = kept.features, kept.present
        if augment:
            features = features + rng.normal(0.0, NOISE, features.shape).astype(np.float32)
            left = present & (rng.random(len(present)) >= BOX_DROPOUT)
            present = left if left.any() else present
        return {
            "features": features,
            "present": present,
            "standard": np.float32(kept.standard),
            "categories": np.where(present, kept.categories, UNKNOWN),
        }

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack heads."""
        return stacked(samples)

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give the sum over the networks of their cross-entropies: of planes by frame and by box, of categories."""
        present = batch["present"]
        owner, structures = present.nonzero(as_tuple=True)
        known = batch["standard"] != UNKNOWN
        categories = batch["categories"][present]
        total = batch["features"].new_zeros(())
        for mode in MODES:
            standard, category = net(batch["features"][present], structures, mode)
            if known.any():
                of_frame = frame_logits(standard, owner, len(known))
                wanted = batch["standard"]
                total = total + F.binary_cross_entropy_with_logits(of_frame[known], wanted[known])
                of_box = known[owner]
                by_box = F.binary_cross_entropy_with_logits(standard[of_box], wanted[owner][of_box])
                total = total + BOX_LOSS * by_box
            if (categories != UNKNOWN).any():
                total = total + F.cross_entropy(category, categories, ignore_index=UNKNOWN)
        return total

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """How well each network tells standard planes."""
        found: dict[str, float] = {}
        true = np.concatenate([batch["standard"].cpu().numpy() for batch in batches])
        known = true != UNKNOWN
        for mode in MODES:
            scores = []
            for batch in batches:
                owner, structures = batch["present"].nonzero(as_tuple=True)
                standard, _ = net(batch["features"][batch["present"]], structures, mode)
                scores.append(frame_logits(standard, owner, len(batch["present"])).cpu().numpy())
            found[f"{mode}_auc"] = auc(true[known] == 1, np.concatenate(scores)[known])
        return found


def frame_logits(standard: Tensor, owner: Tensor, frames: int) -> Tensor:
    """Give the mean of the logits (boxes,) of each frame's boxes."""
    sums = standard.new_zeros(frames).index_add(0, owner, standard)
    return sums / torch.bincount(owner, minlength=frames).clamp(min=1)


def deep_network(models_dir: Path, device: str) -> DeepNetwork:
    """Load the shipped network of the deep features.

    :raises BadInput: it is not shipped yet.
    """
    manifest = Manifest.read(models_dir / "structures")
    if DEEP not in manifest.networks:
        raise BadInput(f"categories are made from the features of {DEEP}: train it first, with --ship")
    net = CropNet()
    load_weights(net, manifest.weights_path(DEEP), device)
    return DeepNetwork(net, manifest.networks[DEEP].sha256, manifest.input_size(DEEP)[0], device)


def write_table(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write how every feature came through the selection."""
    columns = list(dict.fromkeys(key for row in table for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(table)
