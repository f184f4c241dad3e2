import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode
from synthetic import header

from dicom_node.dimse.peek import as_data_set, peek
from dicom_node.elements import Incomplete
from dicom_node.errors import UnreadableDataset

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


def encoded(ds: Dataset, syntax: str) -> bytes:
    implicit, deflated = syntax == ImplicitVRLittleEndian, syntax == DeflatedExplicitVRLittleEndian
    result = encode(ds, implicit, syntax != ExplicitVRBigEndian, deflated)
    assert result is not None
    return result


def with_sequences() -> Dataset:
    """Give a header with nested sequences, of defined and undefined length, before the UIDs."""
    ds = header()
    inner, outer = Dataset(), Dataset()
    inner.CodeValue = "1"
    outer.PurposeOfReferenceCodeSequence = Sequence([inner])
    outer.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = Sequence([outer, outer])
    ds.ReferencedStudySequence = Sequence([])
    ds["ReferencedImageSequence"].is_undefined_length = True
    for item in ds.ReferencedImageSequence:
        item.is_undefined_length_sequence_item = True
    ds.PixelData, ds.Rows = b"\1\2" * 50, 10
    ds["PixelData"].VR = "OB"
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_finds_the_identifiers_in_every_encoding(syntax):
    ds = with_sequences()
    found = peek(encoded(ds, syntax), syntax)
    assert found.study_instance_uid == ds.StudyInstanceUID
    assert found.series_instance_uid == ds.SeriesInstanceUID
    assert found.sop_instance_uid == ds.SOPInstanceUID
    assert dict(found.equipment) == {
        "ImageType": "ORIGINAL\\PRIMARY",
        "Modality": "US",
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Scanner",
    }


def test_equipment_becomes_a_data_set_with_several_values():
    assert list(as_data_set((("ImageType", "DERIVED\\SECONDARY"),)).ImageType) == ["DERIVED", "SECONDARY"]


def test_forgives_the_other_vr_form_than_negotiated():
    ds = with_sequences()
    assert peek(encoded(ds, ImplicitVRLittleEndian), ExplicitVRLittleEndian).study_instance_uid == ds.StudyInstanceUID
    assert peek(encoded(ds, ExplicitVRLittleEndian), ImplicitVRLittleEndian).study_instance_uid == ds.StudyInstanceUID


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_cut_before_the_series_uid_is_incomplete_wherever_it_falls(syntax):
    ds = header()
    whole = encoded(ds, syntax)
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    end = whole.index((0x20).to_bytes(2, order) + (0x0E).to_bytes(2, order)) + 8
    for cut in range(end):
        with pytest.raises(Incomplete):
            peek(whole[:cut], syntax)


def test_a_cut_after_the_series_uid_does_not_matter():
    whole = encoded(with_sequences(), ExplicitVRLittleEndian)
    assert peek(whole[: len(whole) - 60], ExplicitVRLittleEndian).study_instance_uid


def test_a_missing_study_uid_is_an_empty_text():
    assert peek(encoded(header(StudyInstanceUID=None), ExplicitVRLittleEndian), ExplicitVRLittleEndian)["x"] == ""
    assert not peek(
        encoded(header(StudyInstanceUID=None), ExplicitVRLittleEndian), ExplicitVRLittleEndian
    ).study_instance_uid


def test_a_deflated_bomb_is_not_inflated_whole():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    squeezed = bomb.compress(b"\x08\x00\x05\x00CS\x0a\x00" + bytes(200_000_000)) + bomb.flush()
    with pytest.raises(UnreadableDataset):
        peek(squeezed, DeflatedExplicitVRLittleEndian)


def test_of_an_identifying_value_without_end_only_the_beginning_is_taken():
    whole = encoded(header(), ExplicitVRLittleEndian)
    at = whole.index(b"\x08\x00\x70\x00LO")
    long = b"\x08\x00\x70\x00UT\0\0" + (5_000_000).to_bytes(4, "little") + b"M" * 5_000_000
    found = peek(whole[:at] + long + whole[at:], ExplicitVRLittleEndian)
    assert found.study_instance_uid
    found = peek(whole[:at] + long + whole[at + 8 + len("Maker ") :], ExplicitVRLittleEndian)
    assert found["Manufacturer"] == "M" * 1024


def test_elements_without_end_are_refused():
    with pytest.raises(UnreadableDataset, match="more than 250000 elements"):
        peek(b"\x08\x00\x05\x00CS\0\0" * 300_000, ExplicitVRLittleEndian)


def test_sequences_nested_without_end_are_refused():
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(UnreadableDataset, match="nested too deeply"):
        peek(level * 5000, ExplicitVRLittleEndian)


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_garbage_is_unreadable_or_nameless_but_never_an_accident(garbage, syntax):
    with contextlib.suppress(UnreadableDataset):
        peek(garbage, syntax)


@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian]))
def test_one_wrong_byte_is_never_an_accident(position, value, syntax):
    damaged = bytearray(DAMAGED[syntax])
    damaged[position % len(damaged)] = value
    with contextlib.suppress(UnreadableDataset):
        peek(bytes(damaged), syntax)


DAMAGED = {syntax: encoded(with_sequences(), syntax) for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)}
