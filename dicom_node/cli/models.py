"""`train` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import console, print_json

Task = Annotated[str, typer.Argument(help="planes, structures or biometry.")]
Data = Annotated[Path, typer.Option(help="A folder laid out as docs/models/README.md says.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(evaluate)


def train(
    task: Task,
    data: Data,
    simulated: Annotated[Path | None, typer.Option(help="Simulated images of the same layout, mixed in.")] = None,
    out: Annotated[Path, typer.Option(help="Checkpoints, metrics and curves; training resumes from here.")] = Path(
        "runs"
    ),
    device: Device = "auto",
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    ship: Annotated[bool, typer.Option(help="Then write weights, hash and seen.txt into models/TASK.")] = False,
) -> None:
    """Train a task by its recipe; started again with the same --out it goes on where it was."""
    from dicom_node.bootstrap import MODELS
    from dicom_node.training.export import export
    from dicom_node.training.loop import train as run

    checkpoint = run(task, data, out / task, device, epochs=epochs, simulated_dir=simulated)
    console.print(f"checkpoint, metrics and curves lie in {out / task}")
    if ship:
        console.print(f"shipped: {export(task, checkpoint, MODELS, data)}")


def evaluate(
    task: Task,
    data: Data,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    device: Device = "auto",
) -> None:
    """Measure the shipped weights on images they were not trained on, with n and 95 % confidence intervals."""
    from dicom_node.bootstrap import MODELS
    from dicom_node.training.evaluate import evaluate as run

    figures = run(task, data, MODELS, device)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print_json(figures)
