"""UIDs and AE titles as they come from outside: checked before anything is named after them."""

from __future__ import annotations

import re

MAXIMUM_UID_LENGTH = 64  # PS3.5 9.1

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def uid_fault(value: str) -> str | None:
    """Say in plain words what is wrong with a UID (PS3.5 9.1), or None.

    Components with a leading zero are let through: old scanners make them, every PACS takes them, and a patient's
    study is not refused for it. Everything that could be a path, or that no database could hold, is a fault.
    """
    if not value:
        return "is empty"
    if len(value) > MAXIMUM_UID_LENGTH:
        return f"has {len(value)} characters, at most {MAXIMUM_UID_LENGTH} are allowed"
    if not _UID.fullmatch(value):
        return "is not made of numbers and dots"
    return None


def printable(value: str, length: int = MAXIMUM_UID_LENGTH) -> str:
    """Make a hostile text safe for a database column and a log line: printable ASCII, cut to ``length``."""
    if value.isascii() and value.isprintable() and len(value) <= length:
        return value
    return "".join(c if " " <= c <= "~" else "?" for c in value)[:length]
