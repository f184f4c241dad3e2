"""`study` and `delivery` on real rows: what a person is shown, and what is refused in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select, update
from typer.testing import CliRunner, Result
from world import STUDY, World

from dicom_node import bootstrap
from dicom_node.cli import app
from dicom_node.errors import BadInput
from dicom_node.live_config import LiveConfig
from dicom_node.pipeline.delivery import store_answer
from dicom_node.store.tables import DeliveryRow


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A node with one answered study, not running; its configuration is ``config.yaml`` in its folder."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": "."}}))
    bootstrap.prepare_database(LiveConfig(path)())
    world = World(tmp_path)
    world.release(world.receive(2))
    world.close()
    said = {"task": "planes", "value": None, "unit": None, "frame": None}
    findings = [
        {**said, "name": "not analysed", "instance": f"{STUDY}.{number}", "note": "no pixel data"} for number in (0, 1)
    ]
    store_answer(world.services, dataclasses.replace(world.answer(2), summary=findings))
    return world


def call(world: World, *words: str) -> Result:
    config = str(world.config.node.data_dir / "config.yaml")
    return CliRunner().invoke(app, [*words, "--config", config], env={"COLUMNS": "160"})


def deliveries(world: World) -> list[tuple[str, int]]:
    with world.database.read() as session:
        rows = session.scalars(select(DeliveryRow).order_by(DeliveryRow.id))
        return [(row.state, row.attempts) for row in rows]


def test_a_study_is_shown_with_the_image_of_each_finding(world: World) -> None:
    lines = [line.replace("│", " ").split() for line in call(world, "study", "show", STUDY).output.splitlines()]
    assert ["planes", "not", "analysed", "1", "no", "pixel", "data"] in lines
    assert ["planes", "not", "analysed", "2", "no", "pixel", "data"] in lines
    assert ["1", f"{STUDY}.0"] in lines
    assert ["2", f"{STUDY}.1"] in lines


def test_what_waits_is_sent_now(world: World) -> None:
    with world.database.write() as session:
        session.execute(update(DeliveryRow).values(attempts=7, next_attempt_at=world.time.replace(year=2100)))
    outcome = call(world, "delivery", "retry")
    assert "2 deliveries are tried now" in outcome.output
    assert deliveries(world) == [("pending", 8), ("pending", 8)]


def test_a_cancelled_study_stays_so_whatever_is_retried(world: World) -> None:
    assert call(world, "study", "cancel", STUDY, "--reason", "wrong patient").exit_code == 0
    assert "0 deliveries" in call(world, "delivery", "retry").output
    shown = call(world, "delivery", "list", "--state", "cancelled").output
    assert shown.count("wrong patient") == 2


def test_an_unknown_delivery_is_an_error(world: World) -> None:
    error = call(world, "delivery", "retry", "99999").exception
    assert isinstance(error, BadInput)
    assert str(error) == "there is no delivery 99999"


def test_an_unknown_state_is_an_error_that_names_the_states(world: World) -> None:
    error = call(world, "delivery", "list", "--state", "foo").exception
    assert isinstance(error, BadInput)
    assert str(error) == "'foo' is no state of a delivery: pending, sent, committed, failed, cancelled"


def test_a_destination_that_was_added_is_given_an_answer(world: World) -> None:
    config = world.config.node.data_dir / "config.yaml"
    pacs = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    added = [{"name": "new", **pacs}, {"name": "other", **pacs, "encoding": "jpeg"}]
    config.write_text(yaml.safe_dump({"node": {"data_dir": "."}, "destinations": added}))
    assert "2 objects go to new" in call(world, "study", "redeliver", STUDY, "new").output
    assert deliveries(world) == [("pending", 0), ("pending", 0), ("pending", 1), ("pending", 1)]
    error = call(world, "study", "redeliver", STUDY, "other").exception
    assert str(error) == "no whole answer is written as other wants it: `study retry` makes one"
    assert isinstance(error, BadInput)
