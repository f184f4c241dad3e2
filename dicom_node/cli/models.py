"""`train` and `evaluate`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import console

Task = Annotated[str, typer.Argument(help="planes, structures, biometry or anomalies.")]
Data = Annotated[Path, typer.Option(help="A folder laid out as docs/models/README.md says.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(evaluate)


def train(
    task: Task,
    data: Data,
    network: Annotated[str | None, typer.Option(help="Only this network of the task (see its manifest).")] = None,
    out: Annotated[Path, typer.Option(help="Checkpoints, metrics and curves; training resumes from here.")] = Path(
        "runs"
    ),
    device: Device = "auto",
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's, in each of its courses.")] = None,
    ship: Annotated[
        bool, typer.Option(help="Then write the weights, their hash and what they have seen into models/TASK.")
    ] = False,
) -> None:
    """Train a task by its recipe; started again with the same --out it goes on where it was."""
    from dicom_node.bootstrap import MODELS
    from dicom_node.training.export import export
    from dicom_node.training.loop import train as run
    from dicom_node.training.memory import keep_freed_memory
    from dicom_node.training.recipe import recipes_for

    keep_freed_memory()
    for recipe in recipes_for(task, network):
        folder = out / task / recipe.network
        simulated = simulated_images(out, recipe.simulated, recipe.simulated_seed)
        checkpoint = run(recipe, data, folder, device, epochs=epochs, simulated_dir=simulated, models_dir=MODELS)
        console.print(f"checkpoint, metrics and curves lie in {folder}")
        if ship:
            console.print(f"shipped: {export(recipe, checkpoint, MODELS, data)}")


def evaluate(
    task: Task,
    data: Data,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    out: Annotated[Path, typer.Option(help="Simulated pictures to measure on, where a task needs them.")] = Path(
        "runs"
    ),
    device: Device = "auto",
    record: Annotated[
        str | None,
        typer.Option(help='Also write the figures into card and page; what to call the data there, as "test split".'),
    ] = None,
) -> None:
    """Measure the shipped weights on images they were not trained on, with n and 95 % confidence intervals."""
    from dicom_node.bootstrap import MODELS
    from dicom_node.training import export
    from dicom_node.training.evaluate import SIMULATED_SEED, evaluations_in, simulated_for
    from dicom_node.training.evaluate import evaluate as run

    if record is not None:
        export.page_of(task, MODELS)  # whether there is one is better known before the measuring, which takes long
    simulated = simulated_images(out, simulated_for(task), SIMULATED_SEED)
    figures = run(task, data, MODELS, device, simulated)
    told = json.dumps(figures, indent=2, allow_nan=False)
    if json_path is not None:
        json_path.write_text(f"{told}\n", encoding="utf-8")
    typer.echo(told)
    if record is not None:
        export.record(task, MODELS, evaluations_in(figures, record))


def simulated_images(out: Path, counts: Mapping[str, int], seed: int) -> Path | None:
    """Give a folder with the simulated pictures that are asked for, making them when they are not there yet."""
    from dicom_node.simulator.datasets import EDITION, write_dataset

    if not counts:
        return None
    sets = [f"{name}_{count}" for name, count in counts.items()]
    folder = out / "simulated" / "-".join([*sets, f"seed_{seed}", f"edition_{EDITION}"])
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with console.status("drawing simulated pictures"):
            write_dataset(partial, counts, seed)
        partial.rename(folder)
    return folder
