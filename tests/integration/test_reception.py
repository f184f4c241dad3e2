"""The receiver over real sockets, with DCMTK and pynetdicom as scanners."""

import contextlib
import errno
import hashlib
import os
import re
import socket
import subprocess
import threading
import time

import pydicom
import pytest
import synthetic
from conftest import wait_until
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.dsutils import encode
from receiver import Receiver, p_data, raw_store, running_receiver, scanner, store_command, with_changes

from dicom_node.dimse.connection import Timeouts
from dicom_node.dimse.contexts import STORAGE_SYNTAXES
from dicom_node.results.identity import MODEL_NAME
from dicom_node.store import associations
from dicom_node.store.part10 import data_set_offset

STORESCU, ECHOSCU = "/usr/bin/storescu", "/usr/bin/echoscu"
US, XA, VERIFICATION = synthetic.US_IMAGE, "1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.1.1"
US_CONTEXT = (US, ExplicitVRLittleEndian)


@pytest.fixture
def receiver(tmp_path, sqlite_url):
    with running_receiver(tmp_path / "var", sqlite_url) as running:
        yield running


def storescu(receiver: Receiver, *arguments: object, ae_title: str = "SCANNER", called: str = "NODE"):
    command = [STORESCU, "-v", "-aet", ae_title, "-aec", called, *map(str, arguments[:-1])]
    files = arguments[-1] if isinstance(arguments[-1], list) else [arguments[-1]]
    return subprocess.run(
        [*command, "127.0.0.1", str(receiver.port), *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def explicit(ds: Dataset) -> bytes:
    encoded = encode(ds, False, True)
    assert encoded is not None
    return encoded


# What is taken


def test_echo(receiver):
    subprocess.run([ECHOSCU, "-aet", "SCANNER", "-aec", "NODE", "127.0.0.1", str(receiver.port)], check=True)
    assert [(a.outcome, a.calling_ae_title) for a in receiver.associations()] == [("released", "SCANNER")]


SENT_BY_DCMTK = {
    ImplicitVRLittleEndian: ["-xi"],
    ExplicitVRLittleEndian: ["-xe"],
    ExplicitVRBigEndian: ["-xb"],
    DeflatedExplicitVRLittleEndian: ["-xd"],
    RLELossless: ["-xr"],
    JPEGBaseline8Bit: ["-xy"],
    JPEGLSLossless: ["-xt"],
    JPEG2000Lossless: ["-xv"],
}


@pytest.mark.parametrize("syntax", SENT_BY_DCMTK)
def test_stills_arrive_byte_for_byte_in_every_syntax_that_dcmtk_sends(receiver, tmp_path, syntax):
    ds = synthetic.image(transfer_syntax_uid=syntax)
    file = synthetic.write(ds, tmp_path / "image.dcm")
    result = storescu(receiver, *SENT_BY_DCMTK[syntax], file)
    assert result.returncode == 0, result.stderr
    (row,) = receiver.instances()
    assert (row.transfer_syntax_uid, row.state, row.generation) == (syntax, "stored", 1)
    stored = pydicom.dcmread(receiver.data_dir / row.path)
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert stored.PixelData == pydicom.dcmread(file).PixelData
    content = (receiver.data_dir / row.path).read_bytes()
    assert hashlib.sha256(content[data_set_offset(content) :]).hexdigest() == row.sha256


def test_every_listed_syntax_is_accepted_and_stored_as_it_is(receiver):
    syntaxes = sorted(STORAGE_SYNTAXES)
    with scanner(receiver, *[(US, syntax) for syntax in syntaxes]) as association:
        assert sorted(str(cx.transfer_syntax[0]) for cx in association.accepted_contexts) == syntaxes


def test_a_cine_streams_through_in_small_and_large_pdus(receiver, tmp_path):
    frames = [synthetic.picture(300, 400, number) for number in range(12)]
    for number, pdu in enumerate(("4096", "16384", "131072")):
        file = synthetic.write(synthetic.image(frames, number=number + 1), tmp_path / f"{pdu}.dcm")
        assert storescu(receiver, "-R", "-pdu", pdu, "--max-send-pdu", pdu, file).returncode == 0
    for row in receiver.instances():
        assert row.state == "stored"
        assert len(pydicom.dcmread(receiver.data_dir / row.path).PixelData) == 12 * 300 * 400 * 3


def test_the_first_image_of_a_study_opens_a_generation_and_its_one_timer(receiver, tmp_path):
    files = [synthetic.write(synthetic.image(number=n), tmp_path / f"{n}.dcm") for n in (1, 2, 3)]
    assert storescu(receiver, files).returncode == 0
    (generation,) = receiver.generations()
    assert (generation.number, generation.state, generation.tick) == (1, "receiving", 0)
    assert generation.last_received_at >= generation.opened_at
    (job,) = receiver.jobs
    assert (job.name, job.key) == ("close_study", f"close:{synthetic.STUDY_UID}:1:0")
    assert job.delay.total_seconds() == 7
    (association,) = receiver.associations()
    assert (association.outcome, association.instances_accepted, association.ended_at is None) == ("released", 3, False)


def test_a_late_image_opens_the_next_generation(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image(number=1)).Status == 0
        with receiver.database.write() as session:
            session.merge(receiver.generations()[0]).state = "closed"
        assert association.send_c_store(synthetic.image(number=2)).Status == 0
    assert [(g.number, g.state) for g in receiver.generations()] == [(1, "closed"), (2, "receiving")]
    assert [row.generation for row in receiver.instances()] == [1, 2]
    assert [job.key.rsplit(":", 2)[1:] for job in receiver.jobs] == [["1", "0"], ["2", "0"]]


def test_several_senders_at_once_share_studies(tmp_path, database_url):
    with running_receiver(tmp_path / "var", database_url) as receiver:
        folders = []
        for sender in range(4):
            folders.append(tmp_path / str(sender))
            folders[-1].mkdir()
            for n in range(10):
                ds = synthetic.image(number=100 * sender + n)
                ds.StudyInstanceUID = f"1.2.3.{n % 2}"
                synthetic.write(ds, folders[-1] / f"{n}.dcm")
        threads = [threading.Thread(target=storescu, args=(receiver, "+sd", folder)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receiver.instances()) == 40
        assert {row.state for row in receiver.instances()} == {"stored"}
        assert len(receiver.generations()) == 2
        assert len(receiver.jobs) >= 2
        assert sum(row.instances_accepted for row in receiver.associations()) == 40


# Who may not come, and what is not taken


def test_an_unknown_caller_is_rejected_and_the_log_says_what_to_do(receiver, tmp_path):
    file = synthetic.write(synthetic.image(), tmp_path / "image.dcm")
    result = storescu(receiver, file, ae_title="STRANGER")
    assert result.returncode != 0
    assert "Calling AE Title Not Recognized" in result.stdout + result.stderr
    (row,) = receiver.associations()
    assert (row.outcome, row.calling_ae_title, row.host) == ("rejected", "STRANGER", "127.0.0.1")
    assert (
        row.reason == "the calling AE title 'STRANGER' is unknown: add it under scanners in config.yaml to let it send"
    )
    assert [c for c in row.contexts if c["abstract_syntax"] == US and c["accepted"]]  # it would have been taken


def test_a_wrong_called_title_is_rejected(receiver, tmp_path):
    file = synthetic.write(synthetic.image(), tmp_path / "image.dcm")
    assert storescu(receiver, file, called="OTHER").returncode != 0
    assert "it called 'OTHER', but this node is 'NODE'" in receiver.associations()[0].reason


def test_a_scanner_at_the_wrong_address_is_rejected(receiver):
    with scanner(receiver, US_CONTEXT, ae_title="ELSEWHERE") as association:
        assert association.is_rejected
    assert "only accepted from 192.0.2.1, but this came from 127.0.0.1" in receiver.associations()[0].reason


def test_a_caller_added_to_the_configuration_is_let_in_at_once(receiver):
    with scanner(receiver, US_CONTEXT, ae_title="NEW") as association:
        assert association.is_rejected
    receiver.config = receiver.config.model_copy(update={"accept_unknown_scanners": True})
    with scanner(receiver, US_CONTEXT, ae_title="NEW") as association:
        assert association.is_established


def test_without_an_acceptable_context_the_log_says_why(receiver):
    with scanner(receiver, (XA, ExplicitVRLittleEndian), (US, "1.2.840.10008.1.2.4.94")) as association:
        assert not association.is_established
    wait_until(lambda: receiver.associations()[0].outcome != "open")
    (row,) = receiver.associations()
    assert row.reason.startswith("no acceptable presentation context: X-Ray Angiographic Image Storage is not an ultra")
    assert "no common transfer syntax for Ultrasound Image Storage" in row.reason
    assert [context["accepted"] for context in row.contexts] == [False, False]


def test_a_destination_may_echo_but_not_store(receiver):
    with scanner(receiver, (VERIFICATION, ImplicitVRLittleEndian), US_CONTEXT, ae_title="PACS") as association:
        assert association.send_c_echo().Status == 0
        assert [cx.abstract_syntax for cx in association.rejected_contexts] == [US]
    assert "list its AE title under scanners" in receiver.associations()[0].contexts[1]["reason"]


def test_more_associations_than_the_limit_are_rejected_and_told(receiver):
    receiver.config = with_changes(receiver.config, "dicom", max_associations=1)
    with scanner(receiver, US_CONTEXT) as first, scanner(receiver, US_CONTEXT) as second:
        assert first.is_established
        assert second.is_rejected
    wait_until(lambda: receiver.listener.associations == 0)
    with scanner(receiver, US_CONTEXT) as third:
        assert third.is_established
    assert [row.outcome for row in receiver.associations()][:2] == ["released", "rejected"]
    assert "which is the limit" in receiver.associations()[1].reason


def test_one_caller_leaves_associations_to_others(receiver):
    with contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(scanner(receiver, US_CONTEXT)) for _ in range(5)]
        assert [association.is_established for association in greedy] == [True] * 4 + [False]
        assert receiver.associations()[4].reason == "4 associations of this caller are open: the rest is for others"
        other = stack.enter_context(scanner(receiver, (VERIFICATION, ImplicitVRLittleEndian), ae_title="PACS"))
        assert other.is_established


def test_a_thread_that_cannot_be_started_costs_one_connection_only(receiver, monkeypatch):
    start = threading.Thread.start

    def no_more(thread):
        if thread.name.startswith("association-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_more)
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as wire:
            assert wire.recv(1) == b""
    with scanner(receiver, US_CONTEXT) as association:
        assert association.is_established


def test_our_own_results_are_not_taken_back(receiver):
    own = synthetic.image(ManufacturerModelName=MODEL_NAME, ImageType=["DERIVED", "SECONDARY"])
    with scanner(receiver, US_CONTEXT) as association:
        answer = association.send_c_store(own)
        assert (answer.Status, answer.ErrorComment) == (0x0124, "a result of this node itself, not taken back")
        assert association.send_c_store(synthetic.image()).Status == 0
    assert len(receiver.instances()) == len(receiver.files()) == 1
    (row,) = receiver.associations()
    assert (row.instances_accepted, row.instances_refused) == (1, 1)


def test_a_full_disk_is_told_once_and_nothing_half_written_stays(receiver, caplog):
    receiver.config = with_changes(receiver.config, "retention", min_free_gb=5)
    receiver.free_bytes = 4_000_000_000
    with scanner(receiver, US_CONTEXT) as association:
        answer = association.send_c_store(synthetic.image(number=1))
        assert answer.Status == 0xA700
        assert answer.ErrorComment.startswith("the disk is full: 1.0 GB less is free than retention")
        assert [record.levelname for record in caplog.records if "disk is full" in record.getMessage()] == ["ERROR"]
        receiver.free_bytes = 6_000_000_000
        assert association.send_c_store(synthetic.image(number=1)).Status == 0
    assert len(receiver.files()) == 1


def test_no_row_is_committed_before_the_disk_has_the_data(receiver, monkeypatch):
    rows_seen, flush = [], os.fdatasync

    def watched(descriptor):
        rows_seen.append(len(receiver.instances()))  # what others see, and what is there after a crash
        flush(descriptor)

    monkeypatch.setattr(os, "fdatasync", watched)
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image(number=1)).Status == 0
        assert association.send_c_store(synthetic.image(number=2)).Status == 0
    assert rows_seen == [0, 1]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_loses_the_data_leaves_neither_row_nor_file(receiver, monkeypatch, fault):
    def lost(_descriptor):
        raise OSError(fault, os.strerror(fault))

    with scanner(receiver, US_CONTEXT) as association:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", lost)
            assert association.send_c_store(synthetic.image()).Status == 0xA700
        assert (receiver.instances(), receiver.generations(), receiver.files()) == ([], [], set())
        assert association.send_c_store(synthetic.image()).Status == 0
    assert [row.state for row in receiver.instances()] == ["stored"]


# What is kept although it cannot be used


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"StudyInstanceUID": None}, "the Study Instance UID is empty"),
        ({"StudyInstanceUID": "../../../etc/passwd"}, "the Study Instance UID is not made of numbers and dots"),
        ({"SeriesInstanceUID": "1." * 40 + "1"}, "the Series Instance UID has 81 characters"),
        ({"SOPInstanceUID": "1.2.99"}, "the request names SOP Instance UID 1.2.3, the data set 1.2.99"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_unusable_identifiers_are_kept_and_quarantined(receiver, changes, reason):
    ds = synthetic.image(SOPInstanceUID="1.2.3")
    with scanner(receiver, US_CONTEXT) as association:
        assert raw_store(association, explicit(synthetic.changed(ds, **changes)))[0] == 0
    (row,) = receiver.instances()
    assert row.state == "quarantined"
    assert row.reason.startswith(reason)
    assert receiver.files() == {row.path}
    assert re.fullmatch(r"instances/\d{4}-\d\d-\d\d/[0-9a-f]{32}\.dcm", row.path)


@pytest.mark.parametrize("uid", ["", "../../../../tmp/evil", "1.2." + "3" * 80, "not a uid"])
def test_an_unusable_uid_in_the_request_is_kept_and_quarantined(receiver, uid):
    with scanner(receiver, US_CONTEXT) as association:
        assert raw_store(association, explicit(synthetic.image()), uid)[0] == 0
    (row,) = receiver.instances()
    assert row.state == "quarantined"
    assert row.reason.startswith("the SOP Instance UID of the request")
    assert receiver.files() == {row.path}


def test_truncated_and_senseless_data_sets_are_kept_and_quarantined(receiver):
    whole = explicit(synthetic.image(SOPInstanceUID="1.2.3"))
    with scanner(receiver, US_CONTEXT) as association:
        assert raw_store(association, whole[:120], "1.2.3")[0] == 0
        assert raw_store(association, os.urandom(5000), "1.2.4")[0] == 0
        assert raw_store(association, b"", "1.2.5")[0] == 0
        assert association.send_c_store(synthetic.image(number=9)).Status == 0
    rows = receiver.instances()
    assert [row.state for row in rows] == ["quarantined", "quarantined", "quarantined", "stored"]
    assert rows[0].reason.startswith("the data set cannot be read: the data set ends")
    content = (receiver.data_dir / rows[0].path).read_bytes()
    assert content[data_set_offset(content) :] == whole[:120]


def test_a_header_larger_than_the_first_look_is_still_read(receiver):
    ds = synthetic.image(SOPInstanceUID="1.2.3", ImageComments="x")
    ds.add_new(0x00090010, "LO", "VENDOR")
    ds.add_new(0x00091001, "OB", os.urandom(300_000))
    with scanner(receiver, US_CONTEXT) as association:
        assert raw_store(association, explicit(ds), "1.2.3")[0] == 0
    assert [(row.state, row.study_instance_uid) for row in receiver.instances()] == [("stored", synthetic.STUDY_UID)]


# The same again


def test_the_same_bytes_again_change_nothing(receiver):
    for _ in range(2):
        with scanner(receiver, US_CONTEXT) as association:
            assert association.send_c_store(synthetic.image()).Status == 0
    assert len(receiver.instances()) == len(receiver.files()) == len(receiver.jobs) == 1
    assert [row.instances_accepted for row in receiver.associations()] == [1, 1]


def test_the_same_bytes_again_replace_a_lost_file(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image()).Status == 0
        (receiver.data_dir / receiver.instances()[0].path).unlink()
        assert association.send_c_store(synthetic.image()).Status == 0
    assert receiver.files() == {row.path for row in receiver.instances()}


def test_other_bytes_under_the_same_uid_are_kept_beside_and_flagged(receiver, caplog):
    with scanner(receiver, US_CONTEXT) as association:
        for name in ("First^One", "Second^One"):
            assert association.send_c_store(synthetic.image(PatientName=name)).Status == 0
    assert [(row.state, row.generation) for row in receiver.instances()] == [("stored", 1), ("conflict", 1)]
    assert len(receiver.files()) == 2
    assert "is conflict: an instance with this SOP Instance UID but other bytes was received before" in caplog.text


# How associations end


def test_an_abort_in_the_middle_keeps_what_was_acknowledged(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image(number=1)).Status == 0
        wire = association.dul.socket.socket
        wire.sendall(p_data(3, store_command("1.2.9")) + p_data(0, b"half of it"))
        association.abort()
    wait_until(lambda: receiver.associations()[0].outcome != "open")
    (row,) = receiver.associations()
    assert row.outcome in {"aborted", "lost"}
    assert row.instances_accepted == 1
    assert [r.state for r in receiver.instances()] == ["stored"]
    assert len(receiver.files()) == 1


def test_an_orderly_abort_is_told_as_such(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        association.abort()
    wait_until(lambda: receiver.associations()[0].outcome != "open")
    assert receiver.associations()[0].outcome == "aborted"
    assert "the caller aborted it" in receiver.associations()[0].reason


def test_a_connection_that_breaks_inside_an_image_leaves_no_part_of_it(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image(number=1)).Status == 0
        wire = association.dul.socket.socket
        body = explicit(synthetic.image(number=2))
        wire.sendall(p_data(3, store_command("1.2.9")))
        wire.sendall(p_data(2, body)[: len(body) // 2])
        wait_until(lambda: any("spool" in name for name in receiver.files()))
        wire.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: receiver.associations()[0].outcome == "lost")
    assert "closed the connection without releasing" in receiver.associations()[0].reason
    wait_until(lambda: len(receiver.files()) == 1)
    assert len(receiver.instances()) == 1


def test_a_silent_caller_is_given_up(tmp_path, sqlite_url):
    with running_receiver(tmp_path, sqlite_url, Timeouts(acse_s=0.3, network_s=0.3)) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port)) as mute, scanner(receiver, US_CONTEXT) as slow:
            assert slow.is_established  # the mute one holds up nobody
            assert mute.recv(100)[:1] in (b"", b"\x07")
            wait_until(lambda: receiver.associations()[0].outcome == "lost")
        assert receiver.associations()[0].reason == "nothing came for 0.3 s"


def test_a_database_that_fails_at_the_end_of_an_association_is_tried_again(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image()).Status == 0
        with receiver.database.write_rows() as connection:
            connection.exec_driver_sql("ALTER TABLE associations RENAME TO away")
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        time.sleep(0.3)
        with receiver.database.write_rows() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO associations")
    wait_until(lambda: receiver.associations()[0].outcome == "lost")
    assert receiver.associations()[0].instances_accepted == 1


def test_a_database_that_fails_during_an_image_makes_no_false_promise(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        with receiver.database.write_rows() as connection:
            connection.exec_driver_sql("ALTER TABLE instances RENAME TO away")
        assert association.send_c_store(synthetic.image()).Status == 0xA700
        with receiver.database.write_rows() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO instances")
        assert association.send_c_store(synthetic.image()).Status == 0
    assert [row.state for row in receiver.instances()] == ["stored"]


def test_stopping_lets_associations_finish_and_then_cuts_them(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        stopping = threading.Thread(target=receiver.listener.stop, args=(1.0,))
        stopping.start()
        assert association.send_c_store(synthetic.image()).Status == 0
        stopping.join(15)
        assert not stopping.is_alive()
    (row,) = receiver.associations()
    assert (row.outcome, row.reason, row.instances_accepted) == ("aborted", "the node is shutting down", 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", receiver.port))


def test_garbage_instead_of_an_association_harms_nobody(receiver):
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\0\0\0\x02\xff\xff", b"\x01\0\xff\xff\xff\xff", os.urandom(200)):
        with socket.create_connection(("127.0.0.1", receiver.port)) as wire:
            wire.sendall(garbage)
            wire.shutdown(socket.SHUT_WR)
            wire.settimeout(10)
            while wire.recv(1000):
                pass
    with scanner(receiver, US_CONTEXT) as association:
        assert association.is_established


def test_the_rows_of_a_dead_receiver_are_marked_lost(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image()).Status == 0
        with receiver.database.write() as session:
            assert associations.is_delivering(session, synthetic.STUDY_UID)
            assert associations.receivers_with_open_associations(session) == ["receiver-1"]
            assert associations.mark_lost(session, ["receiver-2"], receiver.instances()[0].received_at) == []
            assert len(associations.mark_lost(session, ["receiver-1"], receiver.instances()[0].received_at)) == 1
            assert not associations.is_delivering(session, synthetic.STUDY_UID)
        (row,) = receiver.associations()
        assert (row.reason, row.instances_accepted) == ("the receiver process died", 1)
