"""Every command; nothing but argument parsing and printing.

Exit codes: 0 done; 1 it was tried and failed (the reason is printed); 2 wrong usage; 3 the configuration cannot
be used.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from dicom_node.cli import admin, backup, models, offline, peers, reception, run, studies
from dicom_node.errors import ConfigError, NodeError

app = typer.Typer(
    name="dicom-node",
    help="A DICOM node for fetal ultrasound: receives studies, analyses them, returns reports to the PACS. "
    "An investigational aid.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (run, studies, reception, peers, offline, models, admin, backup):
    module.register(app)


def main() -> None:
    """Run the command line; errors of the node are sentences, not tracebacks."""
    try:
        app()
    except ConfigError as error:
        _complain("the configuration cannot be used\n", error)
        sys.exit(3)
    except NodeError as error:
        _complain(f"{type(error).__name__}: ", error)
        sys.exit(1)


def _complain(what: str, error: NodeError) -> None:
    said = Text(what, style="red").append(str(error), style="default")
    Console(stderr=True).print(said, soft_wrap=True)
