"""`send`, `echo` and `preflight`: talking to other nodes from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, console, parse_peer, print_table
from dicom_node.config import load_config
from dicom_node.errors import ConfigError, DeliveryError


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    from dicom_node.cli.admin import ae

    app.command()(send)
    app.command()(preflight)
    ae.command("echo")(echo)


def send(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    to: Annotated[str, typer.Option("--to", help="AE@HOST:PORT")],
    calling: Annotated[str, typer.Option("--from", help="The AE title to call with.")] = "DICOM_NODE",
) -> None:
    """Send DICOM files as a scanner would, all on one association."""
    from dicom_node.bootstrap import send_files

    outcomes = send_files(files, parse_peer(to), calling)
    failed = [(path, error) for path, error in outcomes if error]
    print_table("Not sent", ["file", "why"], failed)
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} sent to {to}")
    if failed:
        raise typer.Exit(1)


def echo(
    name: Annotated[str, typer.Argument(help="A destination's name, or AE@HOST:PORT.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Ask a destination whether it is there (C-ECHO), and say which step failed."""
    from dicom_node.bootstrap import echo_peer

    settings = load_config(config_path)
    destination = settings.destination(name)
    if destination is not None:
        peer = (destination.ae_title, destination.host, destination.port)
    elif "@" in name:
        peer = parse_peer(name)
    else:
        raise ConfigError(f"{config_path}: no destination named {name!r}")
    try:
        seconds = echo_peer(peer, settings.node.ae_title)
    except DeliveryError as error:
        console.print(f"[red]{name} does not answer[/red]: {error}")
        raise typer.Exit(1) from error
    console.print(f"{name} answered in {seconds * 1000:.0f} ms")


def preflight(
    destination: Annotated[str, typer.Argument(help="A destination's name in the configuration.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Before go-live: does the destination answer, and which of our objects would it take, in which syntax?"""
    from dicom_node.bootstrap import preflight_destination

    checks = preflight_destination(load_config(config_path), destination)
    print_table(
        f"Preflight of {destination}",
        ["check", "result", "detail"],
        [(c.what, "[green]yes[/green]" if c.good else "[red]no[/red]", c.detail) for c in checks],
    )
    if not all(check.good for check in checks):
        raise typer.Exit(1)
