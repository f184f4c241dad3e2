"""Editing config.yaml as a person would: one entry added or removed, every comment kept, a bad result never written."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dicom_node.config import parse_config
from dicom_node.errors import ConfigError


def add_scanner(path: Path, entry: dict[str, Any]) -> None:
    """Allow one more AE title to send.

    :raises ConfigError: when the file would not be valid with it; the file is then left as it was.
    """
    _edit(path, "scanners", lambda items: items.append(entry))


def add_destination(path: Path, entry: dict[str, Any]) -> None:
    """Add one more receiver of results.

    :raises ConfigError: as :func:`add_scanner`.
    """
    _edit(path, "destinations", lambda items: items.append(entry))


def remove(path: Path, name: str) -> None:
    """Remove the scanner with this AE title, or the destination with this name.

    :raises ConfigError: when there is none.
    """
    removed = False

    def drop(items: list[Any]) -> None:
        nonlocal removed
        for index, item in reversed(list(enumerate(items))):
            if item.get("name", item.get("ae_title")) == name:
                del items[index]
                removed = True

    _edit(path, "scanners", drop)
    _edit(path, "destinations", drop)
    if not removed:
        raise ConfigError(f"{path}: no scanner with AE title {name!r} and no destination of that name")


def _edit(path: Path, section: str, change: Any) -> None:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), _say_null)
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        tree = yaml.load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if tree.get(section) is None:
        tree[section] = []
    change(tree[section])
    text = StringIO()
    yaml.dump(tree, text)
    parse_config(text.getvalue(), path)
    _replace(path, text.getvalue())


def _say_null(representer: Any, _value: None) -> Any:
    """Write null as a word: an empty value reads like a mistake."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _replace(path: Path, text: str) -> None:
    """Write beside and rename, so that a running node never reads half a file."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
