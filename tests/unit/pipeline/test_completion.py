from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from world import STUDY, World

from dicom_node.errors import ModelError
from dicom_node.pipeline import jobs
from dicom_node.pipeline.completion import analysis_failed, bury_lost_associations, close_study
from dicom_node.store.tables import AssociationRow, GenerationRow

STEPS = {"close_study": close_study}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def start_timer(world: World, tick: int = 0) -> None:
    with world.database.write() as session:
        world.services.enqueue(session, jobs.close_study(STUDY, 1, tick, timedelta(seconds=10)))


def test_a_quiet_study_closes_once_and_its_analysis_is_enqueued_with_it(world: World) -> None:
    world.release(world.receive())
    start_timer(world)
    world.later(seconds=10)
    world.run_due(STEPS)
    assert world.generation().state == "closed"
    assert world.keys == [f"analyse:{STUDY}:1:0"]
    close_study(world.services, STUDY, 1, 0)  # the same job again, as after a crash
    assert world.keys == [f"analyse:{STUDY}:1:0"]


def test_a_late_image_moves_the_closing_by_the_rest_of_the_quiet_time(world: World) -> None:
    world.release(world.receive())
    start_timer(world)
    world.later(seconds=7)
    with world.database.write() as session:
        session.get_one(GenerationRow, (STUDY, 1)).last_received_at = world.time
    world.later(seconds=3)
    world.run_due(STEPS)
    assert world.generation().state == "receiving"
    assert world.due_in(f"close:{STUDY}:1:1") == timedelta(seconds=7)


def test_quiet_time_and_cap_are_told_apart(world: World) -> None:
    world.release(world.receive())
    start_timer(world)
    world.later(seconds=10)
    world.run_due(STEPS)
    assert world.generation().close_reason == "nothing came for 10 s (quiet_seconds)"


def test_a_study_that_never_falls_quiet_closes_at_the_cap_and_says_so(world: World) -> None:
    world.release(world.receive())
    start_timer(world)
    for _ in range(113):
        world.later(seconds=8)
        with world.database.write() as session:
            session.get_one(GenerationRow, (STUDY, 1)).last_received_at = world.time
        world.run_due(STEPS)
    assert world.generation().close_reason == "its first instance came 900 s ago (cap_seconds)"


def test_an_open_association_keeps_its_study_open_beyond_the_cap(world: World) -> None:
    association = world.receive()
    start_timer(world)
    world.later(hours=1)
    world.run_due(STEPS)
    assert world.generation().state == "receiving"
    world.release(association)
    world.later(seconds=5)
    world.run_due(STEPS)
    assert world.generation().state == "closed"


def test_the_association_of_a_dead_receiver_holds_nothing_open(world: World) -> None:
    association = world.receive()
    start_timer(world)
    world.living.clear()
    world.later(seconds=10)
    world.run_due(STEPS)
    assert world.generation().state == "closed"
    with world.database.read() as session:
        row = session.get_one(AssociationRow, association)
    assert (row.outcome, row.reason) == ("lost", "the receiver process died")


def test_the_association_of_a_receiver_that_was_born_again_after_the_look_is_left_alone(world: World) -> None:
    association = world.receive()

    def dead_and_born_again(_receiver: str) -> bool:
        world.later(seconds=1)
        with world.database.write() as session:
            session.get_one(AssociationRow, association).started_at = world.time
        return False

    world.later(seconds=1)
    assert bury_lost_associations(dataclasses.replace(world.services, is_alive=dead_and_born_again)) == 0
    world.living.clear()
    world.later(seconds=1)
    assert bury_lost_associations(world.services) == 1


def test_the_association_of_a_living_receiver_is_left_alone(world: World) -> None:
    world.receive()
    assert bury_lost_associations(world.services) == 0


def test_a_scanner_that_says_complete_is_believed(world: World) -> None:
    world.release(world.receive())
    with world.database.write() as session:
        session.get_one(GenerationRow, (STUDY, 1)).close_asked = "mpps"
    close_study(world.services, STUDY, 1, 0)
    assert world.generation().close_reason == "the scanner reported its procedure step completed"


def test_an_old_timer_does_nothing(world: World) -> None:
    world.release(world.receive())
    with world.database.write() as session:
        session.get_one(GenerationRow, (STUDY, 1)).tick = 3
    world.later(hours=1)
    close_study(world.services, STUDY, 1, 2)
    assert world.generation().state == "receiving"


def test_the_policy_in_force_at_the_moment_counts(world: World) -> None:
    world.release(world.receive())
    start_timer(world)
    patient = world.config.scanners[0].model_copy(update={"quiet_seconds": 60})
    world.config = world.config.model_copy(update={"scanners": (patient,)})
    world.later(seconds=10)
    world.run_due(STEPS)
    assert world.due_in(f"close:{STUDY}:1:1") == timedelta(seconds=50)


def test_a_failed_analysis_is_repeated_with_growing_waits_then_given_up(world: World) -> None:
    world.release(world.receive())
    world.close()
    waits = []
    for attempt in range(2):
        analysis_failed(world.services, STUDY, 1, attempt, RuntimeError("chance"))
        waits.append(world.due_in(f"analyse:{STUDY}:1:{attempt + 1}"))
    assert waits == [timedelta(seconds=30), timedelta(seconds=60)]
    analysis_failed(world.services, STUDY, 1, 2, RuntimeError("chance"))
    assert world.generation().state == "failed"
    assert world.generation().error == "RuntimeError: chance; gave up after 3 attempts"


def test_a_final_error_is_not_tried_again(world: World) -> None:
    world.release(world.receive())
    world.close()
    analysis_failed(world.services, STUDY, 1, 0, ModelError("no weights"))
    assert world.generation().state == "failed"
    assert not world.keys


def test_the_failure_of_an_old_attempt_is_not_counted(world: World) -> None:
    world.release(world.receive())
    world.close()
    analysis_failed(world.services, STUDY, 1, 0, RuntimeError("first"))
    analysis_failed(world.services, STUDY, 1, 0, RuntimeError("first, told again"))
    assert world.generation().attempt == 1
