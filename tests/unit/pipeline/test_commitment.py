"""Commitment as the asking side: late, twice, never, partly failed, unknown. Requests go to a recorded network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from world import STUDY, World

from dicom_node.dimse.storage_scu import Outcome
from dicom_node.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from dicom_node.pipeline import commitment, delivery
from dicom_node.pipeline.operator import retry_study
from dicom_node.store.studies import list_studies
from dicom_node.store.tables import CommitmentRow, DeliveryRow

A, B = f"{STUDY}.9.1.0", f"{STUDY}.9.1.1"
STEPS = {
    "deliver": delivery.deliver,
    "request_commitment": commitment.request,
    "check_commitment": commitment.check,
}


class Network:
    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.sent = 0
        self.errors: list[DeliveryError] = []
        self.answer_at_once = False

    def request(self, _peer: Any, _ae: str, uid: str, references: Sequence[Any], on_report: Any, **_: Any) -> None:
        self.asked.append((uid, [reference.sop_instance_uid for reference in references]))
        if self.errors:
            raise self.errors.pop(0)
        if self.answer_at_once:
            on_report(uid, [reference.sop_instance_uid for reference in references], [])

    def send(self, _peer: Any, _ae: str, paths: Sequence[Path]) -> list[Outcome]:
        self.sent += len(paths)
        return [Outcome(path, status=0) for path in paths]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(commitment, "request_commitment", network.request)
    monkeypatch.setattr(delivery, "send_instances", network.send)
    return network


@pytest.fixture
def world(tmp_path: Path, network: Network) -> World:
    """A node that has sent two objects and asked for their commitment."""
    world = World(tmp_path)
    world.deliverable(2)
    world.run_due(STEPS)
    assert network.asked[0][1] == [A, B]
    return world


def states(world: World) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(DeliveryRow.state).order_by(DeliveryRow.id)))


def transactions(world: World) -> list[CommitmentRow]:
    with world.database.read() as session:
        return list(session.scalars(select(CommitmentRow).order_by(CommitmentRow.requested_at, CommitmentRow.attempt)))


def study_state(world: World) -> str:
    with world.database.read() as session:
        return str(list_studies(session)[0]["state"])


def test_delivered_and_committed_are_two_words(world: World, network: Network) -> None:
    assert study_state(world) == "delivered"
    commitment.on_report(world.services, network.asked[0][0], [A, B], [])
    assert study_state(world) == "committed"
    assert [row.state for row in transactions(world)] == ["confirmed"]


def test_a_report_on_the_same_association(tmp_path: Path, network: Network) -> None:
    network.answer_at_once = True
    world = World(tmp_path)
    world.deliverable(2)
    world.run_due(STEPS)
    assert study_state(world) == "committed"
    assert not world.keys


def test_a_report_that_comes_twice_counts_once(world: World, network: Network) -> None:
    uid = network.asked[0][0]
    assert commitment.on_report(world.services, uid, [A], [(B, 0x0112)])
    world.later(minutes=1)
    world.run_due(STEPS)
    assert network.sent == 3
    before = states(world)
    assert commitment.on_report(world.services, uid, [A], [(B, 0x0112)])
    world.run_due(STEPS)
    assert states(world) == before
    assert network.sent == 3


def test_a_report_for_an_unknown_transaction_is_dropped(world: World) -> None:
    assert not commitment.on_report(world.services, "2.25.1", [A, B], [])
    assert states(world) == ["sent", "sent"]


def test_what_the_destination_lost_is_sent_and_asked_for_again(world: World, network: Network) -> None:
    commitment.on_report(world.services, network.asked[0][0], [A], [(B, 0x0112)])
    assert states(world) == ["committed", "pending"]
    world.later(minutes=1)
    world.run_due(STEPS)
    assert network.asked[1][1] == [B]
    commitment.on_report(world.services, network.asked[1][0], [B], [])
    assert study_state(world) == "committed"
    assert [row.state for row in transactions(world)] == ["failed", "confirmed"]


def test_a_destination_that_loses_it_every_time_gets_a_dead_letter(world: World, network: Network) -> None:
    for turn in range(4):
        assert states(world) == ["sent", "sent"]
        commitment.on_report(world.services, network.asked[turn][0], [], [(A, 0x0112), (B, 0x0112)])
        world.later(hours=1)
        world.run_due(STEPS)
    assert states(world) == ["failed", "failed"]
    assert study_state(world) == "failed"


def test_silence_is_unconfirmed_and_asked_again_under_a_new_transaction(world: World, network: Network) -> None:
    world.later(minutes=10)
    world.run_due(STEPS)
    world.later(minutes=1)
    world.run_due(STEPS)
    assert len({uid for uid, _ in network.asked}) == 2
    assert [row.state for row in transactions(world)] == ["unconfirmed", "requested"]


def test_endless_silence_ends_the_asking_and_leaves_the_objects_sent(world: World, network: Network) -> None:
    for _ in range(40):
        world.later(minutes=5)
        world.run_due(STEPS)
    assert len(network.asked) == 3
    assert not world.keys
    assert study_state(world) == "delivered"
    with world.database.read() as session:
        (error,) = set(session.scalars(select(DeliveryRow.error)))
    assert error == "commitment not confirmed: no commitment report came in time; gave up after 3 attempts"


def test_a_late_report_counts_and_nothing_is_asked_again(world: World, network: Network) -> None:
    world.later(minutes=10)
    world.run_due(STEPS)
    commitment.on_report(world.services, network.asked[0][0], [A, B], [])
    assert study_state(world) == "committed"
    world.later(hours=1)
    world.run_due(STEPS)
    assert len(network.asked) == 1


def test_a_report_that_forgets_an_object_is_asked_again(world: World, network: Network) -> None:
    commitment.on_report(world.services, network.asked[0][0], [A], [])
    assert states(world) == ["committed", "sent"]
    world.later(hours=1)
    world.run_due(STEPS)
    assert network.asked[1][1] == [B]


@pytest.mark.parametrize(
    ("error", "asked"),
    [(PermanentDeliveryError("it does not offer it"), 1), (TransientDeliveryError("it is away"), 3)],
)
def test_a_request_that_cannot_be_made(tmp_path: Path, network: Network, error: DeliveryError, asked: int) -> None:
    network.errors = [error] * 3
    world = World(tmp_path)
    world.deliverable(1)
    for _ in range(10):
        world.run_due(STEPS)
        world.later(hours=1)
    assert len(network.asked) == asked
    assert study_state(world) == "delivered"


def test_an_object_committed_once_stays_so(world: World, network: Network) -> None:
    commitment.on_report(world.services, network.asked[0][0], [A, B], [])
    commitment.on_report(world.services, network.asked[0][0], [], [(A, 0x0112), (B, 0x0112)])
    assert states(world) == ["committed", "committed"]


def test_what_the_destination_lost_of_a_replaced_answer_is_not_sent_again(world: World, network: Network) -> None:
    retry_study(world.services, STUDY)
    delivery.store_answer(world.services, world.answer(1))
    commitment.on_report(world.services, network.asked[0][0], [A], [(B, 0x0112)])
    assert states(world) == ["committed", "cancelled", "pending"]
    with world.database.read() as session:
        error = session.scalars(select(DeliveryRow.error).filter_by(state="cancelled")).one()
    assert error == "the destination did not commit it: it has no such object; replaced by version 2 of the answer"
    world.later(hours=1)
    world.run_due(STEPS)
    assert network.sent == 3


def test_the_log_names_the_destination_that_did_not_commit(
    world: World, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.errors = [TransientDeliveryError("it is away")]
    world.later(minutes=10)
    world.run_due(STEPS)
    world.later(minutes=1)
    world.run_due(STEPS)
    commitment.on_report(world.services, network.asked[0][0], [A], [(B, 0x0112)])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "main-pacs did not confirm its commitment: no commitment report came in time",
        "main-pacs did not confirm its commitment: it is away",
        "main-pacs did not commit everything it took: 1 not committed: it has no such object",
    ]
