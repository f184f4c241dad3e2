"""Encoded data sets are walked over by their headers before anybody reads them."""

from __future__ import annotations

import struct

import pytest
import synthetic
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.elements import Incomplete, TooManyElements, check_size, drop_unreadable

ITEM, ITEMS_BEGIN = struct.pack("<HHL", 0xFFFE, 0xE000, 0), b"\x08\x00\x99\x11"
MANY = 250_001


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_sound_data_set_is_walked_over_in_every_encoding(syntax: str) -> None:
    ds = synthetic.image()
    ds.ReferencedImageSequence = [synthetic.region(), synthetic.region()]
    ds["ReferencedImageSequence"].is_undefined_length = True
    encoded = encode(ds, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    assert encoded is not None
    check_size(encoded, syntax)
    with pytest.raises(Incomplete):
        check_size(encoded[: len(encoded) - 120 * 160 * 3 - 4], syntax)  # inside the header of the pixel data


def test_a_request_for_fifty_thousand_instances_is_none_too_many() -> None:
    item = (
        ITEM[:4]
        + b"\xff\xff\xff\xff"
        + bytes.fromhex("08005011 02000000 312e")
        + bytes.fromhex("08005511 02000000 312e")
    )
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    check_size(ITEMS_BEGIN + b"\xff\xff\xff\xff" + (item + end) * 50_000, ImplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("syntax", "begin"),
    [
        (ImplicitVRLittleEndian, ITEMS_BEGIN + b"\xff\xff\xff\xff"),
        (ImplicitVRLittleEndian, ITEMS_BEGIN + struct.pack("<L", 8 * MANY)),
        (ExplicitVRLittleEndian, ITEMS_BEGIN + b"SQ\0\0\xff\xff\xff\xff"),
        (ExplicitVRLittleEndian, ITEMS_BEGIN + b"UN\0\0\xff\xff\xff\xff"),
        (ImplicitVRLittleEndian, b""),  # items without a sequence stand for elements of no length
    ],
)
def test_items_without_end_are_too_many(syntax: str, begin: bytes) -> None:
    with pytest.raises(TooManyElements, match="more than 250000"):
        check_size(begin + ITEM * MANY, syntax)


def test_what_cannot_be_read_goes_and_the_rest_stays() -> None:
    ds = synthetic.header()
    encoded = encode(ds, False, True)
    assert encoded is not None
    damaged = encoded.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00XX")
    read = drop_unreadable(read_explicit(damaged))
    assert "PatientID" not in read
    assert read.StudyInstanceUID == ds.StudyInstanceUID
    assert len(read) == len(ds) - 1


def read_explicit(encoded: bytes) -> Dataset:
    from io import BytesIO  # noqa: PLC0415

    from pydicom.filereader import read_dataset  # noqa: PLC0415

    return read_dataset(BytesIO(encoded), False, True)
