"""kill -9 of the I/O worker while it sends, and while it waits for a commitment: the next one makes it good."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import wait_until
from fake_pacs import FakePacs
from sending_node import SendingNode

from dicom_node.pipeline import commitment


class IoWorker:
    """`dicom-node serve --only io`, in its own process."""

    def __init__(self, node: SendingNode, pacs: FakePacs) -> None:
        self._config = node.folder / "config.yaml"
        destinations: list[dict[str, Any]] = [
            {"name": "pacs-0", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
        ]
        self._config.write_text(
            yaml.safe_dump({"node": {"data_dir": str(node.folder)}, "destinations": destinations}), encoding="utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "dicom_node",
            "serve",
            "-c",
            str(self._config),
            "--only",
            "io",
            "--name",
            "io-0",
        ]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path: Path, sqlite_url: str, pacs: FakePacs) -> Iterator[SendingNode]:
    """Make a node of which nothing runs in this process."""
    wanted = {"name": "pacs-0", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    node = SendingNode(tmp_path, sqlite_url, [wanted])
    yield node
    node.queue.close()
    node.database.close()


@pytest.fixture
def worker(node: SendingNode, pacs: FakePacs) -> Iterator[IoWorker]:
    worker = IoWorker(node, pacs)
    yield worker
    worker.kill()


def test_killed_in_mid_object(node: SendingNode, worker: IoWorker, pacs: FakePacs) -> None:
    pacs.stall_s = 0.5
    study, uids = node.answer(3)
    worker.start()
    wait_until(lambda: len(pacs.received) == 2, 30)
    worker.kill()
    pacs.stall_s = 0
    worker.start()
    node.wait_for(study, "delivered", 30)
    assert sorted(pacs.held) == sorted(uids)


def test_killed_while_it_waits_for_a_commitment(node: SendingNode, worker: IoWorker, pacs: FakePacs) -> None:
    pacs.commits = "never"
    study, uids = node.answer(1)
    worker.start()
    wait_until(lambda: len(pacs.transactions) == 1, 30)
    worker.kill()
    commitment.on_report(node.services, str(pacs.transactions[0].TransactionUID), uids, [])  # a receiver takes it
    worker.start()
    wait_until(lambda: not node.queue.live_keys(), 30)
    assert node.study(study)["state"] == "committed"
    assert pacs.received == uids
    assert [row.state for row in node.transactions()] == ["confirmed"]
