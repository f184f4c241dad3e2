"""The node answers a scanner's storage commitment request on an association of its own, truthfully."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel
from world import World

from dicom_node.dimse.commitment_messages import reported
from dicom_node.pipeline.commitment import answer_request
from dicom_node.store import commitment_requests
from dicom_node.store.part10 import file_meta
from dicom_node.store.tables import CommitmentRequestRow, InstanceRow

US = "1.2.840.10008.5.1.4.1.1.6.1"
EXPLICIT = "1.2.840.10008.1.2.1"


class Scanner:
    """Takes N-EVENT-REPORTs on its own port, as a cart does; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.port, self.status = free_port(), 0x0000
        self.reports: list[tuple[str, list[str], list[tuple[str, int]]]] = []
        ae = AE("VOLUSON1")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self.server: Any = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )

    def _take(self, event: Any) -> tuple[int, None]:
        self.reports.append(reported(event.event_information))
        return self.status, None


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.server.shutdown()


@pytest.fixture
def world(tmp_path: Path, scanner: Scanner) -> World:
    world = World(tmp_path)
    back = world.config.destinations[0].model_copy(update={"ae_title": "VOLUSON1", "port": scanner.port})
    world.config = world.config.model_copy(update={"destinations": (back,)})
    return world


def keep(world: World, uid: str, data_set: bytes = b"an image") -> Path:
    """Keep an instance as intake does."""
    path = world.services.data_dir / "instances" / f"{uid}.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(file_meta(US, uid, EXPLICIT, "VOLUSON1") + data_set)
    with world.database.write() as session:
        session.add(
            InstanceRow(
                sop_instance_uid=uid,
                sop_class_uid=US,
                transfer_syntax_uid=EXPLICIT,
                sha256=hashlib.sha256(data_set).hexdigest(),
                size_bytes=len(data_set),
                path=f"instances/{uid}.dcm",
                state="stored",
                received_at=world.time,
            )
        )
    return path


def request(world: World, *uids: str) -> int:
    with world.database.write() as session:
        row = CommitmentRequestRow(
            transaction_uid="2.25.42",
            calling_ae_title="VOLUSON1",
            host="127.0.0.1",
            items=[{"sop_class_uid": US, "sop_instance_uid": uid} for uid in uids],
            state="pending",
            next_attempt_at=world.time,
            received_at=world.time,
        )
        session.add(row)
        session.flush()
        return row.id


def row_of(world: World, number: int) -> CommitmentRequestRow:
    with world.database.read() as session:
        return session.get_one(CommitmentRequestRow, number)


def test_what_is_kept_is_committed_and_nothing_else(world: World, scanner: Scanner) -> None:
    keep(world, "1.1")
    keep(world, "1.2").unlink()
    keep(world, "1.3").write_bytes(file_meta(US, "1.3", EXPLICIT, "VOLUSON1") + b"other bytes")
    number = request(world, "1.1", "1.2", "1.3", "1.4")
    answer_request(world.services, number, 0)
    (report,) = scanner.reports
    assert report == ("2.25.42", ["1.1"], [("1.2", 0x0110), ("1.3", 0x0110), ("1.4", 0x0112)])
    assert row_of(world, number).state == "answered"


def test_a_report_is_given_once(world: World, scanner: Scanner) -> None:
    keep(world, "1.1")
    number = request(world, "1.1")
    answer_request(world.services, number, 0)
    answer_request(world.services, number, 0)
    assert len(scanner.reports) == 1


def test_a_scanner_that_does_not_take_it_is_told_later_then_given_up(world: World, scanner: Scanner) -> None:
    scanner.status = 0x0110
    number = request(world, "1.1")
    steps = {"answer_commitment": answer_request}
    answer_request(world.services, number, 0)
    assert "0110" in str(row_of(world, number).error)
    for _ in range(3):
        world.later(hours=1)
        world.run_due(steps)
    assert row_of(world, number).state == "failed"
    assert len(scanner.reports) == 3


def test_a_second_job_finds_the_request_claimed(
    world: World, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(world, "1.1")
    number = request(world, "1.1")
    assess = commitment_requests.assess

    def slow_assess(*arguments: Any) -> commitment_requests.Assessment:
        monkeypatch.setattr(commitment_requests, "assess", assess)
        answer_request(world.services, number, 0)
        return assess(*arguments)

    monkeypatch.setattr(commitment_requests, "assess", slow_assess)
    answer_request(world.services, number, 0)
    assert len(scanner.reports) == 1
    assert row_of(world, number).state == "answered"


def test_a_process_that_dies_over_a_report_leaves_the_next_try_behind(
    world: World, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(world, "1.1")
    number = request(world, "1.1")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commitment_requests, "assess", die)
        with pytest.raises(KeyboardInterrupt):
            answer_request(world.services, number, 0)
    world.later(hours=1)
    assert world.run_due({"answer_commitment": answer_request}) == [f"answer:{number}:1"]
    assert len(scanner.reports) == 1
