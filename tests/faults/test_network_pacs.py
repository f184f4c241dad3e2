"""A PACS, or the line to it, that misbehaves: nothing is lost or doubled, and what is over resolves itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port, wait_until
from fake_pacs import FakePacs
from proxy import Proxy
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sending_node import SR, SendingNode

from dicom_node.dimse.commitment_messages import event_information
from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.dimse.peer import Peer, Timeouts, echo
from dicom_node.dimse.storage_scu import send_instances
from dicom_node.domain.delivery import RetryPolicy
from dicom_node.domain.result import SopReference
from dicom_node.errors import TransientDeliveryError

QUICK = Timeouts(connect_s=1, acse_s=5, dimse_s=1, network_s=1)
PATIENT = RetryPolicy(base=timedelta(seconds=0.2), cap=timedelta(seconds=0.5), limit=10_000, jitter=0)
Start = Callable[..., SendingNode]


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Start]:
    """Start a node that never loses its patience, with a PACS as its destination, perhaps over a line of ours."""
    with ExitStack() as stack:

        def start(pacs: FakePacs, line: Proxy | None = None, url: str = sqlite_url, **patience: Any) -> SendingNode:
            port = line.port if line else pacs.port
            to = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": port}
            node = SendingNode(tmp_path, url, [to])
            node.patience(**{"delivery": PATIENT, "commitment": PATIENT, "commitment_linger_s": 0.1, **patience})
            pacs.reports_to = ("127.0.0.1", node.port)
            return stack.enter_context(node)

        yield start


# Away, and back


def test_a_pacs_that_was_down_for_the_whole_run_gets_everything_once_when_it_is_up(
    start: Start, database_url: str
) -> None:
    pacs = FakePacs(port=free_port())
    node = start(pacs, url=database_url)
    answers = dict(node.answer() for _ in range(3))
    wait_until(lambda: all(row.attempts > 2 for row in node.deliveries()), 60, "some attempts in vain")
    assert {row.state for row in node.deliveries()} == {"pending"}
    with pacs:
        for study in answers:
            node.wait_for(study, "committed", 60)
        assert sorted(pacs.received) == sorted(uid for uids in answers.values() for uid in uids)


@pytest.mark.parametrize(
    ("said", "ends", "sent"),
    [(0xA700, "committed", 2), (0x0110, "committed", 2), (0xB000, "committed", 1), (0xA900, "failed", 1)],
)
def test_each_status_ends_as_it_must(start: Start, pacs: FakePacs, said: int, ends: str, sent: int) -> None:
    pacs.statuses = [said]
    node = start(pacs)
    study, (uid,) = node.answer(1)
    (result,) = node.wait_for(study, ends, 60)["results"]
    assert pacs.received == [uid] * sent
    assert (result["error"] is None) == (ends == "committed")


def test_a_pacs_that_takes_no_context_is_a_dead_letter_with_its_reason(start: Start) -> None:
    with FakePacs(only_classes=["1.2.840.10008.5.1.4.1.1.7"]) as pacs:
        node = start(pacs)
        study, _ = node.answer(1)
        (result,) = node.wait_for(study, "failed", 60)["results"]
    assert "accepted none of the proposed presentation contexts" in result["error"]


# The line


def file_of(folder: Path, size: int) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SR
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.EncapsulatedDocument = bytes(size)
    ds.save_as(folder / "object.dcm", enforce_file_format=True)
    return folder / "object.dcm"


@pytest.mark.parametrize(("bytes_per_s", "size", "answer_s"), [(1000, 12_000, 5.5), (200_000, 1_300_000, 3)])
def test_a_slow_line_takes_the_time_that_it_takes(
    tmp_path: Path, pacs: FakePacs, bytes_per_s: int, size: int, answer_s: float
) -> None:
    """Send something for which the line needs twice as long as an answer may take."""
    timeouts = Timeouts(connect_s=1, acse_s=10, dimse_s=answer_s, network_s=answer_s)
    with Proxy(pacs.port, bytes_per_s=bytes_per_s) as line:
        begun = time.monotonic()
        peer = Peer(pacs.ae_title, "127.0.0.1", line.port)
        (outcome,) = send_instances(peer, "DICOM_NODE", [file_of(tmp_path, size)], timeouts)
        took_s = time.monotonic() - begun
    assert outcome.error is None
    assert len(pacs.held) == 1
    assert took_s > 2 * answer_s


def test_a_line_that_breaks_in_mid_object_is_made_good(start: Start, pacs: FakePacs) -> None:
    with Proxy(pacs.port, cut_after=600) as line:  # after the association, within the first object
        node = start(pacs, line)
        study, uids = node.answer(3)
        wait_until(lambda: all(row.attempts > 1 for row in node.deliveries()), 60, "attempts in vain")
        assert not pacs.held
        line.cut_after = None
        node.wait_for(study, "committed", 60)
    assert sorted(pacs.received) == sorted(uids)


def test_a_line_that_stalls_is_given_up_and_tried_again(tmp_path: Path, pacs: FakePacs) -> None:
    file = file_of(tmp_path, 100_000)
    with Proxy(pacs.port) as line:
        peer = Peer(pacs.ae_title, "127.0.0.1", line.port)
        line.stalls = True
        begun = time.monotonic()
        (outcome,) = send_instances(peer, "DICOM_NODE", [file], Timeouts(connect_s=1, acse_s=1, dimse_s=1, network_s=1))
        assert isinstance(outcome.error, TransientDeliveryError)
        assert "did not answer the association request within 1 s" in str(outcome.error)
        assert time.monotonic() - begun < 15
        line.stalls = False
        assert send_instances(peer, "DICOM_NODE", [file], QUICK)[0].error is None


def test_who_accepts_a_connection_and_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(TransientDeliveryError, match="did not answer the association request within 1 s"):
            echo(Peer("MUTE", "127.0.0.1", mute.getsockname()[1]), "DICOM_NODE", Timeouts(1, 1, 1, 1))
        assert time.monotonic() - begun < 15


# Commitment


def test_a_report_of_an_unknown_transaction_or_of_unknown_instances_changes_nothing(
    start: Start, pacs: FakePacs, database_url: str
) -> None:
    pacs.commits = "never"
    node = start(pacs, url=database_url, commitment_answer=timedelta(seconds=60))
    study, uids = node.answer(1)
    wait_until(lambda: pacs.transactions, 60, "the request")
    mine, foreign = SopReference(SR, uids[0]), SopReference(SR, "1.2.3.4.5")
    asked = str(pacs.transactions[0].TransactionUID)
    report(node, pacs, CommitmentReport("2.25.999", (mine,), ()))
    report(node, pacs, CommitmentReport("2.25.998", (), ((mine, 0x0112),)))
    assert node.study(study)["state"] == "delivered"
    assert [row.state for row in node.transactions()] == ["requested"]
    report(node, pacs, CommitmentReport(asked, (mine, foreign), ()))
    node.wait_for(study, "committed", 60)
    assert pacs.received == uids


def test_a_failed_commitment_and_then_a_late_success_of_it_count_once(start: Start, pacs: FakePacs) -> None:
    pacs.commits = "never"
    node = start(pacs, commitment_answer=timedelta(seconds=60))
    study, uids = node.answer(1)
    wait_until(lambda: pacs.transactions, 60, "the request")
    mine, asked = SopReference(SR, uids[0]), str(pacs.transactions[0].TransactionUID)
    pacs.commits = "new association"
    report(node, pacs, CommitmentReport(asked, (), ((mine, 0x0213),)))
    node.wait_for(study, "committed", 60)  # it was sent again, and asked for again
    report(node, pacs, CommitmentReport(asked, (mine,), ()))
    report(node, pacs, CommitmentReport(asked, (), ((mine, 0x0213),)))
    assert node.study(study)["state"] == "committed"
    assert pacs.received == uids * 2


def report(node: SendingNode, pacs: FakePacs, what: CommitmentReport) -> None:
    """Report to the node on an association of its own; it must be taken."""
    event_type, information = event_information(what)
    ae = AE(pacs.ae_title)
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        "127.0.0.1", node.port, ae_title="DICOM_NODE", ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)]
    )
    status, _ = association.send_n_event_report(
        information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    association.release()
    assert status.Status == 0
