"""The durable queue on both databases: same-transaction enqueue, lanes, and every way for a worker to die."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import wait_until
from sqlalchemy import text
from sqlalchemy.orm import Session

from dicom_node.engine.executors import hold, open_locks
from dicom_node.engine.job import Job
from dicom_node.engine.queue import JobQueue
from dicom_node.errors import LockLost, NameTaken
from dicom_node.store.database import Database

PROCESS = Path(__file__).with_name("engine_process.py")


class Bench:
    """A database, its queue, and worker processes on it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.database, self.queue = Database(url), JobQueue(url)
        self.database.upgrade()
        self.queue.migrate()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, executor_id: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(PROCESS), self.url, str(self.folder), executor_id]
        self.processes.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        return self.processes[-1]

    def enqueue(self, *jobs: Job) -> None:
        with self.database.write() as session:
            for job in jobs:
                self.queue.enqueue(session, job)

    @property
    def notes(self) -> list[str]:
        file = self.folder / "notes"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def wait_for(self, *lines: str) -> None:
        wait_until(lambda: set(lines) <= set(self.notes), 40, f"{lines} in {self.notes}")

    def hurry(self) -> None:
        (self.folder / "hurry").touch()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.queue.close()
        self.database.close()


@pytest.fixture
def bench_of(tmp_path: Path) -> Iterator[Callable[[str], Bench]]:
    made: list[Bench] = []

    def make(url: str) -> Bench:
        made.append(Bench(url, tmp_path))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(bench_of: Callable[[str], Bench], database_url: str) -> Bench:
    return bench_of(database_url)


def work(key: str, seconds: int = 60, delay_s: float = 0, lane: str | None = None) -> Job:
    return Job("work", "io", key, (key, seconds), timedelta(seconds=delay_s), lane)


def test_a_job_is_committed_or_rolled_back_with_its_transaction(bench: Bench) -> None:
    bench.enqueue(work("kept:0"))
    with bench.database.engine.connect() as connection, Session(connection) as session:
        bench.queue.enqueue(session, work("undone:0"))
        session.rollback()
    assert bench.queue.live_keys() == {"kept:0"}


def test_a_key_is_used_once_for_ever(bench: Bench) -> None:
    bench.enqueue(work("once:0"))
    bench.enqueue(work("once:0"))
    assert bench.queue.live_keys("once") == {"once:0"}


def test_keys_are_listed_by_prefix_and_cancelled(bench: Bench) -> None:
    bench.enqueue(work("a:0"), work("a:1", delay_s=99), work("b:0"))
    assert bench.queue.live_keys("a:") == {"a:0", "a:1"}
    bench.queue.cancel("a:0")
    assert bench.queue.live_keys() == {"a:1", "b:0"}


def test_a_worker_killed_in_mid_job_runs_it_again_when_it_is_back(bench: Bench) -> None:
    worker = bench.start("io-0")
    bench.enqueue(work("long:0"))
    bench.wait_for("begin long:0 io-0")
    worker.kill()
    worker.wait()
    bench.hurry()
    bench.start("io-0")
    bench.wait_for("end long:0 io-0")
    assert bench.notes == ["begin long:0 io-0", "begin long:0 io-0", "end long:0 io-0"]
    wait_until(lambda: not bench.queue.live_keys())


def test_another_worker_takes_over_the_jobs_of_a_dead_one(bench: Bench) -> None:
    worker = bench.start("io-0")
    bench.enqueue(work("long:0"))
    bench.wait_for("begin long:0 io-0")
    bench.start("io-1")
    worker.kill()
    worker.wait()
    bench.hurry()
    bench.wait_for("end long:0 io-1")
    assert "end long:0 io-0" not in bench.notes


def test_a_living_worker_keeps_its_jobs(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    bench.enqueue(work("long:0", seconds=3))
    bench.wait_for("begin long:0 io-0")
    bench.start("io-1")  # its reaper goes round every 0.3 s
    bench.wait_for("end long:0 io-0")
    assert sum(line.startswith("begin") for line in bench.notes) == 1


def test_two_processes_with_one_name_do_not_run(bench: Bench) -> None:
    bench.start("io-0")
    bench.enqueue(work("long:0"))
    bench.wait_for("begin long:0 io-0")
    second = bench.start("io-0")
    _, words = second.communicate(timeout=30)
    assert second.returncode == 1
    assert b"another process named io-0 runs already" in words
    bench.hurry()
    bench.wait_for("end long:0 io-0")
    assert len(bench.notes) == 2


def test_a_term_signal_lets_running_jobs_end(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    worker = bench.start("io-0")
    bench.enqueue(work("short:0", seconds=2))
    bench.wait_for("begin short:0 io-0")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert bench.notes == ["begin short:0 io-0", "end short:0 io-0", "stopped io-0"]
    assert not bench.queue.live_keys()


def test_a_lane_does_not_block_another_and_is_one_at_a_time(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    bench.enqueue(*(work(f"dead:{n}", lane="dead-pacs") for n in range(8)), work("good:0", seconds=0, lane="good-pacs"))
    bench.wait_for("end good:0 io-0")
    time.sleep(0.6)  # three polls: a second one of the dead lane would have begun
    assert sum("begin dead" in line for line in bench.notes) == 1


def test_a_delayed_job_waits(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    begun = time.monotonic()
    bench.enqueue(work("later:0", seconds=0, delay_s=1.5))
    bench.wait_for("end later:0 io-0")
    assert time.monotonic() - begun >= 1.5


def test_a_job_that_fails_is_not_live_any_more(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    bench.enqueue(Job("fail", "io", "bad:0", ("bad:0",)))
    bench.wait_for("begin bad:0 io-0")
    wait_until(lambda: not bench.queue.live_keys())


@pytest.mark.slow
@pytest.mark.parametrize("lane", [None, "pacs"])
def test_a_job_whose_end_could_not_be_written_runs_again(
    bench_of: Callable[[str], Bench], sqlite_url: str, lane: str | None
) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    bench.enqueue(Job("lose", "io", "lost:0", ("lost:0",), lane=lane))
    wait_until(lambda: bench.notes == ["begin lost:0 io-0"] * 2, 40, "the second begin")
    bench.enqueue(work("next:0", 0, lane=lane))
    bench.wait_for("end next:0 io-0")  # its lane is free again
    wait_until(lambda: not bench.queue.live_keys(), 40, "the end")
    assert bench.processes[0].poll() is None


@pytest.mark.slow
def test_a_job_that_kills_its_process_is_given_up(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.enqueue(Job("die", "io", "poison:0", ("poison",)))
    for _ in range(6):
        worker = bench.start("io-0")
        wait_until(lambda worker=worker: worker.poll() is not None or not bench.queue.live_keys(), 30)
    assert worker.poll() is None
    assert bench.notes == ["begin poison io-0"] * 4


@pytest.mark.slow
def test_jobs_reaped_too_often_are_cancelled(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    """A reaped job loses the engine's own count of its tries, so the reaper counts too."""
    bench = bench_of(sqlite_url)
    bench.enqueue(work("long:0"))
    for executor in ("a", "b", "c", "d"):
        worker = bench.start(executor)
        bench.wait_for(f"begin long:0 {executor}")
        worker.kill()
        worker.wait()
        assert bench.queue.reap(executor) == 1
    assert not bench.queue.live_keys()


def test_finished_jobs_are_forgotten_and_live_ones_kept(bench_of: Callable[[str], Bench], sqlite_url: str) -> None:
    bench = bench_of(sqlite_url)
    bench.start("io-0")
    bench.enqueue(work("done:0", seconds=0), work("later:0", delay_s=3600), Job("fail", "io", "bad:0", ("bad:0",)))
    bench.wait_for("end done:0 io-0", "begin bad:0 io-0")
    wait_until(lambda: bench.queue.live_keys() == {"later:0"})
    assert bench.queue.forget_finished(timedelta(hours=1)) == 0
    assert bench.queue.forget_finished(timedelta(0)) == 2
    assert bench.queue.live_keys() == {"later:0"}


def test_a_worker_opens_no_network_socket_on_the_embedded_database(
    bench_of: Callable[[str], Bench], sqlite_url: str
) -> None:
    bench = bench_of(sqlite_url)
    worker = bench.start("io-0")
    bench.enqueue(work("done:0", seconds=0))
    bench.wait_for("end done:0 io-0")
    inodes = {
        link.readlink().name[8:-1]
        for link in Path(f"/proc/{worker.pid}/fd").iterdir()
        if str(link.readlink()).startswith("socket:")
    }
    network = [
        line.split()[9]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/{worker.pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    ]
    assert inodes.isdisjoint(network)


def test_a_lock_is_free_the_moment_its_holder_dies(bench: Bench) -> None:
    locks = open_locks(bench.url, bench.folder)
    assert not locks.is_alive("io-0")
    worker = bench.start("io-0")
    bench.enqueue(work("done:0", seconds=0))
    bench.wait_for("end done:0 io-0")
    assert locks.is_alive("io-0")
    with pytest.raises(NameTaken, match="io-0"), hold(locks, "io-0"):
        pass
    worker.kill()
    worker.wait()
    wait_until(lambda: not locks.is_alive("io-0"), 2)
    with hold(locks, "io-0") as held:
        held.check()
        assert locks.is_alive("io-0")


def test_a_lock_survives_the_loss_of_its_connection_unless_another_took_it(
    bench_of: Callable[[str], Bench], postgresql_url: str
) -> None:
    bench = bench_of(postgresql_url)
    locks = open_locks(bench.url, bench.folder)

    def cut_connections() -> None:
        with bench.database.engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
            )

    with hold(locks, "io-0") as held:
        cut_connections()
        held.check()
        assert locks.is_alive("io-0")
        cut_connections()
        with hold(locks, "io-0"), pytest.raises(LockLost, match="io-0"):
            held.check()


def test_a_probe_at_the_moment_of_the_loss_takes_nobodys_name(
    bench_of: Callable[[str], Bench], postgresql_url: str
) -> None:
    bench = bench_of(postgresql_url)
    locks = open_locks(bench.url, bench.folder)
    taken, gone = threading.Event(), threading.Event()

    def probe() -> None:
        with hold(locks, "io-0"):
            taken.set()
            gone.wait(0.5)

    with hold(locks, "io-0") as held:
        with bench.database.engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
            )
        prober = threading.Thread(target=probe)
        prober.start()
        assert taken.wait(5)
        held.check()  # waits for the probe to end
        assert locks.is_alive("io-0")
        gone.set()
        prober.join(5)
