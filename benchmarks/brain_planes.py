"""How many brain planes does a recipe name on patients that it has not seen? Cross-validation by patient.

    python benchmarks/brain_planes.py DATA --out runs/brain_planes                    # four folds, an hour of one core
    python benchmarks/brain_planes.py DATA --out runs/brain_planes --fold 0 --fold 1  # two of them
    python benchmarks/brain_planes.py DATA --out runs/natural --drawn 2.6 1.3 1.3     # other draws
    python benchmarks/brain_planes.py --told runs/brain_planes --told runs/natural    # both and what they say together

The validation split has 107 brains, too few to choose by. Here networks of the recipe for brain planes alone each learn
from three quarters of the patients of train and validation and are asked about the last one, looking at each picture
and its mirror image; the test split is not touched. A fold that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

from dicom_node.inference.batching import batches
from dicom_node.tasks.planes.net import BRAIN_PLANES, PLANES
from dicom_node.training.augmentation import keep
from dicom_node.training.datasets import PlaneExample
from dicom_node.training.loop import Run
from dicom_node.training.memory import keep_freed_memory
from dicom_node.training.recipe import of_split
from dicom_node.training.recipes import planes
from dicom_node.training.recipes.planes import KeptPlane, PlanesRecipe

FOLDS = 4
BATCH = 16
Numbers = npt.NDArray[np.float64]


class BrainPlanesRecipe(PlanesRecipe):
    """The recipe of ``planes`` for brains whose plane is known, alone: less to learn, sharper and in half precision."""

    epochs = 8
    draws = 1136
    in_halves = True

    def __init__(self, drawn: Mapping[str, float]) -> None:
        self.drawn = drawn

    def config(self) -> dict[str, Any]:
        """Add the draws, so that a run does not go on with others."""
        return {**super().config(), "drawn": dict(self.drawn)}

    def weight(self, example: PlaneExample) -> float:
        """Balance the brain planes."""
        assert example.brain_plane is not None
        return self.drawn[example.brain_plane] / planes.PICTURES_OF_BRAIN_PLANE[example.brain_plane]

    def read(self, data_dir: Path) -> Sequence[PlaneExample]:
        """Read real brains only."""
        known = [example for example in super().read(data_dir) if example.brain_plane]
        return [example for example in known if not example.picture.simulated]

    def keep(self, example: PlaneExample) -> KeptPlane:
        """Load a picture at twice what the input shows."""
        assert example.brain_plane is not None
        picture = keep(example.picture.path, self.width, self.height, reserve=2.0)
        return KeptPlane(picture, PLANES.index(example.plane), BRAIN_PLANES.index(example.brain_plane))

    def loss(self, net: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy on the brain plane."""
        return nn.functional.cross_entropy(net(batch["grey"])[1], batch["brain_plane"], label_smoothing=0.05)


def cross_validate(recipe: BrainPlanesRecipe, data: Path, out: Path, folds: Sequence[int]) -> None:
    """Train a network per fold, and write down what it says of the pictures that it has not seen."""
    examples = of_split(recipe.read(data), "train", "valid")
    fold_of = np.array([zlib.crc32(example.picture.group.encode()) % FOLDS for example in examples])
    kept = [recipe.keep(example) for example in examples]
    weights = np.array([recipe.weight(example) for example in examples])
    with Progress() as progress:
        for fold in folds:
            out_dir = out / str(fold)
            out_dir.mkdir(parents=True, exist_ok=True)
            run = Run(recipe, data, out_dir, "cpu", recipe.epochs)
            run.restore()
            drawn = weights * (fold_of != fold)
            done = run.epoch * run.steps_per_epoch
            bar = progress.add_task(f"fold {fold}", total=run.steps, completed=done)
            while run.epoch < run.epochs:
                run.one_epoch(kept, [], drawn / drawn.sum(), lambda bar=bar: progress.advance(bar))
            asked = [kept[i] for i in np.flatnonzero(fold_of == fold)]
            said = said_of(run, asked)
            names = [examples[i].picture.path.name for i in np.flatnonzero(fold_of == fold)]
            np.savez(out_dir / "said.npz", said=said, true=[one.brain_plane for one in asked], names=names)


def said_of(run: Run, asked: Sequence[KeptPlane]) -> Numbers:
    """Give the probabilities (pictures, 3), looking at each and at its mirror image."""
    net = run.average.module.eval()
    rng = np.random.default_rng(0)
    said = []
    for batch in batches(asked, BATCH):
        grey = run.recipe.collate([run.recipe.sample(one, rng, augment=False) for one in batch])["grey"]
        with torch.inference_mode():
            looks = [net(look)[1].double().softmax(dim=-1) for look in (grey, grey.flip(-1))]
        said.append(((looks[0] + looks[1]) / 2).numpy())
    return np.concatenate(said)


def tell(places: Sequence[Path]) -> None:
    """Print a row for each cross-validation, and for all together, over the folds that all have."""
    folds = sorted(set.intersection(*({path.parent.name for path in place.glob("*/said.npz")} for place in places)))
    if not folds:
        raise SystemExit("no fold is done in all of these folders")
    parts = [[np.load(place / fold / "said.npz") for fold in folds] for place in places]
    names, true = (np.concatenate([part[key] for part in parts[0]]) for key in ("names", "true"))
    if any(list(names) != [name for part in of_place for name in part["names"]] for of_place in parts):
        raise SystemExit("these folders are of different pictures")
    said = [np.concatenate([part["said"] for part in of_place]) for of_place in parts]
    rows = [(str(place), of_place) for place, of_place in zip(places, said, strict=True)]
    if len(said) > 1:
        rows.append(("together", np.mean(said, axis=0)))
    short = [name.removeprefix("trans_") for name in BRAIN_PLANES]
    table = Table("", "right", "standard error", "log-loss", *short)
    for name, probabilities in rows:
        right = probabilities.argmax(axis=1) == true
        surprise = -np.log(probabilities[np.arange(len(true)), true]).mean()
        each = [f"{right[true == plane].mean():.3f}" for plane in range(len(BRAIN_PLANES))]
        table.add_row(name, f"{right.mean():.3f}", f"{right.std() / len(true) ** 0.5:.3f}", f"{surprise:.3f}", *each)
    Console().print(f"{len(true)} brains, folds {', '.join(folds)}; right of all and of each brain plane", table)


def main() -> None:
    """Cross-validate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a folder with planes/, to train on")
    parser.add_argument("--out", type=Path, default=Path("runs/brain_planes"))
    parser.add_argument("--fold", type=int, action="append", choices=range(FOLDS), help="only this one (repeatable)")
    parser.add_argument("--drawn", type=float, nargs=3, help="how often each brain plane is drawn, not the recipe's")
    parser.add_argument("--told", type=Path, action="append", default=[], help="only tell of this folder (repeatable)")
    options = parser.parse_args()
    told = list(dict.fromkeys([*([options.out] if options.data or not options.told else []), *options.told]))
    for place in options.told:
        if not place.is_dir():
            parser.error(f"{place} is no folder")
    if options.data is not None:
        keep_freed_memory()
        drawn = dict(zip(BRAIN_PLANES, options.drawn, strict=True)) if options.drawn else planes.DRAWN_OF_BRAIN_PLANE
        cross_validate(BrainPlanesRecipe(drawn), options.data, options.out, options.fold or range(FOLDS))
    tell(told)


if __name__ == "__main__":
    main()
