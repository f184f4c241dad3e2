"""A light look at the first elements of an encoded data set: who it is, without parsing the rest.

The receiver needs a handful of identifying values and must stay fast and unbreakable, so this scan walks the elements
up to Series Instance UID (0020,000E) and skips all it does not need, sequences included. It forgives a data set that is
encoded in the other VR form than negotiated, which old scanners do. Encodings: PS3.5 section 7 and Annex A.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.errors import UnreadableDataset

SOP_CLASS_UID = 0x0008_0016
SOP_INSTANCE_UID = 0x0008_0018
STUDY_INSTANCE_UID = 0x0020_000D
SERIES_INSTANCE_UID = 0x0020_000E

_KEYWORDS = {
    0x0008_0005: "SpecificCharacterSet",
    0x0008_0008: "ImageType",
    SOP_CLASS_UID: "SOPClassUID",
    SOP_INSTANCE_UID: "SOPInstanceUID",
    0x0008_0060: "Modality",
    0x0008_0070: "Manufacturer",
    0x0008_103E: "SeriesDescription",
    0x0008_1090: "ManufacturerModelName",
    0x0010_0020: "PatientID",
    0x0018_1000: "DeviceSerialNumber",
    0x0018_1020: "SoftwareVersions",
    STUDY_INSTANCE_UID: "StudyInstanceUID",
    SERIES_INSTANCE_UID: "SeriesInstanceUID",
}

_EQUIPMENT = (
    "ImageType",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
Equipment = tuple[tuple[str, str], ...]

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_DEEPEST = 32  # levels of nested sequences; deeper is an attack, not a data set
_INFLATED_AT_MOST = 1 << 20


class Incomplete(UnreadableDataset):
    """The bytes end before Series Instance UID; more of them may help."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first elements say. A missing element is an empty text."""

    values: Mapping[str, str]

    def __getitem__(self, keyword: str) -> str:
        return self.values.get(keyword, "")

    @property
    def equipment(self) -> Equipment:
        """What is said about where the instance comes from: the same for all pictures of one scanner."""
        return tuple((keyword, self[keyword]) for keyword in _EQUIPMENT if keyword in self.values)

    @property
    def study_instance_uid(self) -> str:
        """(0020,000D)."""
        return self["StudyInstanceUID"]

    @property
    def series_instance_uid(self) -> str:
        """(0020,000E)."""
        return self["SeriesInstanceUID"]

    @property
    def sop_instance_uid(self) -> str:
        """(0008,0018)."""
        return self["SOPInstanceUID"]


def as_data_set(equipment: Equipment) -> Dataset:
    """Give the elements as a data set, for rules that are written for those."""
    data_set = Dataset()
    for keyword, value in equipment:
        setattr(data_set, keyword, value.split("\\") if "\\" in value else value)
    return data_set


def peek(encoded: bytes | bytearray | memoryview, transfer_syntax_uid: str) -> Header:
    """Read the identifying elements from the beginning of a data set.

    :param encoded: the data set as it came, without file meta; it may be cut anywhere after (0020,000E).
    :raises Incomplete: when it ends before that without a larger element being seen.
    :raises UnreadableDataset: when it is not a data set.
    """
    if transfer_syntax_uid == DEFLATED:
        try:
            encoded = zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, _INFLATED_AT_MOST)
        except zlib.error as error:
            raise UnreadableDataset(f"the deflated data set cannot be inflated: {error}") from error
    order = ">" if transfer_syntax_uid == BIG_ENDIAN else "<"
    scan = _Scan(encoded, order, explicit=_is_explicit(encoded, explicit_expected=transfer_syntax_uid != IMPLICIT))
    return Header(scan.identifying_values())


def _is_explicit(encoded: bytes | bytearray | memoryview, *, explicit_expected: bool) -> bool:
    """Tell the VR form by the first element: two capital letters after its tag can hardly be a length."""
    vr = bytes(encoded[4:6])
    if len(vr) < 2:  # noqa: PLR2004
        return explicit_expected
    return all(0x41 <= letter <= 0x5A for letter in vr)  # noqa: PLR2004


class _Scan:
    """One walk over the elements; positions only ever grow."""

    def __init__(self, encoded: bytes | bytearray | memoryview, order: str, *, explicit: bool) -> None:
        self.encoded = encoded
        self.size = len(encoded)
        self.explicit = explicit
        self._tag = struct.Struct(order + "HH").unpack_from
        self._long = struct.Struct(order + "L").unpack_from
        self._short = struct.Struct(order + "H").unpack_from

    def identifying_values(self) -> dict[str, str]:
        values: dict[str, str] = {}
        at = 0
        while at < self.size:
            tag, start, length, vr = self._element(at)
            if tag > SERIES_INSTANCE_UID:
                return values
            if length == _UNDEFINED:
                if vr not in (b"SQ", b"UN", b""):
                    raise UnreadableDataset(f"an element of VR {vr!r} has no length at byte {at}")
                # A UN of undefined length holds implicit VR (PS3.5 6.2.2 note).
                at = self._end_of_sequence(start, 1, explicit=self.explicit and vr != b"UN")
                continue
            at = start + length
            if tag in _KEYWORDS:
                if at > self.size:
                    raise Incomplete(f"the data set ends inside {_KEYWORDS[tag]}")
                values[_KEYWORDS[tag]] = bytes(self.encoded[start:at]).decode("latin-1").rstrip("\0 ").lstrip(" ")
                if tag == SERIES_INSTANCE_UID:
                    return values
        raise Incomplete("the data set ends before Series Instance UID (0020,000E)")

    def _element(self, at: int, *, explicit: bool | None = None) -> tuple[int, int, int, bytes]:
        """Read one element header: tag, start of value, length, VR (empty when implicit)."""
        if at + 8 > self.size:
            raise Incomplete(f"the data set ends inside an element header at byte {at}")
        group, element = self._tag(self.encoded, at)
        tag = group << 16 | element
        if not (self.explicit if explicit is None else explicit) or group == 0xFFFE:  # noqa: PLR2004
            return tag, at + 8, self._long(self.encoded, at + 4)[0], b""
        vr = bytes(self.encoded[at + 4 : at + 6])
        if vr not in _LONG_VRS:
            if not vr.isalpha():
                raise UnreadableDataset(f"no value representation at byte {at}: {vr!r}")
            return tag, at + 8, self._short(self.encoded, at + 6)[0], vr
        if at + 12 > self.size:
            raise Incomplete(f"the data set ends inside an element header at byte {at}")
        return tag, at + 12, self._long(self.encoded, at + 8)[0], vr

    def _end_of_sequence(self, at: int, depth: int, *, explicit: bool) -> int:
        """Skip the items of a sequence of undefined length."""
        if depth > _DEEPEST:
            raise UnreadableDataset("sequences are nested too deeply")
        while True:
            tag, start, length, _ = self._element(at, explicit=False)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise UnreadableDataset(f"a sequence holds something that is no item at byte {at}")
            at = start + length if length != _UNDEFINED else self._end_of_item(start, depth, explicit=explicit)

    def _end_of_item(self, at: int, depth: int, *, explicit: bool) -> int:
        """Skip the elements of an item of undefined length."""
        while True:
            tag, start, length, vr = self._element(at, explicit=explicit)
            if tag == _ITEM_END:
                return start
            if length == _UNDEFINED:
                at = self._end_of_sequence(start, depth + 1, explicit=explicit and vr != b"UN")
            else:
                at = start + length
