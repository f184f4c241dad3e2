"""`backup` and `restore`: a copy of everything while the node runs, and a node made of a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, console, print_table
from dicom_node.config import load_config


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, on another disk.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Copy the database and every file into a folder, while the node runs or not. Exit code 1: the copy has faults."""
    from dicom_node.admin import back_up

    copied = back_up(load_config(config_path), folder)
    console.print(
        f"{copied.files} files, {copied.bytes / 1e9:.2f} GB, in {folder}; the configuration is not among them"
    )
    if copied.problems:
        print_table("Not whole on the node's own disk", ["file and fault"], [(it,) for it in copied.problems])
        raise typer.Exit(1)


def restore(
    folder: Annotated[Path, typer.Argument(help="What `backup` made.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Make a node of a backup: every digest is checked, and nothing that is there already is written over."""
    from dicom_node.admin import restore as restore_node

    copied = restore_node(load_config(config_path), folder)
    console.print(f"{copied.files} files are back, all as they were; `dicom-node serve` goes on from here")
