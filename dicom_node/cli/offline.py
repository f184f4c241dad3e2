"""`analyse`, `simulate` and `conformance`: files in, files and text out, no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, console, print_json, print_table
from dicom_node.cli.peers import send
from dicom_node.config import Config, load_config
from dicom_node.errors import BadInput
from dicom_node.profile import SERIES_NUMBERS, Profile

WrapAs = Literal["still", "cine", "both"]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(analyse)
    app.command()(simulate)
    app.command()(conformance)


def analyse(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Where the reports, captures and previews go.")],
    config_path: Annotated[Path | None, typer.Option("--config", "-c", help="Settings; defaults without.")] = None,
    destination: Annotated[
        str | None, typer.Option(help="Write what this destination of the configuration would receive.")
    ] = None,
    objects: Annotated[
        str | None, typer.Option(help="Kinds of objects with commas between, or all; instead of a destination's.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show, as heat maps, what spoke for the plane of each frame.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Analyse DICOM files offline: DICOM in; reports, captures and PNG previews out."""
    from datetime import UTC, datetime

    from dicom_node.bootstrap import load_examiner
    from dicom_node.pipeline.offline import analyse_files

    path = config_path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
    settings = load_config(path) if path else Config()
    profile = _profile(settings, destination, objects)
    with console.status("analysing"):
        examiner = load_examiner(settings, explain=explain)
        answers = analyse_files(files, out, examiner, settings, datetime.now(UTC), profile=profile)
    if as_json:
        print_json([answer.as_json() for answer in answers])
        return
    for answer in answers:
        console.print(f"\nstudy {answer.study_instance_uid}")
        print_table(
            "Findings",
            ["task", "what", "value", "image", "frame", "note"],
            [
                (
                    s["task"],
                    s["name"],
                    " ".join(str(v) for v in (s["value"], s["unit"]) if v is not None),
                    answer.files.get(s.get("instance") or "", ""),
                    s["frame"],
                    s["note"],
                )
                for s in answer.summary
            ],
        )
        print_table("Written", ["kind", "file"], answer.written)
        if answer.quarantined:
            print_table("Held back by the conformance gate", ["kind", "why"], answer.quarantined)
    if any(answer.quarantined for answer in answers):
        raise typer.Exit(1)


def _profile(settings: Config, destination: str | None, objects: str | None) -> Profile:
    """Take the profile of a destination, or the usual one, with other objects where they are named.

    :raises BadInput: there is no such destination, or no such kind of object.
    """
    profile = settings.known_destination(destination).profile if destination else Profile()
    if objects is None:
        return profile
    named = list(SERIES_NUMBERS) if objects == "all" else [kind.strip() for kind in objects.split(",")]
    wanted = tuple(kind for kind in SERIES_NUMBERS if kind in named)
    if len(wanted) != len(named):
        raise BadInput(f"--objects {objects}: name kinds once each, of {', '.join(SERIES_NUMBERS)}; or all")
    return replace(profile, objects=wanted)


def simulate(
    out: Annotated[Path, typer.Option(help="Where the DICOM files go.")] = Path("simulated"),
    from_images: Annotated[Path | None, typer.Option(help="Wrap this folder of images instead of phantoms.")] = None,
    wrap_as: Annotated[
        WrapAs, typer.Option("--as", help="Wrap each image as US Image, as JPEG cine, or both.")
    ] = "both",
    limit: Annotated[int | None, typer.Option(help="At most so many images, drawn by the seed.")] = None,
    one_study: Annotated[bool, typer.Option(help="All images in one study instead of one each.")] = False,
    mm_per_px: Annotated[
        float | None, typer.Option(help="Pixel size, when no table beside the images says it.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Also send them to AE@HOST:PORT.")] = None,
    calling: Annotated[str, typer.Option("--from", help="The AE title to send with.")] = "SIMULATOR",
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 7,
    dataset: Annotated[
        Path | None, typer.Option(help="Write data sets for training here (images and tables) instead of studies.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="With --dataset: images of each set.")] = 200,
    data: Annotated[
        Path | None,
        typer.Option(help="With --dataset: also change heads of this data folder, into DIR/changed. Not to be shared."),
    ] = None,
) -> None:
    """Make ultrasound studies: from phantoms, or by wrapping a folder of images as US Image and JPEG cine."""
    from dicom_node.simulator.studies import demo_studies, wrap_images

    if dataset is not None:
        _simulate_datasets(dataset, count, seed, data)
        return
    if data is not None:
        raise BadInput("--data goes with --dataset")
    if from_images is None:
        studies = demo_studies(out, seed)
    elif from_images.is_dir():
        studies = wrap_images(
            from_images,
            out,
            stills=wrap_as != "cine",
            cines=wrap_as != "still",
            one_study=one_study,
            limit=limit,
            seed=seed,
            mm_per_px=mm_per_px,
        )
    else:
        raise BadInput(f"{from_images} is not a folder")
    files = [file for study in studies for file in study.files]
    console.print(f"{len(studies)} studies with {len(files)} instances written to {out}")
    if to is not None:
        send(files, to, calling)


def _simulate_datasets(out: Path, count: int, seed: int, data: Path | None) -> None:
    """Write every simulated set with its exact ground truth and, from real data, heads with worked-in changes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from dicom_node.simulator.changed_heads import write_changed_heads
    from dicom_node.simulator.datasets import SETS, write_dataset

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        drawn = progress.add_task("simulated images", total=count * len(SETS))
        write_dataset(out, dict.fromkeys(SETS, count), seed, lambda: progress.advance(drawn))
        if data is not None:
            changed = progress.add_task("changed heads", total=count)
            write_changed_heads(data, out / "changed", count, seed, advance=lambda: progress.advance(changed))
    console.print(f"{count} images each of {', '.join(SETS)} written to {out}")


def conformance() -> None:
    """Print the DICOM conformance statement of this version, as Markdown: docs/conformance.md."""
    from dicom_node.bootstrap import MODELS
    from dicom_node.conformance import statement

    typer.echo(statement(MODELS), nl=False)
