"""`send`, `ae echo` and `preflight` as a person meets them who mistyped something."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import free_port
from fake_pacs import FakePacs
from typer.testing import CliRunner, Result

from dicom_node.cli import app
from dicom_node.errors import BadInput


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"destinations: [{{name: pacs, ae_title: FAKE_PACS, host: 127.0.0.1, port: {free_port()}}}]\n")
    return path


@pytest.mark.parametrize("command", [("preflight",), ("ae", "echo")])
def test_an_unknown_destination_is_no_fault_of_the_configuration(command: tuple[str, ...], config: Path) -> None:
    error = call(*command, "nope", "--config", config).exception
    assert isinstance(error, BadInput)
    assert str(error) == "no destination is named 'nope'; the configuration has: pacs"


def test_preflight_says_what_to_set_for_a_pacs_without_commitment(config: Path) -> None:
    port = int(config.read_text().rsplit(":", 1)[1].strip(" }]\n"))
    with FakePacs(port=port, offers_commitment=False):
        outcome = call("preflight", "pacs", "--config", config)
    assert outcome.exit_code == 1
    assert "commitment: false" in outcome.output


def test_preflight_asks_for_what_the_profile_really_sends(config: Path) -> None:
    wishes = "sr_class: comprehensive_3d, encoding: jpeg, send: [findings_sr, secondary_capture, key_object]"
    config.write_text(config.read_text().replace("}", f", commitment: false, {wishes}}}"))
    port = int(config.read_text().split("port: ")[1].split(",")[0])
    with FakePacs(port=port):  # it takes nothing compressed
        outcome = call("preflight", "pacs", "--config", config)
    lines = [" ".join(line.replace("│", " ").split()) for line in outcome.output.splitlines()]
    plain = "yes Explicit VR Little Endian, Implicit VR Little Endian"
    assert [line for line in lines if line.startswith("accepts")] == [
        f"accepts Comprehensive 3D SR Storage {plain}",
        "accepts Secondary Capture Image Storage as JPEG no no transfer syntax",
        f"accepts Key Object Selection Document Storage {plain}",
    ]
    assert outcome.exit_code == 1


def test_sending_what_is_not_dicom_says_so(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    outcome = call("send", letter, "--to", f"FAKE_PACS@127.0.0.1:{free_port()}")
    assert outcome.exit_code == 1
    assert "letter.txt is not a DICOM file" in outcome.output
    assert "force" not in outcome.output
