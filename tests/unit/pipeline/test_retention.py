from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from world import SR, STUDY, World

from dicom_node.errors import BadInput, ModelError
from dicom_node.pipeline.completion import analysis_failed
from dicom_node.pipeline.operator import cancel_study, retry_study
from dicom_node.pipeline.retention import clean_up
from dicom_node.store.commitment_requests import NO_SUCH_OBJECT_INSTANCE, assess
from dicom_node.store.evidence import evidence_of
from dicom_node.store.overview import list_set_aside
from dicom_node.store.studies import list_studies
from dicom_node.store.tables import AssociationRow, Base, DeliveryRow, GenerationRow, InstanceRow, ResultRow


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (tmp_path / "instances").mkdir()
    (tmp_path / "instances" / f"{STUDY}.0.dcm").write_bytes(b"image")
    world.deliverable()
    return world


def finish(world: World) -> None:
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(state="sent"))
        session.execute(update(AssociationRow).values(ended_at=world.time))


def count(world: World, table: type[Base]) -> int:
    with world.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def image(world: World) -> Path:
    return world.services.data_dir / "instances" / f"{STUDY}.0.dcm"


def test_nothing_goes_before_its_time(world: World) -> None:
    finish(world)
    world.later(days=6)
    clean_up(world.services)
    assert image(world).exists()
    assert count(world, InstanceRow) == 1


def test_images_go_first_and_results_stay(world: World) -> None:
    finish(world)
    world.later(days=8)
    assert clean_up(world.services).image_files == 1
    assert not image(world).exists()
    with world.database.read() as session:
        (row,) = session.scalars(select(InstanceRow))
        (evidence,) = evidence_of(session, STUDY, 1)
        assert list_studies(session)[0]["instances"] == 1
        assert list_set_aside(session, 10) == []
        failed = assess(session, world.services.data_dir, [(SR, f"{STUDY}.0")]).failed
    assert failed == ((SR, f"{STUDY}.0", NO_SUCH_OBJECT_INSTANCE),)  # we keep it no more
    assert row.state == "removed"
    assert evidence.set_aside == row.reason == "the image was removed by retention"
    assert count(world, ResultRow) == 2
    assert clean_up(world.services).image_files == 0  # once
    with pytest.raises(BadInput, match="no image of the study is left to analyse"):
        retry_study(world.services, STUDY)


def test_what_is_not_delivered_keeps_its_study(world: World) -> None:
    world.later(days=400)
    clean_up(world.services)
    assert image(world).exists()
    assert count(world, DeliveryRow) == 2


def test_in_the_end_the_whole_study_goes_with_its_log(world: World) -> None:
    finish(world)
    with world.database.read() as session:
        results = [world.services.data_dir / path for path in session.scalars(select(ResultRow.path))]
    world.later(days=91)
    assert clean_up(world.services).studies == 1
    tables = (ResultRow, DeliveryRow, AssociationRow, InstanceRow)
    assert [count(world, table) for table in tables] == [0, 0, 0, 0]
    assert not any(file.exists() for file in results)


def test_files_that_no_row_speaks_of_go_after_a_day(world: World) -> None:
    stray = world.services.data_dir / "results" / "x" / "1" / "y.dcm.99.part"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    now = world.time.timestamp()
    os.utime(stray, (now, now))
    world.time += timedelta(hours=1)
    clean_up(world.services)
    assert stray.exists()
    world.time += timedelta(days=1)
    clean_up(world.services)
    assert not stray.exists()


def test_images_that_a_retry_may_need_stay_until_the_results_go(world: World) -> None:
    finish(world)
    with world.database.write() as session:
        session.execute(update(GenerationRow).values(state="closed"))
    analysis_failed(world.services, STUDY, 1, 0, ModelError("no weights"))
    world.later(days=30)
    assert clean_up(world.services).image_files == 0
    world.later(days=61)
    clean_up(world.services)
    assert not image(world).exists()
    assert count(world, InstanceRow) == 0


def test_the_images_of_a_dead_letter_stay_until_the_results_go(world: World) -> None:
    finish(world)
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(state="failed", error="gave up"))
    world.later(days=30)
    assert clean_up(world.services).image_files == 0
    world.later(days=61)
    clean_up(world.services)
    assert not image(world).exists()
    assert count(world, DeliveryRow) == 0


def test_what_was_cancelled_waits_for_no_retry(world: World) -> None:
    cancel_study(world.services, STUDY, "wrong patient")
    with world.database.write() as session:
        session.execute(update(GenerationRow).values(state="closed"))
    cancel_study(world.services, STUDY, "wrong patient")
    world.later(days=8)
    assert clean_up(world.services).image_files == 1


def test_an_image_that_was_sent_again_has_its_time_once_more(world: World) -> None:
    finish(world)
    world.later(days=8)
    with world.database.write() as session:  # as reception does
        session.execute(update(InstanceRow).values(received_at=world.time))
    assert clean_up(world.services).image_files == 0
    world.later(days=8)
    assert clean_up(world.services).image_files == 1


def test_what_belongs_to_no_study_goes_with_the_log(world: World) -> None:
    finish(world)
    stranger = world.services.data_dir / "instances" / "stranger.dcm"
    stranger.write_bytes(b"no data set")
    with world.database.write() as session:
        session.execute(
            update(InstanceRow).values(
                study_instance_uid=None, generation=None, state="quarantined", path="instances/stranger.dcm"
            )
        )
    world.later(days=89)
    clean_up(world.services)
    assert stranger.exists()
    world.later(days=2)
    clean_up(world.services)
    assert not stranger.exists()
    assert [count(world, table) for table in (InstanceRow, AssociationRow)] == [0, 0]
