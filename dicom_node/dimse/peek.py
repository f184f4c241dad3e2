"""A light look at the first elements of an encoded data set: who it is, without parsing the rest.

The receiver needs a handful of identifying values and must stay fast and unbreakable, so this scan walks the elements
up to Series Instance UID (0020,000E) and skips all it does not need, sequences included. It forgives a data set that is
encoded in the other VR form than negotiated, which old scanners do. Encodings: PS3.5 section 7 and Annex A.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.elements import UNDEFINED_LENGTH, Elements, Incomplete
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

DEFLATED = "1.2.840.10008.1.2.1.99"

_INFLATED_AT_MOST = 1 << 20
_DEFLATED_AT_MOST = 2 * _INFLATED_AT_MOST  # what does not shrink grows a little
_VALUE_AT_MOST = 1024  # of an identifying element; 64 characters a value are allowed, and a few values


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
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            encoded = unpacker.decompress(encoded[:_DEFLATED_AT_MOST], _INFLATED_AT_MOST)
        except zlib.error as error:
            raise UnreadableDataset(f"the deflated data set cannot be inflated: {error}") from error
    return Header(_identifying_values(Elements(encoded, transfer_syntax_uid)))


def _identifying_values(elements: Elements) -> dict[str, str]:
    values: dict[str, str] = {}
    at = 0
    while at < elements.size:
        tag, start, length, vr = elements.element(at)
        if tag > SERIES_INSTANCE_UID:
            return values
        if length == UNDEFINED_LENGTH:
            if vr not in (b"SQ", b"UN", b""):
                raise UnreadableDataset(f"an element of VR {vr!r} has no length at byte {at}")
            # A UN of undefined length holds implicit VR (PS3.5 6.2.2 note).
            at = elements.end_of_sequence(start, 1, explicit=elements.explicit and vr != b"UN")
            continue
        at = start + length
        if tag in _KEYWORDS:
            if at > elements.size:
                raise Incomplete(f"the data set ends inside {_KEYWORDS[tag]}")
            value = bytes(elements.encoded[start : min(at, start + _VALUE_AT_MOST)])
            values[_KEYWORDS[tag]] = value.decode("latin-1").rstrip("\0 ").lstrip(" ")
            if tag == SERIES_INSTANCE_UID:
                return values
    raise Incomplete("the data set ends before Series Instance UID (0020,000E)")
