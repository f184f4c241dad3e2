"""Hot reload: taken over as a whole, or refused as a whole."""

import os
from pathlib import Path

import pytest

from dicom_node import live_config
from dicom_node.live_config import LiveConfig


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(live_config, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(live_config, "SETTLE_S", 0.0)
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


@pytest.mark.parametrize("text", ["", "\n", "# The configuration of the node.\n"])
def test_an_emptied_file_changes_nothing_and_says_why(file: Path, text: str) -> None:
    live = LiveConfig(file)
    file.write_text(text)
    assert [scanner.ae_title for scanner in live().scanners] == ["A"]
    assert live.problem is not None
    assert "holds no settings" in live.problem


def test_a_file_that_is_being_written_is_not_taken_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveConfig(file)
    file.write_text("accept_unknown_scanners: true\n")  # a whole file as far as YAML can tell

    def meanwhile(_seconds: float) -> None:
        monkeypatch.setattr(live_config.time, "sleep", lambda _seconds: None)
        with file.open("a") as rest:
            rest.write("scanners: [{ae_title: B}]\n")

    monkeypatch.setattr(live_config.time, "sleep", meanwhile)
    assert not live().accept_unknown_scanners
    assert live().accept_unknown_scanners
    assert [scanner.ae_title for scanner in live().scanners] == ["B"]


def test_a_link_is_followed_to_where_it_leads_now(file: Path) -> None:
    link = file.parent / "link.yaml"
    link.symlink_to(file)
    live = LiveConfig(link)
    other = file.parent / "other.yaml"
    other.write_text("scanners: [{ae_title: B}]\n")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))  # same size, same time: another file
    beside = file.parent / "beside"
    beside.symlink_to(other)
    beside.replace(link)
    assert [scanner.ae_title for scanner in live().scanners] == ["B"]
