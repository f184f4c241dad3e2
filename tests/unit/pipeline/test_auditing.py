"""What operators, deliveries and retention do to a study is told to the audit trail, with its patient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import synthetic
from pydicom.filewriter import dcmwrite
from sqlalchemy import update
from world import SR, STUDY, World

from dicom_node.audit.acts import operator as person
from dicom_node.audit.message import Message
from dicom_node.dimse.storage_scu import Outcome
from dicom_node.errors import BadInput, TransientDeliveryError
from dicom_node.pipeline import auditing, delivery, operator
from dicom_node.pipeline.completion import analysis_failed
from dicom_node.pipeline.retention import clean_up
from dicom_node.store.tables import AssociationRow, DeliveryRow, ResultRow

PATIENT = "PID-9"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (tmp_path / "instances").mkdir()
    dcmwrite(tmp_path / "instances" / f"{STUDY}.0.dcm", synthetic.image(PatientID=PATIENT), enforce_file_format=True)
    return world


def summary(message: Message) -> tuple[str, str, str, str]:
    what = message.types[0].meaning if message.types else ""
    return message.event.meaning, what, message.objects[0].identifier, message.objects[1].identifier


def test_an_order_is_told_with_who_gave_it(world: World) -> None:
    world.release(world.receive())
    world.close()
    analysis_failed(world.services, STUDY, 1, 0, BadInput("broken"))
    operator.retry_study(world.services, STUDY)
    operator.cancel_study(world.services, STUDY, "wrong patient")
    retry, cancel = world.audited
    assert summary(retry) == ("DICOM Instances Accessed", "study retry", STUDY, PATIENT)
    assert summary(cancel) == ("DICOM Instances Accessed", "study cancel", STUDY, PATIENT)
    assert cancel.objects[0].details == {"reason": "wrong patient"}
    assert retry.participants[0].user_id == person().user_id
    assert retry.participants[0].is_requestor


def test_an_order_that_is_refused_changed_nothing_and_is_not_told(world: World) -> None:
    with pytest.raises(BadInput):
        operator.retry_study(world.services, "9.9.9")
    assert world.audited == []


def test_a_delivery_tells_what_was_meant_and_what_was_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deliverable(objects=3)

    def send(_peer: Any, _ae_title: str, paths: Sequence[Path]) -> list[Outcome]:
        errors = [None, TransientDeliveryError("out of resources"), TransientDeliveryError("out of resources")]
        return [Outcome(path, status=0, error=error) for path, error in zip(paths, errors, strict=True)]

    monkeypatch.setattr(delivery, "send_instances", send)
    world.run_due({"deliver": delivery.deliver})
    begun, sent = world.audited
    assert begun.event.meaning == "Begin Transferring DICOM Instances"
    assert dict(begun.objects[0].sop_classes) == {SR: 3}
    assert sent.event.meaning == "DICOM Instances Transferred"
    assert dict(sent.objects[0].sop_classes) == {SR: 1}
    assert (sent.outcome, sent.explanation) == (4, "out of resources")
    assert [party.alternative_id for party in sent.participants] == ["AETITLES=DICOM_NODE", "AETITLES=PACS"]

    world.audited.clear()
    operator.retry_deliveries(world.services)
    assert [summary(message) for message in world.audited] == [
        ("DICOM Instances Accessed", "delivery retry", STUDY, PATIENT)
    ]


def test_what_retention_removes_is_told_and_of_whom_it_was(world: World) -> None:
    world.deliverable()
    result = synthetic.image(PatientID=PATIENT)  # stands for a result: only its head is looked at
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(state="sent"))
        session.execute(update(AssociationRow).values(ended_at=world.time))
        path = session.query(ResultRow.path).first()[0]
    dcmwrite(world.config.node.data_dir / path, result, enforce_file_format=True)
    world.time += timedelta(days=8)
    clean_up(world.services)
    world.time += timedelta(days=90)
    clean_up(world.services)
    assert [summary(message) for message in world.audited] == [
        ("DICOM Study Deleted", "images, by retention", STUDY, PATIENT),
        ("DICOM Study Deleted", "all that was left, by retention", STUDY, PATIENT),
    ]


def test_a_patient_id_that_cannot_be_read_is_unknown(world: World) -> None:
    world.release(world.receive())
    (world.config.node.data_dir / "instances" / f"{STUDY}.0.dcm").write_bytes(b"no DICOM at all")
    with world.database.read() as session:
        subject = auditing.known(session, world.config.node.data_dir, STUDY)
        assert subject.objects[1].identifier == "unknown"
        assert auditing.known(session, world.config.node.data_dir, "9.9.9").patient_id == ""
