"""Shipments: what becomes of rows and jobs. The network is replaced by outcomes; real sockets are in integration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from world import STUDY, World

from dicom_node.dimse.storage_scu import Outcome
from dicom_node.errors import BadInput, DeliveryError, IllegalTransition, PermanentDeliveryError, TransientDeliveryError
from dicom_node.pipeline import delivery
from dicom_node.pipeline.operator import cancel_study, retry_study
from dicom_node.store.overview import gauges
from dicom_node.store.studies import list_studies
from dicom_node.store.tables import CommitmentRow, DeliveryRow, ResultRow, StudyRow

STEPS = {"deliver": delivery.deliver}
BUSY = TransientDeliveryError("A700: it is out of resources", status=0xA700)
NEVER = PermanentDeliveryError("A900: wrong", status=0xA900)


class Network:
    """Gives the outcomes it was told, in the order the objects are sent; then success."""

    def __init__(self) -> None:
        self.errors: list[DeliveryError | None] = []
        self.sent: list[list[Path]] = []

    def send(self, _peer: Any, _ae_title: str, paths: Sequence[Path]) -> list[Outcome]:
        self.sent.append(list(paths))
        return [self._outcome(path) for path in paths]

    def _outcome(self, path: Path) -> Outcome:
        error = self.errors.pop(0) if self.errors else None
        return Outcome(path, status=0 if error is None else error.status, error=error)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(delivery, "send_instances", network.send)
    return network


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rows(world: World) -> list[DeliveryRow]:
    with world.database.read() as session:
        return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))


def states(world: World) -> list[str]:
    return [row.state for row in rows(world)]


def test_an_answer_is_recorded_with_its_deliveries_and_their_job(world: World, network: Network) -> None:
    world.deliverable()
    assert world.generation().state == "analysed"
    assert states(world) == ["pending", "pending"]
    assert world.keys == [f"deliver:{STUDY}:1:main-pacs:0"]
    assert not network.sent


def test_the_same_answer_again_changes_nothing(world: World) -> None:
    world.release(world.receive())
    world.close()
    answer = world.answer()
    assert delivery.store_answer(world.services, answer)
    assert not delivery.store_answer(world.services, answer)
    assert len(rows(world)) == 2
    assert world.keys == [f"deliver:{STUDY}:1:main-pacs:0"]


def test_an_answer_whose_version_was_taken_is_made_again_under_the_next(world: World) -> None:
    world.release(world.receive())
    world.close()
    answer = world.answer()
    with world.database.write() as session:
        session.get_one(StudyRow, STUDY).version = 1  # another generation's answer
    assert not delivery.store_answer(world.services, answer)
    assert world.keys == [f"analyse:{STUDY}:1:1"]
    assert world.generation().state == "closed"


def test_all_objects_go_together_then_commitment_is_asked_for(world: World, network: Network) -> None:
    world.deliverable()
    world.run_due(STEPS)
    assert [len(paths) for paths in network.sent] == [2]
    assert states(world) == ["sent", "sent"]
    with world.database.read() as session:
        (row,) = session.scalars(select(CommitmentRow))
    assert world.keys == [f"commit:{row.transaction_uid}"]


def test_only_what_was_not_taken_is_sent_again(world: World, network: Network) -> None:
    world.deliverable(3)
    network.errors = [None, BUSY, NEVER]
    world.run_due(STEPS)
    assert states(world) == ["sent", "pending", "failed"]
    assert [row.status for row in rows(world)] == [0, 0xA700, 0xA900]
    assert world.keys == [f"deliver:{STUDY}:1:main-pacs:1"]
    assert world.due_in(world.keys[0]) == timedelta(seconds=30)
    world.later(seconds=30)
    world.run_due(STEPS)
    assert [len(paths) for paths in network.sent] == [3, 1]
    assert states(world) == ["sent", "sent", "failed"]


def test_patience_ends_in_a_dead_letter_that_says_why(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [BUSY] * 4
    for _ in range(4):
        world.later(hours=1)
        world.run_due(STEPS)
    assert states(world) == ["failed"]
    assert rows(world)[0].error == "A700: it is out of resources"
    assert not world.keys
    with world.database.read() as session:
        assert list_studies(session)[0]["state"] == "failed"


def test_a_dead_letter_is_retried_with_fresh_patience(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [NEVER, BUSY, BUSY, BUSY]
    world.run_due(STEPS)
    assert len(delivery.retry(world.services, [row.id for row in rows(world)])) == 1
    for _ in range(3):
        world.run_due(STEPS)
        world.later(hours=1)
    assert states(world) == ["pending"]
    world.run_due(STEPS)
    assert states(world) == ["sent"]


def test_a_retry_takes_along_what_still_waits_and_its_old_job_does_nothing(world: World, network: Network) -> None:
    world.deliverable(2)
    network.errors = [NEVER, BUSY]
    world.run_due(STEPS)
    old = world.keys
    assert len(delivery.retry(world.services, [1])) == 1
    ran = world.run_due(STEPS)
    assert ran == [f"deliver:{STUDY}:1:main-pacs:2"]
    assert states(world) == ["sent", "sent"]
    world.later(hours=1)
    assert world.run_due(STEPS) == old
    assert len(network.sent) == 2


def test_what_waits_for_its_time_is_sent_now(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [BUSY] * 3
    for _ in range(3):
        world.later(hours=1)
        world.run_due(STEPS)
    (old,) = world.keys
    assert len(delivery.retry(world.services)) == 1
    assert world.run_due(STEPS) == [f"deliver:{STUDY}:1:main-pacs:4"]
    assert states(world) == ["sent"]
    world.later(hours=1)
    assert old in world.run_due(STEPS)
    assert len(network.sent) == 4


def test_what_is_brought_forward_has_fresh_patience(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [BUSY] * 4
    for _ in range(3):
        world.later(hours=1)
        world.run_due(STEPS)
    assert len(delivery.retry(world.services, [rows(world)[0].id])) == 1
    world.run_due(STEPS)
    assert states(world) == ["pending"]
    assert world.due_in(f"deliver:{STUDY}:1:main-pacs:5") == timedelta(seconds=30)


def test_a_retry_while_a_delivery_runs_does_not_send_twice(
    world: World, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deliverable(2)
    network.errors = [NEVER, BUSY]
    world.run_due(STEPS)
    world.later(seconds=30)

    def send(peer: Any, ae_title: str, paths: Sequence[Path]) -> list[Outcome]:
        if len(network.sent) == 1:
            assert len(delivery.retry(world.services)) == 1  # the dead letter; the other is on its way
        return network.send(peer, ae_title, paths)

    monkeypatch.setattr(delivery, "send_instances", send)
    world.run_due(STEPS)
    assert states(world) == ["sent", "sent"]
    assert [[path.name for path in paths] for paths in network.sent[1:]] == [
        [network.sent[0][1].name],
        [network.sent[0][0].name],
    ]


def test_what_was_taken_is_not_retried(world: World, network: Network) -> None:
    world.deliverable(1)
    world.run_due(STEPS)
    assert len(delivery.retry(world.services)) == 0
    with pytest.raises(IllegalTransition, match="delivery 1 is sent"):
        delivery.retry(world.services, [1])
    assert len(network.sent) == 1


def test_a_delivery_that_nobody_knows(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [NEVER]
    world.run_due(STEPS)
    with pytest.raises(BadInput, match="there is no delivery 99999"):
        delivery.retry(world.services, [1, 99999])
    assert states(world) == ["failed"]


def test_what_a_person_cancelled_is_never_sent(world: World, network: Network) -> None:
    world.deliverable(2)
    network.errors = [NEVER, BUSY]
    world.run_due(STEPS)
    cancel_study(world.services, STUDY, "wrong patient")
    assert [(row.state, row.error) for row in rows(world)] == [("cancelled", "wrong patient")] * 2
    assert len(delivery.retry(world.services)) == 0
    with pytest.raises(IllegalTransition, match="delivery 2 is cancelled"):
        delivery.retry(world.services, [2])
    world.later(days=30)
    world.run_due(STEPS)
    assert len(network.sent) == 1


def test_what_was_on_its_way_when_it_was_cancelled_is_recorded_as_sent(
    world: World, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deliverable(2)
    network.errors = [None, BUSY]

    def send(peer: Any, ae_title: str, paths: Sequence[Path]) -> list[Outcome]:
        cancel_study(world.services, STUDY, "wrong patient")
        return network.send(peer, ae_title, paths)

    monkeypatch.setattr(delivery, "send_instances", send)
    world.run_due(STEPS)
    assert states(world) == ["sent", "cancelled"]
    assert rows(world)[0].error == "it was on its way when it was cancelled"


def test_a_newer_answer_withdraws_what_was_not_sent_of_an_older_one(world: World, network: Network) -> None:
    world.deliverable(3)
    network.errors = [None, BUSY, NEVER]
    world.run_due(STEPS)
    retry_study(world.services, STUDY)
    delivery.store_answer(world.services, world.answer(1))
    assert states(world) == ["sent", "cancelled", "cancelled", "pending"]
    assert {row.error for row in rows(world)[1:3]} == {"replaced by version 2 of the answer"}
    world.later(hours=1)
    world.run_due(STEPS)
    assert [path.parent.name for paths in network.sent[1:] for path in paths] == ["2"]
    with world.database.read() as session:
        assert list_studies(session)[0]["state"] == "delivered"


def test_a_newer_answer_that_is_not_whole_withdraws_nothing(world: World, network: Network) -> None:
    world.deliverable(1)
    network.errors = [BUSY]
    world.run_due(STEPS)
    retry_study(world.services, STUDY)
    answer = world.answer(2)
    refused = dataclasses.replace(answer.objects[0], quarantined="no patient name")
    delivery.store_answer(world.services, dataclasses.replace(answer, objects=[refused, answer.objects[1]]))
    assert states(world) == ["pending", "pending"]


def test_a_destination_that_the_newer_answer_does_not_reach_keeps_the_older_one(tmp_path: Path) -> None:
    world = World(tmp_path, destinations=("main-pacs", "archive"))
    world.deliverable(1)
    main_pacs, _ = world.config.destinations
    world.config = world.config.model_copy(update={"destinations": (main_pacs,)})
    retry_study(world.services, STUDY)
    delivery.store_answer(world.services, world.answer(1))
    assert [(row.destination, row.version, row.state) for row in rows(world)] == [
        ("main-pacs", 1, "cancelled"),
        ("archive", 1, "pending"),
        ("main-pacs", 2, "pending"),
    ]


def test_the_log_names_the_destination_that_did_not_take_it_once(
    world: World, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    world.deliverable(3)
    network.errors = [BUSY, BUSY]
    world.run_due(STEPS)
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert said.getMessage() == (
        f"main-pacs did not take 2 of 3 objects of study {STUDY}: A700: it is out of resources; "
        "the next attempt is in 30 s"
    )


def test_a_destination_taken_out_of_the_configuration_keeps_its_objects(world: World, network: Network) -> None:
    world.deliverable(1)
    kept = world.config.destinations
    world.config = world.config.model_copy(update={"destinations": ()})
    for _ in range(10):  # longer than any patience
        world.run_due(STEPS)
        world.later(minutes=1)
    assert states(world) == ["pending"]
    assert rows(world)[0].error == "no destination named main-pacs is in the configuration"
    world.config = world.config.model_copy(update={"destinations": kept})
    world.run_due(STEPS)
    assert states(world) == ["sent"]
    assert len(network.sent) == 1


def test_a_damaged_file_is_never_sent(world: World, network: Network) -> None:
    world.deliverable(2)
    with world.database.read() as session:
        path = session.scalars(select(ResultRow.path).order_by(ResultRow.id)).first()
    (world.services.data_dir / str(path)).write_bytes(b"something else")
    world.run_due(STEPS)
    assert states(world) == ["failed", "sent"]
    assert "damaged" in str(rows(world)[0].error)
    assert [len(paths) for paths in network.sent] == [1]


def test_the_same_job_twice_sends_once(world: World, network: Network) -> None:
    world.deliverable(1)
    delivery.deliver(world.services, STUDY, 1, "main-pacs", 0)
    delivery.deliver(world.services, STUDY, 1, "main-pacs", 0)
    assert len(network.sent) == 1


def test_each_destination_has_its_own_lane(tmp_path: Path, network: Network) -> None:
    world = World(tmp_path, destinations=("main-pacs", "archive"))
    world.deliverable(1)
    assert {world.job(key).lane for key in world.keys} == {"main-pacs", "archive"}
    network.errors = [BUSY]
    world.run_due(STEPS)
    assert sorted(states(world)) == ["pending", "sent"]


def test_a_quarantined_object_is_listed_and_goes_nowhere(world: World, network: Network) -> None:
    world.release(world.receive())
    world.close()
    answer = world.answer(1)
    refused = dataclasses.replace(answer.objects[0], quarantined="no patient name")
    delivery.store_answer(world.services, dataclasses.replace(answer, objects=[refused]))
    world.run_due(STEPS)
    assert not network.sent
    with world.database.read() as session:
        (study,) = list_studies(session)
        assert gauges(session).studies == {"failed": 1}
    assert study == {
        "study_instance_uid": STUDY,
        "state": "failed",
        "generation": 1,
        "instances": 1,
        "results": [
            {
                "kind": "findings_sr",
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33",
                "sop_instance_uid": f"{STUDY}.9.1.0",
                "profile": "",
                "destination": None,
                "state": "quarantined",
                "error": "no patient name",
            }
        ],
    }


def test_a_study_whose_report_was_held_back_is_not_called_committed(world: World) -> None:
    world.release(world.receive())
    world.close()
    answer = world.answer(2)
    refused = dataclasses.replace(answer.objects[0], quarantined="no patient name")
    delivery.store_answer(world.services, dataclasses.replace(answer, objects=[refused, answer.objects[1]]))
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(state="committed"))
    with world.database.read() as session:
        assert [study["state"] for study in list_studies(session)] == ["failed"]
        assert gauges(session).studies == {"failed": 1}
    retry_study(world.services, STUDY)
    delivery.store_answer(world.services, world.answer(1))
    with world.database.read() as session:  # the new answer counts, not the one before
        assert [study["state"] for study in list_studies(session)] == ["analysed"]
