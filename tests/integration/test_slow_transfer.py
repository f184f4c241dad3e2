"""A study does not close while an instance of it is still arriving, however slowly and in whichever association."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from conftest import wait_until
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from receiver import Receiver, p_data, running_receiver, scanner, store_command

from dicom_node.store import associations
from dicom_node.store.tables import GenerationRow

US_CONTEXT = (synthetic.US_IMAGE, ExplicitVRLittleEndian)


@pytest.fixture
def receiver(tmp_path: Path, sqlite_url: str) -> Iterator[Receiver]:
    with running_receiver(tmp_path / "var", sqlite_url) as running:
        yield running


def is_delivering(receiver: Receiver) -> bool:
    with receiver.database.read() as session:
        return associations.is_delivering(session, synthetic.STUDY_UID)


def test_the_first_instance_of_an_association_holds_its_study_open_before_it_is_there(receiver: Receiver) -> None:
    with scanner(receiver, US_CONTEXT) as first:
        assert first.send_c_store(synthetic.image()).Status == 0
    wait_until(lambda: not is_delivering(receiver))
    slow = synthetic.image(SOPInstanceUID="1.2.3.4")
    data_set = encode(slow, False, True)
    assert data_set is not None
    with scanner(receiver, US_CONTEXT) as second:
        (context,) = second.accepted_contexts
        wire = second.dul.socket.socket
        wire.sendall(p_data(3, store_command(slow.SOPInstanceUID), context.context_id))
        piece = len(data_set) // 20
        for start in range(0, 16 * piece, piece):
            wire.sendall(p_data(0, data_set[start : start + piece], context.context_id))
            time.sleep(0.1)
        assert is_delivering(receiver)
        second._reactor_checkpoint.clear()
        wire.sendall(p_data(2, data_set[16 * piece :], context.context_id))
        _, response = second.dimse.get_msg(block=True)
        second._reactor_checkpoint.set()
        assert response.Status == 0
    wait_until(lambda: not is_delivering(receiver))
    assert len(receiver.instances()) == 2


def test_the_quiet_time_begins_with_the_end_of_a_transfer(receiver: Receiver) -> None:
    image = synthetic.image()
    data_set = encode(image, False, True)
    assert data_set is not None
    with scanner(receiver, US_CONTEXT) as association:
        (context,) = association.accepted_contexts
        wire = association.dul.socket.socket
        association._reactor_checkpoint.clear()
        wire.sendall(p_data(3, store_command(image.SOPInstanceUID), context.context_id))
        wire.sendall(p_data(0, data_set[:200], context.context_id))
        time.sleep(0.6)
        wire.sendall(p_data(2, data_set[200:], context.context_id))
        _, response = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert response.Status == 0
    (row,) = receiver.associations()
    generation: GenerationRow = receiver.generations()[0]
    assert (generation.last_received_at - row.started_at).total_seconds() > 0.5
