"""Damage done to encoded data sets where it hurts: at the headers of elements, in lengths, at cuts and copies.

Bytes changed at random places mostly fall into values, which nobody looks at. The strategies here know where the
elements of a sound data set begin. ``FUZZ`` is for the suite: the same examples each time, few of them; the
environment variable DICOM_NODE_FUZZ asks for that many others.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dicom_node.elements import Elements
from dicom_node.errors import UnreadableDataset

_LENGTHS = (0, 1, 2, 3, 7, 64, 65, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = (b"UI", b"SQ", b"UN", b"OB", b"OW", b"US", b"DS", b"IS", b"PN", b"FD", b"AT", b"UT", b"??", b"\0\0")
_TAGS = (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x00080005, 0x00280010, 0x00280008, 0x7FE00010, 0x0020000D, 0x00020010)
_VALUES = (
    b"",
    b"\0",
    b"\xff" * 8,
    b"9" * 20,
    b"-1",
    b"nan",
    b"1e999",
    b"\\\\\\",
    b"ISO_IR 999",
    b"\x1b$B",
    b"\xfe\xff",
)


def fuzz(examples: int) -> settings:
    """Say how many examples are tried: as many in the suite, those that DICOM_NODE_FUZZ asks for in a longer run."""
    asked = os.environ.get("DICOM_NODE_FUZZ")
    return settings(
        max_examples=int(asked) if asked else examples,
        derandomize=asked is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def damaged(sound: bytes, transfer_syntax_uid: str, start: int = 0) -> st.SearchStrategy[bytes]:
    """Damage a data set, which begins at ``start``, in one to four ways."""
    headers = element_headers(sound, transfer_syntax_uid, start)
    return st.lists(_damage(headers), min_size=1, max_size=4).map(lambda ways: _apply(sound, ways))


def damaged_bytes(sound: bytes, places: Sequence[int]) -> st.SearchStrategy[bytes]:
    """Damage bytes of another kind at places where it matters."""
    return st.lists(_damage(places), min_size=1, max_size=4).map(lambda ways: _apply(sound, ways))


def element_headers(sound: bytes, transfer_syntax_uid: str, start: int = 0) -> list[int]:
    """List where elements and items begin, those in sequences included."""
    elements = Elements(memoryview(sound)[start:], transfer_syntax_uid)
    found, read = [], elements.element

    def noting(at: int, *, explicit: bool | None = None) -> tuple[int, int, int, bytes]:
        found.append(start + at)
        return read(at, explicit=explicit)

    elements.element = noting  # type: ignore[method-assign]
    try:
        elements.walk_all()
    except UnreadableDataset as error:
        raise AssertionError(f"the sound data set is not sound: {error}") from error
    return found


def _damage(headers: Sequence[int]) -> st.SearchStrategy[tuple[str, int, Any]]:
    header = st.sampled_from(list(headers))
    anywhere = st.integers(0, max(headers) + 100)

    def way(name: str, place: st.SearchStrategy[int], what: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        return st.tuples(st.just(name), place, what)

    return st.one_of(
        way("byte", anywhere, st.integers(0, 255)),
        way("byte", header.map(lambda at: at + 4), st.integers(0, 255)),
        way("tag", header, st.sampled_from(_TAGS)),
        way("vr", header, st.sampled_from(_VRS)),
        way("long length", header, st.sampled_from(_LENGTHS)),
        way("short length", header, st.sampled_from(_LENGTHS)),
        way("value", header, st.sampled_from(_VALUES)),
        way("insert", header, st.binary(max_size=20)),
        way("remove", header, st.integers(1, 200)),
        way("repeat", header, st.integers(8, 300)),
        way("cut", st.one_of(anywhere, header), st.none()),
    )  # type: ignore[return-value]


def _apply(sound: bytes, ways: Sequence[tuple[str, int, Any]]) -> bytes:
    data = bytearray(sound)
    for name, at, what in ways:
        _WAYS[name](data, at, what)
    return bytes(data)


def _put(data: bytearray, at: int, new: bytes) -> None:
    data[at : at + len(new)] = new


def _long_length(data: bytearray, at: int, length: int) -> None:
    in_long_form = bytes(data[at + 4 : at + 6]) in (b"SQ", b"OB", b"OW", b"UN", b"UT")
    _put(data, at + 8 if in_long_form else at + 4, struct.pack("<L", length))


def _insert(data: bytearray, at: int, new: bytes) -> None:
    data[at:at] = new


def _remove(data: bytearray, at: int, count: int | None) -> None:
    del data[at : None if count is None else at + count]


_WAYS: dict[str, Callable[[bytearray, int, Any], None]] = {
    "byte": lambda data, at, value: _put(data, at, bytes((value,))),
    "tag": lambda data, at, tag: _put(data, at, struct.pack("<HH", tag >> 16, tag & 0xFFFF)),
    "vr": lambda data, at, vr: _put(data, at + 4, vr),
    "long length": _long_length,
    "short length": lambda data, at, length: _put(data, at + 6, struct.pack("<H", length & 0xFFFF)),
    "value": lambda data, at, value: _put(data, at + 8, value),
    "insert": _insert,
    "remove": _remove,
    "repeat": lambda data, at, count: _insert(data, at, bytes(data[at : at + count]) * 3),
    "cut": _remove,
}
