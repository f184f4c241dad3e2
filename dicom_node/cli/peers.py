"""`send`, `echo` and `preflight`: talking to other nodes from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, console, parse_peer, print_table
from dicom_node.config import load_config
from dicom_node.errors import DeliveryError


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
    from dicom_node.dimse.storage_scu import send_instances
    from dicom_node.pipeline.files import expand

    outcomes = send_instances(parse_peer(to), calling, expand(files))
    failed = [(outcome.path, outcome.error) for outcome in outcomes if outcome.error]
    if failed:
        print_table("Not sent", ["file", "why"], failed)
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} sent to {to}")
    if failed:
        raise typer.Exit(1)


def echo(
    name: Annotated[str, typer.Argument(help="A destination's name, or AE@HOST:PORT.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Ask a destination whether it is there (C-ECHO), and say which step failed."""
    import time

    from dicom_node.dimse.peer import echo as send_echo
    from dicom_node.dimse.peer import peer_of

    settings = load_config(config_path)
    is_address = "@" in name  # no destination's name has one
    peer = parse_peer(name) if is_address else peer_of(settings, settings.known_destination(name))
    begun = time.monotonic()
    try:
        send_echo(peer, settings.node.ae_title)
    except DeliveryError as error:
        console.print(f"no answer: {error}", style="red")
        raise typer.Exit(1) from error
    console.print(f"{name} answered in {(time.monotonic() - begun) * 1000:.0f} ms")


def preflight(
    destination: Annotated[str, typer.Argument(help="A destination's name in the configuration.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Before go-live: does the destination answer, and which of our objects would it take, in which syntax?"""
    from dicom_node.pipeline.preflight import check_destination

    checks = check_destination(load_config(config_path), destination)
    print_table(
        f"Preflight of {destination}",
        ["check", "result", "detail"],
        [(c.what, Text("yes", style="green") if c.good else Text("no", style="red"), c.detail) for c in checks],
    )
    if not all(check.good for check in checks):
        raise typer.Exit(1)
