"""How far is the AC off on patients that the network has not seen? Cross-validation by patient.

    python benchmarks/abdomens.py DATA                    # four folds, an hour of one core
    python benchmarks/abdomens.py DATA --fold 0 --fold 1  # two of them
    python benchmarks/abdomens.py                         # only tell what is there

The test split has 24 abdomens, and one of them can move their mean error by two millimetres; the validation split has
12. Here one network learns from the heads of HC18 and from simulated pictures, and from it one for each quarter of the
patients of train and validation, which learns abdomens and femurs of the other three quarters. Each is asked about its
own quarter as the node would ask it, with the quality gate; the test split is not touched. A course that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from torch import nn

from dicom_node.bootstrap import MODELS
from dicom_node.cli.models import simulated_images
from dicom_node.domain.finding import Measurement
from dicom_node.errors import BadInput
from dicom_node.inference.batching import batches
from dicom_node.inference.frozen import frozen
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.biometry import NETWORK, Biometry
from dicom_node.training.datasets import BiometryExample
from dicom_node.training.loop import CHECKPOINT, Run, draw_weights
from dicom_node.training.measuring import frame_of
from dicom_node.training.memory import keep_freed_memory
from dicom_node.training.recipe import of_split
from dicom_node.training.recipes.biometry import CHANGES, FirstCourse, KeptShape, sure_edge

FOLDS = 4
MEASURED = "measured.csv"
BATCH = 8
#: By the label: half of the abdomens have less than 160 mm, and few of the last weeks have more than 290.
SIZES_MM = ((0.0, 160.0), (160.0, 290.0), (290.0, 500.0))


class Heads(FirstCourse):
    """The recipe of ``biometry`` for heads of HC18 and simulated pictures: no patient of the folds is in it."""

    epochs = 4
    simulated_share = 0.4
    changes = replace(CHANGES, shadow=0.25)


class Abdomens(FirstCourse):
    """A short course of mostly abdomens, without those of one fold."""

    epochs = 6
    draws = 576
    learning_rate = 7e-4
    simulated_share = 0.12
    seed = 21
    changes = replace(CHANGES, shadow=0.5)
    before = Heads()
    share: ClassVar[Mapping[str, float]] = {"head": 0.2, "abdomen": 0.6, "femur": 0.2}

    def __init__(self, fold: int, examples: Sequence[BiometryExample]) -> None:
        self.fold = fold
        regions = [example.region for example in examples if self.learns(example)]
        self.pictures = {region: regions.count(region) for region in self.share}

    def config(self) -> dict[str, Any]:
        """Add the fold, so that a run does not go on with another."""
        return {**super().config(), "fold": self.fold}

    def learns(self, example: BiometryExample) -> bool:
        """Tell whether an example is learned: heads of HC18, and the rest of patients in other folds."""
        return example.region == "head" or fold_of(example) != self.fold

    def weight(self, example: BiometryExample) -> float:
        """Draw each region by its share."""
        if example.picture.simulated:
            return super().weight(example)
        return self.share[example.region] / self.pictures[example.region] if self.learns(example) else 0.0


def fold_of(example: BiometryExample) -> int:
    """Give the quarter of the patients to which an example belongs."""
    return zlib.crc32(example.picture.group.encode()) % FOLDS


def cross_validate(data: Path, out: Path, folds: Sequence[int]) -> None:
    """Train a network per fold, and write down what it measures on the abdomens that it has not seen.

    :raises BadInput: a region has no picture.
    """
    heads = Heads()
    real = [example for example in of_split(heads.read(data), "train", "valid") if sure_edge(example)]
    if {example.region for example in real} < {"head", "abdomen", "femur"}:
        raise BadInput(f"{data} lacks heads of HC18, or abdomens or femurs with landmarks")
    simulated_dir = simulated_images(Path("runs"), heads.simulated, heads.simulated_seed)
    assert simulated_dir is not None
    simulated = heads.read(simulated_dir)
    kept = {example.picture.path: heads.keep(example) for example in track([*real, *simulated], "reading")}
    first = Run(heads, data, out / "heads", "cpu", heads.epochs, simulated_dir=simulated_dir)
    of_heads = [example for example in real if example.region == "head"]
    train(first, of_heads, simulated, kept)
    for fold in folds:
        recipe = Abdomens(fold, real)
        run = Run(recipe, data, out / str(fold), "cpu", recipe.epochs, simulated_dir=simulated_dir)
        train(run, real, simulated, kept, start=first.out_dir / CHECKPOINT)
        asked = [example for example in real if example.region == "abdomen" and fold_of(example) == fold]
        rows = measured(run.average.module, asked)
        with (run.out_dir / MEASURED).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "label_mm", "measured_mm"), *rows])


def train(
    run: Run,
    examples: Sequence[BiometryExample],
    simulated: Sequence[BiometryExample],
    kept: Mapping[Path, KeptShape],
    *,
    start: Path | None = None,
) -> None:
    """Train from where it was left, at first from the averaged weights of a checkpoint."""
    run.out_dir.mkdir(parents=True, exist_ok=True)
    run.restore()
    if run.epoch == 0 and start is not None:
        run.start_from(start)
    pictures = [kept[example.picture.path] for example in [*examples, *simulated]]
    weights = draw_weights(run.recipe, examples, simulated)
    with Progress() as progress:
        done = run.epoch * run.steps_per_epoch
        bar = progress.add_task(run.out_dir.name, total=run.steps, completed=done)
        while run.epoch < run.epochs:
            run.one_epoch(pictures, [], weights, lambda: progress.advance(bar))


def measured(net: nn.Module, examples: Sequence[BiometryExample]) -> list[tuple[str, float, float]]:
    """Give image, label and AC in mm of each example, NaN where the quality gate gives no number."""
    manifest = Manifest.read(MODELS / "biometry")
    width, height = manifest.input_size(NETWORK)
    task = Biometry(manifest, frozen(net.eval(), "cpu", forward=(1, height, width)), "cpu")
    frames = [frame_of(example.picture, example.mm_per_px).on_plane("abdomen", 1.0) for example in examples]
    values = []
    for batch in batches(frames, BATCH):
        for frame, seen in zip(batch, task.look(batch), strict=True):
            said = (one.value for one in task.read(frame, seen) if isinstance(one, Measurement) and one.name == "AC")
            values.append(next(said, float("nan")))
    return [(one.picture.path.name, one.value_mm, value) for one, value in zip(examples, values, strict=True)]


def tell(out: Path) -> None:
    """Print a row for each range of sizes, over the folds that are done."""
    done = sorted(out.glob(f"*/{MEASURED}"))
    rows = [row for path in done for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    if not rows:
        raise SystemExit(f"no fold is done in {out}; give a data folder")
    label, found = (np.array([float(row[name]) for row in rows]) for name in ("label_mm", "measured_mm"))
    table = Table("label, mm", "abdomens", "answered", "mean error, mm", "standard error", "median", "bias", "mean, %")
    for low, high in [*SIZES_MM, (0.0, np.inf)]:
        within = (label >= low) & (label < high)
        answered = within & ~np.isnan(found)
        off = found[answered] - label[answered]
        error = np.abs(off)
        figures = (error.mean(), error.std() / len(error) ** 0.5, np.median(error), off.mean())
        percent = 100 * (error / label[answered]).mean()
        name = f"{low:.0f} to {high:.0f}" if high < np.inf else "all"
        counts = (str(within.sum()), str(answered.sum()))
        table.add_row(name, *counts, *(f"{figure:.2f}" for figure in (*figures, percent)))
    Console().print(f"folds {', '.join(path.parent.name for path in done)}", table)


def main() -> None:
    """Cross-validate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a folder with abdomens, to train on")
    parser.add_argument("--out", type=Path, default=Path("runs/abdomens"))
    parser.add_argument("--fold", type=int, action="append", choices=range(FOLDS), help="only this one (repeatable)")
    options = parser.parse_args()
    if options.data is not None:
        keep_freed_memory()
        try:
            cross_validate(options.data, options.out, options.fold or range(FOLDS))
        except BadInput as error:
            parser.error(str(error))
    tell(options.out)


if __name__ == "__main__":
    main()
