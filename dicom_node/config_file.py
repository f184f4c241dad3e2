"""Editing config.yaml as a person would: one entry added or removed, every comment kept, a bad result never written."""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any, Literal

import yaml

from dicom_node.config import Config, load_config, parse_config
from dicom_node.errors import BadInput, ConfigError

Kind = Literal["scanners", "destinations"]


def add_scanner(path: Path, entry: dict[str, Any]) -> None:
    """Allow one more AE title to send.

    :raises ConfigError: when the file is not valid, or would not be with it; the file is then left as it was.
    """
    _add(path, "scanners", entry)


def add_destination(path: Path, entry: dict[str, Any]) -> None:
    """Add one more receiver of results.

    :raises ConfigError: as :func:`add_scanner`.
    """
    _add(path, "destinations", entry)


def remove(path: Path, name: str, kind: Kind | None = None) -> None:
    """Remove the scanner with this AE title, or the destination with this name.

    :param kind: which of the two; None when the name says it.
    :raises BadInput: when there is none, or one of each and ``kind`` does not say which.
    :raises ConfigError: as :func:`add_scanner`.
    """
    _edit(path, lambda config, text: _without(text, *_place_of(config, name, kind, path)))


def _place_of(config: Config, name: str, kind: Kind | None, path: Path) -> tuple[Kind, int]:
    """Find the list that a name stands in, and its place there."""
    found: list[Kind] = []
    if kind != "destinations" and name in [scanner.ae_title for scanner in config.scanners]:
        found.append("scanners")
    if kind != "scanners" and config.destination(name) is not None:
        found.append("destinations")
    if not found:
        what = {"scanners": "scanner with AE title", "destinations": "destination named"}
        wanted = " and no ".join(f"{what[each]} {name!r}" for each in what if kind in (None, each))
        raise BadInput(f"{path}: no {wanted}")
    if len(found) > 1:
        raise BadInput(f"{name!r} is both a scanner and a destination: say which with --scanner or --destination")
    key = "ae_title" if found[0] == "scanners" else "name"
    return found[0], [getattr(entry, key) for entry in getattr(config, found[0])].index(name)


def _without(text: str, section: Kind, index: int) -> str:
    """Cut an entry out of the text; comments around it belong to what stays."""
    key, entries = _section(text, section)
    entry = entries.value[index]
    if entries.flow_style:
        # From the entry to the next one, or to the bracket; the last one takes the comma before it along.
        start, end = entry.start_mark.index, entries.end_mark.index - 1
        if index + 1 < len(entries.value):
            end = entries.value[index + 1].start_mark.index
        elif index > 0:
            start = entries.value[index - 1].end_mark.index
        return text[:start] + text[end:]
    lines = text.splitlines(keepends=True)
    first = entry.start_mark.line
    while not lines[first].lstrip().startswith("-"):
        first -= 1
    del lines[first : _last_line(entry) + 1]
    if len(entries.value) == 1:
        head = lines[key.start_mark.line]
        colon = head.index(":", key.end_mark.column) + 1
        rest = head[colon:].removeprefix("   ") if head[colon:].startswith("    ") else head[colon:]
        lines[key.start_mark.line] = f"{head[:colon]} []{rest}"
    return "".join(lines)


def _last_line(node: yaml.Node) -> int:
    """Find the line where a node ends; what a block ends with is not the blank lines and comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    line: int = node.end_mark.line
    return line


def _add(path: Path, section: Kind, entry: dict[str, Any]) -> None:
    _edit(path, lambda _, text: _with(text, section, entry))


def _with(text: str, section: Kind, entry: dict[str, Any]) -> str:
    """Put an entry at the end of a list, in the shape that the list has."""
    key, entries = _section(text, section)
    if key is None:
        return f"{text.rstrip()}\n\n{section}:\n{_as_block(entry, 2)}\n".lstrip()
    if entries.flow_style and entries.value:
        end = entries.value[-1].end_mark.index
        flow = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=math.inf).strip()
        return f"{text[:end]}, {flow}{text[end:]}"
    column = entries.start_mark.column if entries.value else 2
    if not entries.value:  # []: blanks keep the comment behind it where it is
        start, end = entries.start_mark.index, entries.end_mark.index
        text = text[:start] + " " * (end - start) + text[end:]
    lines = text.splitlines()
    lines.insert(_last_line(entries) + 1, _as_block(entry, column))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _as_block(entry: dict[str, Any], column: int) -> str:
    block = yaml.safe_dump([entry], default_flow_style=False, sort_keys=False, allow_unicode=True, width=math.inf)
    return indent(block, " " * column).rstrip()


def _section(text: str, section: Kind) -> tuple[Any, Any]:
    """Find a section's key and value as YAML nodes, which know where they stand; None twice when it is not there."""
    tree: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = tree.value if tree is not None else []
    return next(((key, value) for key, value in pairs if key.value == section), (None, None))


def _edit(path: Path, change: Callable[[Config, str], str]) -> None:
    """Read, change, check and write the file; no other edit comes between."""
    file = Path(os.path.realpath(path))  # the file itself: a link to it stays a link
    with _locked(file.parent, path) as folder:
        config = load_config(path)  # what is wrong already is told with its line, before anything is changed
        text = change(config, file.read_text(encoding="utf-8"))
        parse_config(text, path)
        try:
            _replace(file, text)
            os.fsync(folder)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def _locked(folder: Path, path: Path) -> Iterator[int]:
    """Wait until nobody else edits a file of this folder; gives the open folder.

    The lock is on the folder: the file itself is replaced by each edit, a lock file would stay behind with the rights
    of whoever came first, and who may replace a file in a folder may open that folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be edited: {folder}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write beside and rename, so that a running node never reads half a file; mode, owner and group stay."""
    was = path.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            now = os.fstat(file.fileno())
            if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), was.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # there only if something went wrong
