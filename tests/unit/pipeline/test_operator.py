from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update
from world import STUDY, World

from dicom_node.errors import BadInput, IllegalTransition, ModelError
from dicom_node.pipeline.completion import analysis_failed
from dicom_node.pipeline.operator import cancel_study, retry_study
from dicom_node.store.studies import show_study
from dicom_node.store.tables import DeliveryRow


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def state(world: World) -> str:
    with world.database.read() as session:
        found = show_study(session, STUDY)
    assert found is not None
    return str(found["state"])


def test_a_failed_study_is_analysed_again_with_fresh_patience(world: World) -> None:
    world.release(world.receive())
    world.close()
    analysis_failed(world.services, STUDY, 1, 0, ModelError("no weights"))
    retry_study(world.services, STUDY)
    assert (state(world), world.keys) == ("closed", [f"analyse:{STUDY}:1:2"])
    assert world.generation().round_start == world.generation().attempt


def test_an_answered_study_gets_a_new_version(world: World) -> None:
    world.deliverable()
    retry_study(world.services, STUDY)
    assert world.answer().version == 2


def test_a_study_that_is_still_received_is_not_retried(world: World) -> None:
    world.receive()
    with pytest.raises(IllegalTransition, match="receiving"):
        retry_study(world.services, STUDY)


def test_a_cancelled_study_says_why_and_sends_nothing(world: World) -> None:
    world.deliverable()
    cancel_study(world.services, STUDY, "wrong patient")
    assert state(world) == "failed"
    with world.database.read() as session:
        assert set(session.execute(select(DeliveryRow.state, DeliveryRow.error))) == {("cancelled", "wrong patient")}
    with pytest.raises(IllegalTransition, match="nothing to cancel"):
        cancel_study(world.services, STUDY, "wrong patient")


def test_dead_letters_are_cancelled_too(world: World) -> None:
    world.deliverable()
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(state="failed", error="gave up"))
    cancel_study(world.services, STUDY, "wrong patient")
    with world.database.read() as session:
        assert set(session.scalars(select(DeliveryRow.state))) == {"cancelled"}


def test_a_study_is_cancelled_before_its_analysis(world: World) -> None:
    world.release(world.receive())
    world.close()
    cancel_study(world.services, STUDY, "test images")
    assert world.generation().error == "cancelled: test images"


def test_a_study_that_nobody_knows(world: World) -> None:
    with pytest.raises(BadInput, match="no study"):
        retry_study(world.services, "9.9")
    with pytest.raises(BadInput, match="no study"):
        cancel_study(world.services, "9.9", "x")
