"""`audit`, and what the other commands leave in the trail: through the real command line, on a real node's folder."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import free_port, wait_until
from typer.testing import CliRunner, Result
from world import STUDY, World

from dicom_node import bootstrap
from dicom_node.audit.trail import days
from dicom_node.cli import app
from dicom_node.live_config import LiveConfig


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A node, not running, that has an analysed study."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": "."}, "web": {"port": free_port()}}))
    bootstrap.prepare_database(LiveConfig(path)())
    world = World(tmp_path)
    world.deliverable()
    return world


def call(world: World, *words: str) -> Result:
    config = str(world.config.node.data_dir / "config.yaml")
    return CliRunner().invoke(app, [*words, "--config", config], env={"COLUMNS": "260"})


def trail(world: World, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(world, "audit", "--json", *words).output)
    return found


def test_commands_are_on_record_with_what_they_did(world: World) -> None:
    for words in (
        ("ae", "add", "NEWSCANNER"),
        ("ae", "remove", "NEWSCANNER"),
        ("study", "show", STUDY, "--json"),
        ("study", "retry", STUDY),
        ("study", "cancel", STUDY, "--reason", "wrong patient"),
    ):
        outcome = call(world, *words)
        assert outcome.exit_code == 0, outcome.output
    assert call(world, "study", "list").exit_code == 0
    found = trail(world)
    assert [(entry["event"], entry["type"], entry["said"]) for entry in reversed(found)] == [
        ("Security Alert", "Network Configuration", "ae add: scanner NEWSCANNER"),
        ("Security Alert", "Network Configuration", "ae remove: NEWSCANNER"),
        ("DICOM Instances Accessed", "view", None),
        ("DICOM Instances Accessed", "study retry", None),
        ("DICOM Instances Accessed", "study cancel", "wrong patient"),
    ]
    assert found[-1]["object"].endswith("config.yaml")
    assert {entry["study_instance_uid"] for entry in found} == {STUDY, None}
    assert trail(world, "--limit", "1")[0]["event"] == "Audit Log Used"  # that it was listed is on record too
    assert len(trail(world, "--study", STUDY)) == 3
    said = call(world, "audit").output
    assert "DICOM Instances Accessed: study cancel" in said
    assert "wrong patient" in said


def test_a_changed_trail_fails_the_check(world: World) -> None:
    call(world, "study", "show", STUDY, "--json")
    call(world, "study", "retry", STUDY)
    assert call(world, "audit", "--check").exit_code == 0
    (file,) = days(world.config.node.data_dir)
    file.write_bytes(file.read_bytes().replace(b"view", b"vi3w", 1))
    outcome = call(world, "audit", "--check")
    assert outcome.exit_code == 1
    assert "line 2: the line before it is not the one that was there" in outcome.output


def test_a_command_on_a_node_that_never_started_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {data_dir: var}\n")
    assert CliRunner().invoke(app, ["ae", "add", "X", "--config", str(path)]).exit_code == 0
    assert not (tmp_path / "var").exists()


def test_a_role_tells_its_start_and_its_stop(world: World) -> None:
    stop = threading.Event()
    live = LiveConfig(world.config.node.data_dir / "config.yaml")
    role = threading.Thread(target=bootstrap.run_role, args=("web", "web-7", live, stop))
    role.start()
    wait_until(lambda: days(world.config.node.data_dir))
    stop.set()
    role.join(20)
    stopped, started = trail(world)
    assert [started["type"], stopped["type"]] == ["Application Start", "Application Stop"]
    assert "web-7" in started["who"][0]


def test_the_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("node: {data_dir: deep/var}\n")
    bootstrap.prepare_database(LiveConfig(path)())
    assert (tmp_path / "deep" / "var").stat().st_mode & 0o007 == 0
