"""The one training loop: any recipe, resumable after each epoch, and told in a CSV and a picture.

Weights that are kept are the running average of those that were trained (decay 0.995 per step, less at first), or of a
``steady`` recipe their even average (Izmailov et al., Averaging Weights Leads to Wider Optima, UAI 2018).
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dicom_node.errors import BadInput
from dicom_node.inference.device import choose_device
from dicom_node.inference.frozen import multiplies_halves
from dicom_node.training.datasets import Example
from dicom_node.training.halves import halves
from dicom_node.training.recipe import Recipe, of_split

CHECKPOINT = "checkpoint.pt"
HISTORY = "epochs.csv"
CURVES = "curves.png"
BEFORE = "before"  #: the folder, in that of a run, of the run whose weights it starts from
AVERAGE_DECAY = 0.995
WARM_UP = 0.08  #: share of all steps during which the learning rate rises
SETTLING = 1 / 7  #: share of all steps of a steady recipe that have no part in its average


def train(
    recipe: Recipe[Any],
    data_dir: Path,
    out_dir: Path,
    device: str = "auto",
    epochs: int | None = None,
    *,
    resume: bool = True,
    simulated_dir: Path | None = None,
    models_dir: Path | None = None,
) -> Path:
    """Train a network by its recipe and give the path of its last checkpoint.

    With ``resume`` a run that was interrupted goes on after its last whole epoch. ``simulated_dir`` adds simulated
    pictures (the layout of ``data_dir``) to every epoch, by the recipe's share. Validation stays real, unless the
    recipe validates on simulated patients; those it then does not train on. A recipe with another ``before`` it starts
    from the averaged weights of that one, which is trained first, in a folder within ``out_dir``; ``epochs`` are those
    of each.

    :raises BadInput: no images to train on, or the checkpoint in ``out_dir`` was made by another recipe, for other
        epochs or with other simulated pictures, which are known by their folder's name.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    recipe.prepare(data_dir, simulated_dir, out_dir, models_dir, choose_device(device))
    run = Run(recipe, data_dir, out_dir, choose_device(device), epochs or recipe.epochs, simulated_dir=simulated_dir)
    if resume:
        run.restore()
    if run.epoch >= run.epochs:
        return out_dir / CHECKPOINT
    if recipe.before is not None and run.epoch == 0:
        options: Any = {"resume": resume, "simulated_dir": simulated_dir, "models_dir": models_dir}
        run.start_from(train(recipe.before, data_dir, out_dir / BEFORE, device, epochs, **options))
    examples, simulated, valid = chosen(recipe, data_dir, simulated_dir)
    with _progress() as progress:
        bar = progress.add_task(f"{recipe.network}: reading", total=len(examples) + len(simulated) + len(valid))
        kept = [_kept(recipe, example, progress, bar) for example in [*examples, *simulated]]
        checks = [_kept(recipe, example, progress, bar) for example in valid]
        weights = draw_weights(recipe, examples, simulated)
        bar = progress.add_task(
            f"{recipe.network}: training", total=run.steps, completed=run.epoch * run.steps_per_epoch
        )
        while run.epoch < run.epochs:
            run.one_epoch(kept, checks, weights, lambda: progress.advance(bar))
    return out_dir / CHECKPOINT


def chosen(
    recipe: Recipe[Any], data_dir: Path, simulated_dir: Path | None
) -> tuple[list[Example], list[Example], list[Example]]:
    """Give the real and the simulated examples to train on, and those to validate on: no patient is in two of them.

    Simulated examples are only ever added to real ones: by themselves they cannot have the recipe's share.

    :raises BadInput: no real example is of the train split, or the recipe validates on simulated patients, and there
        are none.
    """
    real = recipe.read(data_dir)
    train = of_split(real, "train")
    if not train:
        raise BadInput(f"{data_dir} has no image of the train split for {recipe.task}; it needs more patients")
    simulated = recipe.read(simulated_dir) if simulated_dir else []
    if not recipe.validates_on_simulated:
        return train, list(simulated), of_split(real, "valid")
    if not simulated:
        raise BadInput(f"{recipe.task} {recipe.network} validates on simulated patients, and there are none")
    return train, of_split(simulated, "train", "test"), of_split(simulated, "valid")


def draw_weights(recipe: Recipe[Any], real: Sequence[Example], simulated: Sequence[Example]) -> np.ndarray[Any, Any]:
    """Give the chance of each example, real ones first; the simulated ones together have the recipe's share."""
    shares = (1.0 - recipe.simulated_share, recipe.simulated_share) if simulated else (1.0, 0.0)
    parts = []
    for examples, share in zip((real, simulated), shares, strict=True):
        weights = np.array([recipe.weight(example) for example in examples])
        parts.append(share * weights / weights.sum() if len(weights) else weights)
    return np.concatenate(parts)


class Run:
    """The state of one training: network, average, optimiser and the epochs done."""

    def __init__(
        self,
        recipe: Recipe[Any],
        data_dir: Path,
        out_dir: Path,
        device: str,
        epochs: int,
        *,
        simulated_dir: Path | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        # The folder's name says how many simulated pictures, of which seed and edition.
        simulated = simulated_dir.name if simulated_dir else None
        self.config = {**recipe.config(), "epochs": epochs, "simulated": simulated}
        self.recipe = recipe
        self.out_dir = out_dir
        self.device = device
        self.epochs = epochs
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.steps_per_epoch = math.ceil(recipe.draws / recipe.batch_size)
        self.steps = self.steps_per_epoch * epochs
        self.net = recipe.net(data_dir).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.net, multi_avg_fn=self._average, use_buffers=True)
        self.optimiser = torch.optim.AdamW(_groups(self.net, recipe.weight_decay), lr=recipe.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the averaged weights of another run, whose history goes on here."""
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        self.net.load_state_dict(averaged(state))
        self.average.module.load_state_dict(averaged(state))
        self.history = state["history"]

    def one_epoch(
        self, kept: Sequence[Any], checks: Sequence[Any], weights: np.ndarray[Any, Any], step_done: Any
    ) -> None:
        """Train on one epoch's draws, look at the validation split, and write everything down."""
        rng = np.random.default_rng((self.recipe.seed, self.epoch))
        torch.manual_seed(1000 * self.recipe.seed + self.epoch)  # dropout too goes on as if nothing had happened
        started = time.monotonic()
        self.net.train()
        losses = []
        for _ in range(self.steps_per_epoch):
            chosen = rng.choice(len(kept), size=self.recipe.batch_size, p=weights)
            batch = self.recipe.collate([self.recipe.sample(kept[i], rng, augment=True) for i in chosen])
            losses.append(self.step(batch))
            step_done()
        self.epoch += 1
        row = {"epoch": float(len(self.history) + 1), "loss": float(np.mean(losses)), **self.validate(checks)}
        self.history.append({**row, "seconds": round(time.monotonic() - started, 1)})
        self.save()

    def step(self, batch: dict[str, Tensor]) -> float:
        """Take one optimiser step and give the loss."""
        with halves(enabled=self.recipe.in_halves and multiplies_halves(self.device)):
            loss = self.recipe.loss(self.net, _on(batch, self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.net)
        return float(loss.detach())

    def validate(self, checks: Sequence[Any]) -> dict[str, float]:
        """Give the averaged network's figures on the validation split."""
        if not checks:
            return {}
        size = self.recipe.batch_size
        rng = np.random.default_rng(0)
        samples = [self.recipe.sample(kept, rng, augment=False) for kept in checks]
        batches = [
            _on(self.recipe.collate(samples[start : start + size]), self.device)
            for start in range(0, len(samples), size)
        ]
        net: nn.Module = self.average.module
        net.eval()
        with torch.inference_mode():
            return self.recipe.score(net, batches)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, then the history and its picture."""
        state = {
            "config": self.config,
            "epoch": self.epoch,
            "history": self.history,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        partial = self.out_dir / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(self.out_dir / CHECKPOINT)
        self.tell()

    def tell(self) -> None:
        """Write the history and its picture, each whole or not at all."""
        partial = self.out_dir / f"{HISTORY}.partial"
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)
        partial.replace(self.out_dir / HISTORY)
        partial = self.out_dir / f"{CURVES}.partial"
        draw_curves(self.history, partial)
        partial.replace(self.out_dir / CURVES)

    def restore(self) -> None:
        """Go back to the last whole epoch, when there is one, and tell of it what a death may have left untold.

        :raises BadInput: the checkpoint's recipe, epochs or simulated pictures are not these.
        """
        path = self.out_dir / CHECKPOINT
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != self.config:
            raise BadInput(
                f"{path} was made by another recipe, for other epochs or with other simulated pictures;"
                " choose another folder"
            )
        self.epoch = state["epoch"]
        self.history = state["history"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.tell()

    def _rate(self, step: int) -> float:
        """Give the learning rate of a step as a share of the highest.

        It rises shortly, and then falls along half a cosine to 1 %, or stays if the recipe is steady.
        """
        warm = max(int(self.steps * WARM_UP), 1)
        if step < warm:
            return (step + 1) / warm
        if self.recipe.steady:
            return 1.0
        done = min((step - warm) / max(self.steps - warm, 1), 1.0)
        return 0.01 + 0.99 * (1.0 + math.cos(math.pi * done)) / 2.0

    def _average(self, kept: Any, trained: Any, steps: Any) -> None:
        """Move the average towards what was trained.

        That is faster at first, so that the start is soon forgotten; of a steady recipe all after SETTLING count alike.
        """
        done = int(steps)
        if self.recipe.steady:
            counted = max(done - int(self.steps * SETTLING), 0)
            decay = counted / (counted + 1)
        else:
            decay = min(AVERAGE_DECAY, (1 + done) / (10 + done))
        get_ema_multi_avg_fn(decay)(kept, trained, steps)  # type: ignore[no-untyped-call]


def averaged(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give the averaged weights of a checkpoint under the network's own names."""
    prefix = "module."
    return {key.removeprefix(prefix): value for key, value in state["average"].items() if key.startswith(prefix)}


def draw_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw each column of the history over the epochs, as PNG whatever the file is called."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra `train`, and slow to import

    names = [name for name in history[0] if name not in {"epoch", "seconds"}]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        axes.plot([row["epoch"] for row in history], [row[name] for row in history], marker=".")
        axes.set_title(name)
        axes.set_xlabel("epoch")
    figure.savefig(path, dpi=110, format="png")


def _kept(recipe: Recipe[Any], example: Example, progress: Progress, bar: Any) -> Any:
    progress.advance(bar)
    return recipe.keep(example)


def _on(batch: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in batch.items()}


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Leave biases and normalisation out of the weight decay."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), refresh_per_second=1
    )
