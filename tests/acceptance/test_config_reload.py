"""The configuration while the node runs: taken over at once, or refused whole; and at its start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_port, wait_until
from running import Node, cli, done, environment, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("reload") / "node") as node:
        yield node


def is_accepted(node: Node, calling: str) -> bool:
    """Ask with DCMTK's echoscu whether the node lets an AE title in."""
    command = ["/usr/bin/echoscu", "-aet", calling, "-aec", "DICOM_NODE", "127.0.0.1", str(node.port)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=20).returncode == 0


def test_a_new_scanner_is_accepted_without_a_restart(node: Node) -> None:
    assert not is_accepted(node, "NEWCOMER")
    receiver = node.pid_of("receiver-0")
    done("ae", "add", "NEWCOMER", "--config", node.config)
    wait_until(lambda: is_accepted(node, "NEWCOMER"), 3, "the acceptance of the new scanner")
    done("ae", "remove", "NEWCOMER", "--config", node.config)
    wait_until(lambda: not is_accepted(node, "NEWCOMER"), 3, "the refusal of the removed scanner")
    assert node.pid_of("receiver-0") == receiver


@pytest.mark.parametrize(
    ("bad", "line", "reason"),
    [
        ("scanners: [{ae_title: SCANNER1, quiet_second: 3}]\n", 1, "scanners[0].quiet_second: unknown key"),
        ("node: {ae_title: DICOM_NODE}\nscanners: [\n", 3, "not YAML"),
        ("scanners:\n  - ae_title: SCANNER1\n    quiet_seconds: -1\n", 3, "scanners[0].quiet_seconds"),
    ],
)
def test_a_bad_file_is_refused_whole_and_the_old_one_stays(node: Node, bad: str, line: int, reason: str) -> None:
    begun = len(node.log())
    good = node.config.read_text(encoding="utf-8")
    node.config.write_text(bad, encoding="utf-8")
    try:
        wait_until(lambda: is_accepted(node, "SCANNER1") and "refused" in node.log()[begun:], 5, "the refusal")
        said = node.log()[begun:]
        assert "the new configuration is refused, the old one stays in force" in said
        assert f"config.yaml:{line}: " in said
        assert reason in said
        assert is_accepted(node, "SCANNER1")
        check = cli("config", "check", "--config", node.config)
        assert check.returncode == 3
        assert f"config.yaml:{line}: " in check.stderr
    finally:
        node.config.write_text(good, encoding="utf-8")
    wait_until(lambda: is_accepted(node, "SCANNER1") and "taken over" in node.log()[begun:], 5, "the recovery")


def test_an_edit_that_would_break_the_file_is_not_written(node: Node) -> None:
    before = node.config.read_bytes()
    outcome = cli("ae", "add", "SCANNER1", "--config", node.config)
    assert outcome.returncode == 3
    assert "given twice" in outcome.stderr
    assert node.config.read_bytes() == before


def test_a_change_that_needs_a_restart_says_so(node: Node) -> None:
    begun = len(node.log())
    good = node.config.read_text(encoding="utf-8")
    node.config.write_text(good.replace(f"port: {node.port}", f"port: {free_port()}"), encoding="utf-8")
    wait_until(lambda: is_accepted(node, "SCANNER1") and "after a restart" in node.log()[begun:], 5, "the warning")
    node.config.write_text(good, encoding="utf-8")


@pytest.mark.parametrize("command", [["serve"], ["study", "list"], ["ae", "list"]])
def test_an_unknown_key_at_the_start_ends_with_3_and_names_the_line(tmp_path: Path, command: list[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("# the node\nnode:\n  ae_titel: DICOM_NODE\n", encoding="utf-8")
    outcome = cli(*command, "--config", config)
    assert outcome.returncode == 3
    assert f"{config}:3: node.ae_titel: unknown key" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert list(tmp_path.iterdir()) == [config], "nothing was started"


def test_a_role_of_a_bad_file_ends_with_3(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("dicom: {port: 99999}\n", encoding="utf-8")
    role = serve(config, tmp_path / "log", "--only", "receiver")
    assert role.wait(30) == 3
    assert f"{config}:1: dicom.port" in (tmp_path / "log").read_text(encoding="utf-8")
