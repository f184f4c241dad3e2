"""Even an emptied engine table loses nothing: every row that is due gets its next job, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from world import STUDY, World

from dicom_node.dimse.storage_scu import Outcome
from dicom_node.errors import TransientDeliveryError
from dicom_node.pipeline import commitment, completion, delivery
from dicom_node.pipeline.reconciliation import reconcile
from dicom_node.store.tables import CommitmentRequestRow, CommitmentRow, DeliveryRow

STEPS = {
    "close_study": completion.close_study,
    "deliver": delivery.deliver,
    "check_commitment": commitment.check,
}


def send(_peer: Any, _ae: str, paths: Sequence[Path]) -> list[Outcome]:
    return [Outcome(path, status=0) for path in paths]


def refuse(_peer: Any, _ae: str, paths: Sequence[Path]) -> list[Outcome]:
    return [Outcome(path, error=TransientDeliveryError("away")) for path in paths]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(delivery, "send_instances", send)
    return World(tmp_path)


def test_nothing_is_done_while_every_row_has_its_job(world: World) -> None:
    world.deliverable()
    assert reconcile(world.services) == []


def test_a_receiving_study_gets_a_new_timer(world: World) -> None:
    world.release(world.receive())
    reconcile(world.services)
    assert world.keys == [f"close:{STUDY}:1:1"]
    world.later(seconds=10)
    world.run_due(STEPS)
    assert world.generation().state == "closed"


def test_a_closed_study_gets_a_new_analysis_and_that_is_counted(world: World) -> None:
    world.release(world.receive())
    world.close()
    for number in (1, 2):
        reconcile(world.services)
        assert world.keys == [f"analyse:{STUDY}:1:{number}"]
        world.desk.live.clear()
    reconcile(world.services)
    assert world.generation().state == "failed"  # a job that dies every time is not run for ever
    assert "died with its process" in str(world.generation().error)


def test_a_due_delivery_gets_a_new_job_at_once(world: World) -> None:
    world.deliverable()
    world.desk.live.clear()
    reconcile(world.services)
    assert world.keys == [f"deliver:{STUDY}:1:main-pacs:1"]
    assert world.due_in(world.keys[0]) == timedelta(0)
    world.run_due(STEPS)
    with world.database.read() as session:
        assert set(session.scalars(select(DeliveryRow.state))) == {"sent"}


def test_a_delivery_that_waits_for_its_time_keeps_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "send_instances", refuse)
    world.deliverable()
    world.run_due(STEPS)
    world.desk.live.clear()
    reconcile(world.services)
    assert world.due_in(f"deliver:{STUDY}:1:main-pacs:2") == timedelta(seconds=30)


def test_deliveries_that_kill_their_process_become_dead_letters(world: World) -> None:
    world.deliverable(1)
    for _ in range(4):
        world.desk.live.clear()
        reconcile(world.services)
    with world.database.read() as session:
        (row,) = session.scalars(select(DeliveryRow))
    assert (row.state, row.error) == ("failed", "the delivery died with its process")


def test_a_commitment_request_without_jobs_is_asked_again_when_its_time_is_over(world: World) -> None:
    world.deliverable(1)
    world.run_due(STEPS)
    world.desk.live.clear()
    assert reconcile(world.services) == []  # it may have been sent
    world.later(minutes=11)
    assert len(reconcile(world.services)) == 1
    with world.database.read() as session:
        old, new = session.scalars(select(CommitmentRow).order_by(CommitmentRow.attempt))
    assert (old.state, new.state) == ("unconfirmed", "requested")
    assert world.keys == [f"commit:{new.transaction_uid}"]


def test_a_scanners_question_gets_a_new_answering_job(world: World) -> None:
    with world.database.write() as session:
        session.add(
            CommitmentRequestRow(
                transaction_uid="2.25.7",
                calling_ae_title="VOLUSON1",
                host="127.0.0.1",
                items=[],
                state="pending",
                next_attempt_at=world.time,
                received_at=world.time,
            )
        )
    reconcile(world.services)
    assert world.keys == ["answer:1:1"]


def test_two_reconcilers_at_once_make_one_job(world: World) -> None:
    world.deliverable()
    world.desk.live.clear()
    delivery.renew(world.services, STUDY, 1, "main-pacs", 0)
    delivery.renew(world.services, STUDY, 1, "main-pacs", 0)
    assert world.keys == [f"deliver:{STUDY}:1:main-pacs:1"]
