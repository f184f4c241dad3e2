"""What a recipe is: everything that one network's training needs, told in ``recipes/<task>.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.errors import BadInput
from dicom_node.training.datasets import Kind, Split, split_of

CONFIGURED = (
    *("task", "network", "epochs", "draws", "batch_size", "learning_rate", "weight_decay"),
    *("width", "height", "simulated_share", "seed", "steady", "in_halves"),
)


class Recipe(ABC, Generic[Kind]):
    """One network's training. The loop asks, the recipe answers; its class attributes are what the checkpoint keeps."""

    task: ClassVar[str]
    network: ClassVar[str]  #: as the manifest names it
    epochs: ClassVar[int]
    draws: ClassVar[int]  #: pictures per epoch
    batch_size: ClassVar[int]
    learning_rate: ClassVar[float]
    weight_decay: ClassVar[float]
    width: ClassVar[int]
    height: ClassVar[int]
    simulated_share: ClassVar[float] = 0.3  #: of an epoch's draws, where simulated pictures are given
    simulated: ClassVar[Mapping[str, int]] = {}  #: how many pictures of which set the simulator makes for it
    simulated_seed: ClassVar[int] = 5
    validates_on_simulated: ClassVar[bool] = False  #: where there are too few real pictures to watch a training by
    in_halves: ClassVar[bool] = (
        False  #: whether it is trained in half precision where a processor has instructions for it
    )
    seed: ClassVar[int] = 7
    before: ClassVar[Recipe[Any] | None] = None  #: of the same network, whose averaged weights are this one's start
    steady: ClassVar[bool] = False  #: the learning rate does not fall, and all weights on the way are averaged

    def prepare(
        self, data_dir: Path, simulated_dir: Path | None, run_dir: Path, models_dir: Path | None, device: str
    ) -> None:
        """Make what reading needs and what takes long, once; it lies in ``run_dir`` and is found there again.

        ``models_dir`` holds the shipped models, on whose answers a recipe may build.

        :raises BadInput: it builds on a model, and ``models_dir`` is not given.
        """

    @abstractmethod
    def read(self, data_dir: Path) -> Sequence[Kind]:
        """Read every example of a data folder."""

    @abstractmethod
    def net(self, data_dir: Path) -> nn.Module:
        """Make the network with its starting weights."""

    @abstractmethod
    def keep(self, example: Kind) -> Any:
        """Load what an example needs into memory, once."""

    @abstractmethod
    def sample(self, kept: Any, rng: np.random.Generator, *, augment: bool) -> dict[str, Any]:
        """Make one training sample; its values are arrays or numbers of one shape, or lists that ``collate`` knows."""

    @abstractmethod
    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch of samples."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give the loss of a batch, a scalar."""

    @abstractmethod
    def score(self, net: nn.Module, batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Give figures of the network (in eval mode) on validation batches."""

    def weight(self, example: Kind) -> float:  # noqa: ARG002 - a recipe may have reasons to look
        """Say how often an example is drawn, relative to the others."""
        return 1.0

    def config(self) -> dict[str, Any]:
        """Give the recipe's numbers, with those of the course before it, as a checkpoint keeps them."""
        before = self.before.config() if self.before else None
        return {**{name: getattr(self, name) for name in CONFIGURED}, "before": before}


def recipes_for(task: str, network: str | None = None) -> tuple[Recipe[Any], ...]:
    """Give the recipes of a task in the order of training, or the one of a network.

    They are the ``RECIPES`` of ``dicom_node.training.recipes.<task>``.

    :raises BadInput: there is none.
    """
    module = f"dicom_node.training.recipes.{task}"
    try:
        recipes: tuple[Recipe[Any], ...] = import_module(module).RECIPES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(f"no recipe trains {task!r}") from error
    chosen = tuple(recipe for recipe in recipes if network in {None, recipe.network})
    if not chosen:
        raise BadInput(f"{task} has no network {network!r}, but {', '.join(recipe.network for recipe in recipes)}")
    return chosen


def of_split(examples: Sequence[Kind], *splits: Split) -> list[Kind]:
    """Choose the examples of some splits."""
    return [example for example in examples if split_of(example.picture.group) in splits]


def stacked(samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Collate samples of equal shapes."""
    return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}
