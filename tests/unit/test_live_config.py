"""Hot reload: taken over as a whole, or refused as a whole."""

from pathlib import Path

import pytest

from dicom_node import live_config
from dicom_node.live_config import LiveConfig


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(live_config, "LOOK_EVERY_S", 0.0)
    path = tmp_path / "config.yaml"
    path.write_text("scanners: [{ae_title: A}]\n")
    return path


def test_scanners_are_taken_over_without_a_restart(file: Path) -> None:
    live = LiveConfig(file)
    file.write_text("scanners: [{ae_title: A}, {ae_title: B2}]\n")
    assert [scanner.ae_title for scanner in live().scanners] == ["A", "B2"]


def test_a_bad_file_changes_nothing_and_says_why(file: Path) -> None:
    live = LiveConfig(file)
    file.write_text("scanners: [{ae_title: NEW}]\nnodes: {}\n")
    assert [scanner.ae_title for scanner in live().scanners] == ["A"]
    assert live.problem is not None
    assert "nodes: unknown key" in live.problem
    file.write_text("scanners: [{ae_title: NEWER}]\n")
    assert [scanner.ae_title for scanner in live().scanners] == ["NEWER"]
    assert live.problem is None


def test_a_port_needs_a_restart_and_the_log_says_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveConfig(file)
    file.write_text("scanners: [{ae_title: B}]\ndicom: {port: 4711}\n")
    assert live().dicom.port == 11112
    assert live().scanners[0].ae_title == "B"
    assert "changes in dicom take effect after a restart" in caplog.text


def test_more_frames_are_looked_at_at_once_but_other_models_wait(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveConfig(file)
    file.write_text("analysis: {max_frames_per_cine: 8, tasks: [planes]}\n")
    assert live().analysis.max_frames_per_cine == 8
    assert live().analysis.tasks == ("planes", "structures", "anomalies", "biometry")
    assert "changes in analysis take effect after a restart" in caplog.text
