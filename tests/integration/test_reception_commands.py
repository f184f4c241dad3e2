"""`association list` and `instance list` on real rows: what the web pages show, for a terminal and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result
from world import STUDY, World

from dicom_node import bootstrap
from dicom_node.cli import app
from dicom_node.live_config import LiveConfig
from dicom_node.store.tables import AssociationRow, InstanceRow


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A node, not running, that let one caller in and one not, and holds an instance that cannot be read."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"node": {"data_dir": "."}}))
    bootstrap.prepare_database(LiveConfig(path)())
    world = World(tmp_path)
    association = world.receive()
    world.release(association)
    with world.database.write() as session:
        session.get_one(AssociationRow, association).contexts = [
            {"id": 1, "abstract_syntax": "1.2.3", "transfer_syntaxes": [], "accepted": True, "reason": None},
            {
                "id": 3,
                "abstract_syntax": "1.2.4",
                "transfer_syntaxes": [],
                "accepted": False,
                "reason": "no ultrasound",
            },
        ]
        session.add(
            AssociationRow(
                receiver="receiver-0",
                calling_ae_title="[/X]:smile:",
                called_ae_title="DICOM_NODE",
                host="10.9.8.7",
                outcome="rejected",
                reason="the calling AE title is unknown",
                started_at=world.time.replace(hour=9),
                contexts=[],
            )
        )
        session.add(
            InstanceRow(
                sop_instance_uid="1.2.99",
                sop_class_uid="1.2",
                transfer_syntax_uid="1.2",
                sha256="1" * 64,
                size_bytes=1,
                path="instances/broken.dcm",
                state="quarantined",
                reason="the data set ends in the middle",
                received_at=world.time,
            )
        )
    return world


def call(world: World, *words: str) -> Result:
    config = str(world.config.node.data_dir / "config.yaml")
    return CliRunner().invoke(app, [*words, "--config", config], env={"COLUMNS": "220"})


def test_associations_are_listed_with_what_was_refused(world: World) -> None:
    stranger, scanner = json.loads(call(world, "association", "list", "--json").output)
    assert (stranger["outcome"], stranger["reason"]) == ("rejected", "the calling AE title is unknown")
    assert [context["abstract_syntax"] for context in scanner["refused_contexts"]] == ["1.2.4"]
    said = call(world, "association", "list").output
    assert "[/X]:smile:" in said  # a stranger's own words, brackets and colons too
    assert "the calling AE title is unknown" in said
    assert "no ultrasound" in said
    assert len(json.loads(call(world, "association", "list", "--json", "--limit", "1").output)) == 1


def test_instances_without_a_study_are_listed_with_their_file(world: World) -> None:
    (found,) = json.loads(call(world, "instance", "list", "--json").output)
    assert found == {
        "sop_instance_uid": "1.2.99",
        "study_instance_uid": None,
        "state": "quarantined",
        "reason": "the data set ends in the middle",
        "received_at": world.time.isoformat(),
        "path": "instances/broken.dcm",
    }
    said = call(world, "instance", "list").output
    assert "instances/broken.dcm" in said
    assert STUDY + ".0" not in said  # that one is in use
