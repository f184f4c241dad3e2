"""The roles one by one: on their own, restarted by the supervisor, sharing a port, and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import run_orthanc, wait_until
from running import (
    FINDINGS_SR,
    Node,
    archived,
    cli,
    destination,
    done,
    new_study,
    phantom_studies,
    processes_below,
    push,
    serve,
    sop_uid_of,
    storescu,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    return phantom_studies(tmp_path_factory.mktemp("phantoms"))


@contextmanager
def roles(node: Node, *names: tuple[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run `serve --only ROLE --name NAME` for each; they must all drain with exit code 0."""
    started = {name: serve(node.config, node.folder / "log", "--only", role, "--name", name) for role, name in names}
    try:
        yield started
        for process in started.values():
            process.terminate()
        assert {name: process.wait(60) for name, process in started.items()} == dict.fromkeys(started, 0)
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def test_each_role_alone_does_its_part_and_the_rows_hold_the_rest(tmp_path: Path, phantoms: list[list[Path]]) -> None:
    with run_orthanc(tmp_path / "orthanc") as orthanc:
        node = Node(tmp_path / "node", [destination(orthanc)], port=orthanc.node_port)
        done("db", "upgrade", "--config", node.config)
        uid, files = new_study(phantoms[2], tmp_path / "study", "roles")
        # Nobody closes, analyses or sends: the study waits for those who do.
        with roles(node, ("receiver", "here-r")):
            node.wait_for_log("listening as")
            push(node.port, files)
            assert node.study(uid)["state"] == "receiving"
        with roles(node, ("io", "here-io")):
            node.wait_for(uid, "closed")
        with roles(node, ("analysis", "here-a")):
            node.wait_for(uid, "analysed")
        with roles(node, ("io", "here-io"), ("receiver", "here-r"), ("web", "here-w")):
            study = node.wait_for(uid)
            url = f"http://127.0.0.1:{node.web_port}/metrics"
            wait_until(lambda: "the pages are at" in node.log(), 30, "the start of the pages")
            with urllib.request.urlopen(url, timeout=10) as page:
                assert b"committed" in page.read()
        held = archived(orthanc, uid)
        assert {ds.SOPInstanceUID for ds in held} == {r["sop_instance_uid"] for r in study["results"]}


def test_two_processes_of_one_name_do_not_run_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    done("db", "upgrade", "--config", node.config)
    with roles(node, ("io", "twin")):
        node.wait_for_log("worker twin runs")
        second = cli("serve", "--config", node.config, "--only", "io", "--name", "twin")
        assert second.returncode == 1
        assert "another process named twin runs already" in second.stderr


def test_a_role_that_nobody_knows_is_wrong_usage(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    outcome = cli("serve", "--config", node.config, "--only", "gpu")
    assert outcome.returncode == 2
    assert "receiver, analysis, io, web" in outcome.stderr


def test_two_receivers_share_a_port_and_a_dead_one_is_replaced(tmp_path: Path, phantoms: list[list[Path]]) -> None:
    with Node(tmp_path / "node", receivers=2, quiet_seconds=4) as node:
        wait_until(lambda: node.log().count("listening as") == 2, 30, "both receivers")
        uid, files = new_study(phantoms[1][:3], tmp_path / "study", "shared port")

        def send_alone(number: int) -> None:
            storescu(node.port, [files[number % 3]])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send_alone, range(12)))
        served = dict(node.ask("SELECT receiver, count(*) FROM associations GROUP BY receiver"))
        assert set(served) == {"receiver-0", "receiver-1"}
        assert sum(served.values()) == 12
        assert node.study(uid)["instances"] == 3  # each was sent four times
        old = node.pid_of("receiver-1")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: node.log().count("listening as") == 3, 30, "the third receiver")
        assert node.pid_of("receiver-1") != old
        assert {command[-1] for _, command in processes_below(node.supervisor_pid)} == {
            "receiver-0",
            "receiver-1",
            "analysis-0",
            "io-0",
            "web-0",
        }
        assert node.wait_for(uid, "analysed")["generation"] == 1
        assert node.stop() == 0


def test_the_main_job_on_postgresql(tmp_path: Path, phantoms: list[list[Path]], postgresql_url: str) -> None:
    with (
        run_orthanc(tmp_path / "orthanc") as orthanc,
        Node(tmp_path / "node", [destination(orthanc)], port=orthanc.node_port, database_url=postgresql_url) as node,
    ):
        uid, files = new_study(phantoms[2], tmp_path / "study", "postgresql")
        push(node.port, files)
        study = node.wait_for(uid)
        assert study["instances"] == len(files)
        assert archived(orthanc, uid, FINDINGS_SR)
        assert not list((tmp_path / "node" / "var").glob("*.sqlite*"))
        # kill -9 on this database too: the advisory lock of the dead is free, and its job is done by the next.
        uid, files = new_study(phantoms[0], tmp_path / "second", "postgresql, killed")
        push(node.port, files)
        node.kill("io-0")
        node.kill("receiver-0")
        study = node.wait_for(uid)
        assert study["instances"] == len({sop_uid_of(file) for file in files})
        assert node.stop() == 0
