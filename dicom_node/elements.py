"""Encoded elements met one after the other, by their headers alone: nothing is read into memory (PS3.5 section 7).

A data set can be small and yet cost a reader all its memory, or minutes: of 8 bytes pydicom makes 300. Who reads what
came from outside first lets it be walked over here, and takes away afterwards what cannot be read.
"""

from __future__ import annotations

import mmap
import struct
from functools import lru_cache

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dicom_node.errors import UnreadableDataset

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

UNDEFINED_LENGTH = 0xFFFF_FFFF
_ITEMS = 0xFFFE  # the group of
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_DEEPEST = 32  # levels of nested sequences; deeper is an attack, not a data set
_AT_MOST = 250_000  # a commitment request for 50,000 instances has 200,000

Encoded = bytes | bytearray | memoryview | mmap.mmap


class Incomplete(UnreadableDataset):
    """The bytes end before what was looked for; more of them may help."""


class TooManyElements(UnreadableDataset):
    """The data set has more elements than any that is meant to be read."""


def check_size(encoded: Encoded, transfer_syntax_uid: str) -> None:
    """See that a data set, those in its sequences included, has not so many elements that nobody should read it.

    :raises TooManyElements: when it has.
    :raises UnreadableDataset: when it is not a data set, as far as headers tell.
    """
    Elements(encoded, transfer_syntax_uid).walk_all()


def drop_unreadable(data_set: Dataset) -> Dataset:
    """Take away, in place, the elements that pydicom cannot read, which it finds out only when they are asked for.

    Those that it was told to leave on the disk go too. What refers to an element that is gone says that it is missing.
    """
    for tag in list(data_set.keys()):
        raw = data_set.get_item(tag, keep_deferred=True)
        left_on_disk = isinstance(raw, RawDataElement) and raw.value is None and raw.length > 0
        if left_on_disk or not _is_readable(data_set, tag):
            del data_set[tag]
    return data_set


def _is_readable(data_set: Dataset, tag: BaseTag) -> bool:
    try:
        element = data_set[tag]
        for item in element.value if element.VR == "SQ" else ():
            for _ in item.iterall():
                pass
    except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
        return False
    return True


class Elements:
    """One walk over the elements; positions only ever grow."""

    def __init__(self, encoded: Encoded, transfer_syntax_uid: str) -> None:
        order = ">" if transfer_syntax_uid == BIG_ENDIAN else "<"
        self.encoded = encoded
        self.size = len(encoded)
        self.explicit = _is_explicit(encoded, explicit_expected=transfer_syntax_uid != IMPLICIT)
        self._tag = struct.Struct(order + "HH").unpack_from
        self._long = struct.Struct(order + "L").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._count = 0

    def walk_all(self) -> None:
        """Meet every element and item, those of sequences included."""
        at = 0
        while at < self.size:
            tag, start, length, vr = self.element(at)
            if tag >> 16 == _ITEMS or vr == b"SQ" or (not vr and _is_sequence(tag)):
                at = start  # its content comes next
            elif length == UNDEFINED_LENGTH:
                at = self.end_of_sequence(start, 1, explicit=False)
            else:
                at = start + length

    def element(self, at: int, *, explicit: bool | None = None) -> tuple[int, int, int, bytes]:
        """Read one element header: tag, start of value, length, VR (empty when implicit)."""
        if at + 8 > self.size:
            raise Incomplete(f"the data set ends inside an element header at byte {at}")
        self._count += 1
        if self._count > _AT_MOST:
            raise TooManyElements(f"it has more than {_AT_MOST} elements")
        group, element = self._tag(self.encoded, at)
        tag = group << 16 | element
        if not (self.explicit if explicit is None else explicit) or group == _ITEMS:
            return tag, at + 8, self._long(self.encoded, at + 4)[0], b""
        vr = bytes(self.encoded[at + 4 : at + 6])
        if vr not in _LONG_VRS:
            if not vr.isalpha():
                raise UnreadableDataset(f"no value representation at byte {at}: {vr!r}")
            return tag, at + 8, self._short(self.encoded, at + 6)[0], vr
        if at + 12 > self.size:
            raise Incomplete(f"the data set ends inside an element header at byte {at}")
        return tag, at + 12, self._long(self.encoded, at + 8)[0], vr

    def end_of_sequence(self, at: int, depth: int, *, explicit: bool) -> int:
        """Skip the items of a sequence of undefined length."""
        if depth > _DEEPEST:
            raise UnreadableDataset("sequences are nested too deeply")
        while True:
            tag, start, length, _ = self.element(at, explicit=False)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise UnreadableDataset(f"a sequence holds something that is no item at byte {at}")
            at = start + length if length != UNDEFINED_LENGTH else self._end_of_item(start, depth, explicit=explicit)

    def _end_of_item(self, at: int, depth: int, *, explicit: bool) -> int:
        """Skip the elements of an item of undefined length."""
        while True:
            tag, start, length, vr = self.element(at, explicit=explicit)
            if tag == _ITEM_END:
                return start
            if length == UNDEFINED_LENGTH:
                at = self.end_of_sequence(start, depth + 1, explicit=explicit and vr != b"UN")
            else:
                at = start + length


@lru_cache(maxsize=1024)
def _is_sequence(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def _is_explicit(encoded: Encoded, *, explicit_expected: bool) -> bool:
    """Tell the VR form by the first element: two capital letters after its tag can hardly be a length."""
    vr = bytes(encoded[4:6])
    if len(vr) < 2:  # noqa: PLR2004
        return explicit_expected
    return all(0x41 <= letter <= 0x5A for letter in vr)  # noqa: PLR2004
