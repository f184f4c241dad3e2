import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dsutils import encode as reference_encode

from dicom_node.dimse.association_pdus import parse_request
from dicom_node.dimse.command_set import Element, decode, encode
from dicom_node.dimse.connection import ProtocolViolation
from dicom_node.errors import UnreadableDataset


def test_reads_what_a_general_writer_writes():
    reference = Dataset()
    reference.CommandGroupLength = 0
    reference.AffectedSOPClassUID = "1.2.840.10008.1.1"
    reference.CommandField, reference.MessageID, reference.Priority = 1, 7, 0
    reference.CommandDataSetType = 1
    reference.AffectedSOPInstanceUID = "1.2.3"
    reference.MoveOriginatorApplicationEntityTitle = "SOMEONE"
    command = decode(reference_encode(reference, True, True) or b"")
    assert command.number(Element.MESSAGE_ID) == 7
    assert command.text(Element.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert command.has_data_set


def test_a_general_reader_reads_what_is_written():
    encoded = encode({Element.STATUS: 0xA700, Element.COMMAND_FIELD: 0x8001, Element.ERROR_COMMENT: "ä" + "x" * 80})
    read = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert (read.CommandField, read.Status) == (0x8001, 0xA700)
    assert read.ErrorComment == "?" + "x" * 63
    assert read.CommandGroupLength == len(encoded) - 12


def test_a_missing_number_is_named():
    with pytest.raises(UnreadableDataset, match="MESSAGE_ID"):
        decode(encode({Element.STATUS: 0})).number(Element.MESSAGE_ID)


@given(st.binary(max_size=200))
def test_garbage_is_unreadable_but_never_an_accident(garbage):
    for read in (decode, parse_request):
        with contextlib.suppress(UnreadableDataset, ProtocolViolation):
            read(garbage)
