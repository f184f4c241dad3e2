"""How ``anomalies`` is trained.

Data: simulated patients of the five classes; real pictures of the train split: those of the five classes in
``brain_anomalies`` (so far normal, encephalocele and holoprosencephaly), and heads of the other sets as normal. Other
anomalies of that set are none of the five classes and are left out. Start: random weights. Loss: cross-entropy on what
the image shows (label smoothing 0.05): a simulated plane that misses the anomaly is normal, so that pooling has
something to do and heat maps something to find; half as much again, cross-entropy on what lies at each place of the
third layer, where that is known: on simulated pictures by the lesion's box, on normal ones everywhere. From random
weights and few pictures, a class alone is learned slowly. AdamW, one cosine cycle.

Real pictures of anomalies are few and come from another source than the normal ones, so a network may learn the source
instead of the anomaly. Against that: four fifths of the draws are simulated, where every class has the same look; the
real anomalies are drawn often; and black level, gain and turning, in which the sources differ, are changed at random.

Validation is on simulated patients, since one real picture with an anomaly is in that split.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dicom_node.inference.letterbox import normalised
from dicom_node.tasks.anomalies.net import ANOMALIES, PLACE, AnomaliesNet
from dicom_node.tasks.anomalies.pooling import POOLINGS
from dicom_node.training import metrics
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Grey, Kept, Matrix, keep, moved
from dicom_node.training.datasets import AnomalyExample, read_anomalies, read_normal_heads
from dicom_node.training.recipe import Recipe, stacked

# How often real pictures of a class are drawn, and how many there are in the train split (rounded). Of the last two
# there are none yet; the first one would be drawn as often as the only holoprosencephaly.
DRAWN = {"normal": 0.75, "encephalocele": 0.21, "holoprosencephaly": 0.04, "anencephaly": 0.04, "rachischisis": 0.04}
PICTURES = {"normal": 2550, "encephalocele": 6, "holoprosencephaly": 1, "anencephaly": 1, "rachischisis": 1}
CHANGES = Augmentation(turn_deg=15, zoom=0.2, stretch=0.1, shift=0.06, mirror=True, light=0.4)
MOST_BLACK = 55  #: grey value to which black is raised at most, as some sources do
LESIONS = 2.0  #: how often a simulated picture with a lesion is drawn, relative to one without
PLACES = 0.5  #: weight of the loss of places
EMPTY = 0.3  #: weight of places without a lesion, which are most
UNKNOWN = -100


@dataclass(frozen=True, slots=True)
class KeptAnomaly:
    """A picture in memory with what it shows, where if that is known, its patient's class and a number for it."""

    picture: Kept
    lesion: tuple[float, float, float, float] | None
    shown: int
    anomaly: int
    patient: int


class AnomaliesRecipe(Recipe[AnomalyExample]):
    """See the module."""

    task = "anomalies"
    network = "resnet34"
    epochs = 40
    draws = 1440
    batch_size = 24
    learning_rate = 8e-4
    weight_decay = 0.03
    width = 128
    height = 128
    simulated_share = 0.8
    simulated: ClassVar[Mapping[str, int]] = {"brain_anomalies": 4000}
    validates_on_simulated = True

    def read(self, data_dir: Path) -> Sequence[AnomalyExample]:
        """Read the pictures whose label is one of the classes, and heads of the other sets."""
        labelled = [example for example in read_anomalies(data_dir) if example.label in ANOMALIES]
        return [*labelled, *read_normal_heads(data_dir)]

    def net(self, data_dir: Path) -> nn.Module:  # noqa: ARG002 - it starts from random weights
        """Make the network."""
        return AnomaliesNet()

    def keep(self, example: AnomalyExample) -> KeptAnomaly:
        """Load a picture, its classes and its patient."""
        return KeptAnomaly(
            keep(example.picture.path, self.width, self.height),
            example.lesion,
            ANOMALIES.index(example.shows),
            ANOMALIES.index(example.label),
            zlib.crc32(example.picture.group.encode()),
        )

    def sample(self, kept: KeptAnomaly, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Place the picture."""
        grey, matrix = (CHANGES if augment else AS_IT_IS).place(kept.picture, self.width, self.height, rng)
        return {
            "grey": normalised(raised(grey, rng) if augment else grey)[None],
            "places": places_of(kept, matrix, self.width, self.height),
            "shown": np.int64(kept.shown),
            "anomaly": np.int64(kept.anomaly),
            "patient": np.int64(kept.patient),
        }

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack."""
        return stacked(samples)

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of the images and of their places."""
        images, places = cast(AnomaliesNet, net).with_places(batch["grey"])
        weight = torch.full((len(ANOMALIES),), 1.0, device=images.device)
        weight[0] = EMPTY
        loss: Tensor = F.cross_entropy(images, batch["shown"], label_smoothing=0.05)
        return loss + PLACES * F.cross_entropy(places, batch["places"], weight, ignore_index=UNKNOWN)

    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Give the share of right images, and of right patients for each way of pooling; mean AUC over the classes."""
        images = torch.cat([net(batch["grey"]).double().softmax(-1) for batch in batches]).cpu().numpy()
        column = {
            name: torch.cat([batch[name] for batch in batches]).cpu().numpy()
            for name in ("shown", "anomaly", "patient")
        }
        owners, owner = np.unique(column["patient"], return_inverse=True)
        members = [np.flatnonzero(owner == number) for number in range(len(owners))]
        of_patient = np.array([column["anomaly"][images_of[0]] for images_of in members])
        figures = {"image_accuracy": metrics.accuracy(column["shown"], images.argmax(axis=1))}
        for name, pooled in POOLINGS.items():
            patients = np.stack([pooled(images[images_of]) for images_of in members])
            figures[f"patient_accuracy_{name}"] = metrics.accuracy(of_patient, patients.argmax(axis=1))
            figures[f"auroc_macro_{name}"] = metrics.auc_macro(of_patient, patients)
        return figures

    def weight(self, example: AnomalyExample) -> float:
        """Draw real classes by their share, and simulated lesions more often; the classes are made in equal parts."""
        if example.picture.simulated:
            return 1.0 if example.lesion is None else LESIONS
        return DRAWN[example.label] / PICTURES[example.label]


def places_of(kept: KeptAnomaly, matrix: Matrix, width: int, height: int) -> npt.NDArray[np.int64]:
    """Say which class lies at each place (height / 16, width / 16); unknown for a real anomaly, which has no box."""
    places = np.zeros((height // PLACE, width // PLACE), dtype=np.int64)
    if kept.lesion is None:
        places[:] = UNKNOWN if kept.shown else 0
        return places
    x0, y0, x1, y1 = kept.lesion
    corners = moved(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), matrix) / PLACE
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    rows, columns = np.arange(places.shape[0])[:, None] + 0.5, np.arange(places.shape[1])[None] + 0.5
    inside = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
    middle = (np.floor(rows) == (top + bottom) // 2) & (np.floor(columns) == (left + right) // 2)
    places[inside | middle] = kept.shown  # the middle: a small lesion may lie between the centres of places
    return places


def raised(grey: Grey, rng: np.random.Generator) -> Grey:
    """Raise black, in every third picture, so that it tells nothing of where a picture is from."""
    if rng.random() > 1 / 3:
        return grey
    black = rng.uniform(0, MOST_BLACK)
    return np.asarray(black + grey * ((255.0 - black) / 255.0), dtype=np.uint8)


RECIPES = (AnomaliesRecipe(),)
