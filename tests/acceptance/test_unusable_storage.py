"""A data folder or database that cannot be used is told in a sentence that names the setting, with exit code 3."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import free_port
from running import Node, cli

pytestmark = pytest.mark.slow

COMMANDS = {
    "study list": ("study", "list"),
    "db upgrade": ("db", "upgrade"),
    "serve": ("serve",),
    "serve --only receiver": ("serve", "--only", "receiver"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_server_that_is_away(tmp_path: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    node = Node(tmp_path, database_url=f"postgresql+psycopg://node:s3cret@127.0.0.1:{port}/node")
    outcome = cli(*command, "--config", node.config)
    assert outcome.returncode == 3
    assert f"database.url: postgresql+psycopg://node:***@127.0.0.1:{port}/node cannot be used" in outcome.stderr
    assert "see that the server runs" in outcome.stderr
    assert "s3cret" not in outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("command", [*COMMANDS.values(), ("serve", "--only", "web")], ids=" ".join)
def test_a_data_folder_below_a_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "file"
    file.touch()
    node = Node(tmp_path, sections={"node": {"data_dir": str(file / "var")}})
    outcome = cli(*command, "--config", node.config)
    assert outcome.returncode == 3
    assert f"node.data_dir: {file / 'var'} cannot be used: Not a directory; it must be a folder" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_database_file_that_is_none(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "node.sqlite").write_text("Dear colleague, " * 100)
    outcome = cli("study", "list", "--config", node.config)
    assert outcome.returncode == 3
    assert f"node.data_dir: {tmp_path / 'var'} cannot be used: file is not a database" in outcome.stderr
    assert "Traceback" not in outcome.stderr
