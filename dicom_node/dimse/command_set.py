"""DIMSE command sets (PS3.7 Annex E): a dozen short elements in Implicit VR Little Endian, read and written directly.

A general data set reader costs more than the whole rest of a C-STORE, so the few elements are named here once.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from dicom_node.domain.identifiers import printable
from dicom_node.errors import UnreadableDataset

NO_DATA_SET = 0x0101


class Command(IntEnum):
    """Command Field (0000,0100), PS3.7 Table E.1-1."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RQ = 0x0100
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_EVENT_REPORT_RSP = 0x8100


RESPONSE = 0x8000  #: this bit makes a request's Command Field that of its response


class Element(IntEnum):
    """Element numbers of group 0000."""

    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


_TEXT = {
    Element.AFFECTED_SOP_CLASS_UID: b"\0",
    Element.REQUESTED_SOP_CLASS_UID: b"\0",
    Element.ERROR_COMMENT: b" ",
    Element.AFFECTED_SOP_INSTANCE_UID: b"\0",
    Element.REQUESTED_SOP_INSTANCE_UID: b"\0",
}  # element -> its padding (PS3.5 6.2)
_HEADER = struct.Struct("<HHL")
_ERROR_COMMENT_LENGTH = 64


class CommandSet(dict[int, int | str]):
    """The elements of one command, by number."""

    def text(self, *elements: Element) -> str:
        """Give the first of these that is present, or an empty text."""
        return next((str(self[element]) for element in elements if element in self), "")

    def number(self, element: Element) -> int:
        """Give a number; its absence is a malformed command."""
        value = self.get(element)
        if not isinstance(value, int):
            raise UnreadableDataset(f"the command lacks {element.name} (0000,{element:04X})")
        return value

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.get(Element.COMMAND_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET


def decode(encoded: bytes) -> CommandSet:
    """Read a command set; elements that we do not use are skipped.

    :raises UnreadableDataset: when it is not one.
    """
    command = CommandSet()
    at = 0
    while at < len(encoded):
        if at + 8 > len(encoded):
            raise UnreadableDataset("the command set ends inside an element")
        group, element, length = _HEADER.unpack_from(encoded, at)
        value = encoded[at + 8 : at + 8 + length]
        if group != 0 or len(value) != length:
            raise UnreadableDataset("the command set is malformed")
        if element in _TEXT:
            command[element] = value.decode("latin-1").rstrip("\0 ").lstrip(" ")
        elif length == 2:  # noqa: PLR2004 - US, every number but the group length
            command[element] = int.from_bytes(value, "little")
        at += 8 + length
    return command


def encode(values: dict[Element, int | str]) -> bytes:
    """Write a command set, with its group length, elements in order."""
    body = b"".join(_element(element, value) for element, value in sorted(values.items()))
    return _HEADER.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _element(element: Element, value: int | str) -> bytes:
    if isinstance(value, int):
        return _HEADER.pack(0, element, 2) + struct.pack("<H", value)
    if element is Element.ERROR_COMMENT:
        value = printable(value, _ERROR_COMMENT_LENGTH)
    encoded = value.encode("latin-1", "replace")
    if len(encoded) % 2:
        encoded += _TEXT[element]
    return _HEADER.pack(0, element, len(encoded)) + encoded
