"""Options that several commands share, and the two ways to print a listing: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dicom_node.dimse.peer import Peer
from dicom_node.errors import InvalidIdentifier

console = Console(markup=False, emoji=False)  # what others wrote is printed as it is, brackets and colons too
WIDE = 200  #: columns of a listing that goes to a file or another program, whose width nobody knows

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="DICOM_NODE_CONFIG", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("config.yaml")


def print_json(value: Any) -> None:
    """Print one JSON document on standard output, unadorned."""
    typer.echo(json.dumps(value, indent=2, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; an empty one says so."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # a UID that is cut cannot be copied
    for row in rows:
        table.add_row(*("" if cell is None else cell if isinstance(cell, Text) else str(cell) for cell in row))
    listing = Console(markup=False, emoji=False)
    if not listing.is_terminal and "COLUMNS" not in os.environ:
        listing.width = WIDE
    listing.print(table if table.row_count else f"{title}: none")


def parse_peer(text: str) -> Peer:
    """Read ``AE@HOST:PORT``.

    :raises InvalidIdentifier: when it is not of that form.
    """
    ae_title, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (at and colon and ae_title and host and port.isdigit()):
        raise InvalidIdentifier(f"{text!r} is not AE@HOST:PORT, such as ORTHANC@127.0.0.1:4242")
    return Peer(ae_title, host, int(port))
