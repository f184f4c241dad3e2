"""Editing config.yaml as a person would: one entry added or removed, every comment kept, a bad result never written."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dicom_node.config import load_config, parse_config
from dicom_node.errors import BadInput, ConfigError

Kind = Literal["scanners", "destinations"]
Change = Callable[[Any], None]


def add_scanner(path: Path, entry: dict[str, Any]) -> None:
    """Allow one more AE title to send.

    :raises ConfigError: when the file is not valid, or would not be with it; the file is then left as it was.
    """
    _edit(path, "scanners", lambda entries: entries.append(entry))


def add_destination(path: Path, entry: dict[str, Any]) -> None:
    """Add one more receiver of results.

    :raises ConfigError: as :func:`add_scanner`.
    """
    _edit(path, "destinations", lambda entries: entries.append(entry))


def remove(path: Path, name: str, kind: Kind | None = None) -> None:
    """Remove the scanner with this AE title, or the destination with this name.

    :param kind: which of the two; None when the name says it.
    :raises BadInput: when there is none, or one of each and ``kind`` does not say which.
    :raises ConfigError: as :func:`add_scanner`.
    """
    config = load_config(path)
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

    def drop(entries: Any) -> None:
        del entries[[str(entry[key]) for entry in entries].index(name)]

    _edit(path, found[0], drop)


def _edit(path: Path, section: Kind, change: Change) -> None:
    load_config(path)  # what is wrong already is told with its line, before anything is changed
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), _say_null)
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8")) or {}
    except YAMLError as error:  # YAML 1.2 is stricter in places than what the node itself reads
        raise ConfigError(f"{path}: cannot be edited by command: {error}") from error
    if tree.get(section) is None:
        tree[section] = []
    change(tree[section])
    text = StringIO()
    yaml.dump(tree, text)
    parse_config(text.getvalue(), path)
    try:
        _replace(path.resolve(), text.getvalue())  # the file itself: a link to it stays a link
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _say_null(representer: Any, _value: None) -> Any:
    """Write null as a word: an empty value reads like a mistake."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _replace(path: Path, text: str) -> None:
    """Write beside and rename, so that a running node never reads half a file; mode, owner and group stay."""
    was = path.stat()
    beside = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            now = os.fstat(file.fileno())
            if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
                os.fchown(file.fileno(), was.st_uid, was.st_gid)
            os.fchmod(file.fileno(), was.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
