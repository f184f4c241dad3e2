from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from world import STUDY, World

from dicom_node.pipeline.retention import clean_up
from dicom_node.store.tables import AssociationRow, Base, DeliveryRow, InstanceRow, ResultRow


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
    assert count(world, InstanceRow) == 0
    assert count(world, ResultRow) == 2


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
    assert [count(world, table) for table in (ResultRow, DeliveryRow, AssociationRow)] == [0, 0, 0]
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
