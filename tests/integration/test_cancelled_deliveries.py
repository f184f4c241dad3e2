"""The state `cancelled` in both databases: withdrawn by a newer answer or by a person, counted, listed, cleaned up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from world import STUDY, World

from dicom_node.pipeline import commitment, delivery
from dicom_node.pipeline.operator import cancel_study, retry_study
from dicom_node.pipeline.retention import clean_up
from dicom_node.store.commitments import add_transaction
from dicom_node.store.deliveries import ShipmentKey, list_deliveries
from dicom_node.store.overview import gauges
from dicom_node.store.tables import DeliveryRow


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    world = World(tmp_path, url=database_url)
    world.deliverable(2)
    yield world
    world.database.close()


def states(world: World) -> list[tuple[int, str]]:
    with world.database.read() as session:
        rows = session.scalars(select(DeliveryRow).order_by(DeliveryRow.id))
        return [(row.version, row.state) for row in rows]


def test_an_older_answer_is_withdrawn_and_not_sent_again_when_it_was_lost(world: World) -> None:
    with world.database.write() as session:
        first = select(DeliveryRow.id).order_by(DeliveryRow.id).limit(1).scalar_subquery()
        session.execute(update(DeliveryRow).where(DeliveryRow.id == first).values(state="sent"))
        key = ShipmentKey(STUDY, 1, "main-pacs")
        add_transaction(session, "2.25.1", key, attempt=0, now=world.time, due_at=world.time)
    retry_study(world.services, STUDY)
    assert delivery.store_answer(world.services, world.answer(1))
    assert states(world) == [(1, "sent"), (1, "cancelled"), (2, "pending")]
    commitment.on_report(world.services, "2.25.1", [], [(f"{STUDY}.9.1.0", 0x0112)])
    assert states(world) == [(1, "cancelled"), (1, "cancelled"), (2, "pending")]


def test_what_a_person_cancelled_is_listed_counted_and_cleaned_up(world: World) -> None:
    (world.services.data_dir / "instances").mkdir(exist_ok=True)
    cancel_study(world.services, STUDY, "wrong patient")
    assert len(delivery.retry(world.services)) == 0
    with world.database.read() as session:
        assert {entry["error"] for entry in list_deliveries(session, state="cancelled")} == {"wrong patient"}
        assert gauges(session).studies == {"failed": 1}
        assert gauges(session).deliveries == {("main-pacs", "cancelled"): 2}
    world.later(days=8)
    with world.database.read() as session:
        assert session.scalars(select(DeliveryRow.state)).all() == ["cancelled", "cancelled"]
    clean_up(world.services)
    world.later(days=90)
    assert clean_up(world.services).studies == 1
    assert states(world) == []
