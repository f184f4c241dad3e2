"""`serve` and `demo`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, console, parse_peer
from dicom_node.live_config import LiveConfig
from dicom_node.logs import set_up_logging


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(serve)
    app.command()(demo)


def serve(
    config_path: ConfigPath = DEFAULT_CONFIG,
    only: Annotated[str | None, typer.Option(help="Run one role: receiver, analysis, io or web.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this process; stable, it is its executor id.")] = None,
) -> None:
    """Run the node in the foreground. SIGTERM and Ctrl-C drain it: associations may finish, jobs stop between steps."""
    from dicom_node import bootstrap, supervisor

    live = LiveConfig(config_path)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    set_up_logging(live().logging, name or only or "supervisor")
    if only is None:
        bootstrap.prepare_database(live())
        processes = supervisor.processes_of(live())
        bootstrap.check_port(live(), [process for role, process in processes if role == "receiver"])
        sys.exit(supervisor.supervise(live(), live.path, stop))
    if only not in supervisor.ROLES:
        raise typer.BadParameter(f"a role is one of {', '.join(supervisor.ROLES)}")
    supervisor.stop_with_supervisor()
    bootstrap.run_role(only, name or bootstrap.default_name(only), live, stop)


def demo(
    files: Annotated[list[Path] | None, typer.Argument(help="Your own DICOM files instead of simulated ones.")] = None,
    pacs: Annotated[str | None, typer.Option(help="A real PACS, AE@HOST:PORT, instead of the small one.")] = None,
    port: Annotated[
        int | None, typer.Option(help="The node's own port, where a real PACS reports its commitment; else any.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where everything of the demo lies.")] = Path("demo"),
) -> None:
    """Run the main job here and now: a scanner sends studies, the node analyses them, a PACS holds the results."""
    from dicom_node.demo import run_demo

    sys.exit(run_demo(console, files or [], parse_peer(pacs) if pacs else None, out, port))
