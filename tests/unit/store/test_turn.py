import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_node.store import turn
from dicom_node.store.database import Database
from dicom_node.store.turn import Turn

HOLD = """
import sys
from pathlib import Path
from dicom_node.store.turn import Turn
with Turn(Path(sys.argv[1])).taken():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that has the turn for as long as its standard input is open."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_writes_at_a_time_and_knows_whether_it_waited(tmp_path: Path):
    first, second = Turn(tmp_path), Turn(tmp_path)
    events = []

    def write():
        with second.taken():
            events.append("second")

    with ThreadPoolExecutor(1) as threads:
        with first.taken():
            waiting = threads.submit(write)
            assert not waiting.done()
            with pytest.raises(TimeoutError):
                waiting.result(0.1)
            events.append("first")
        waiting.result(10)
    assert events == ["first", "second"]
    assert (first.is_in_demand, second.is_in_demand) == (False, True)
    write()
    assert not second.is_in_demand


def test_the_turn_of_a_process_that_dies_is_free(tmp_path: Path, holder: subprocess.Popen):
    ours = Turn(tmp_path)
    with ThreadPoolExecutor(1) as threads:

        def write():
            with ours.taken():
                return "written"

        waiting = threads.submit(write)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        holder.kill()
        assert waiting.result(10) == "written"


def test_a_holder_that_hangs_stops_nobody_for_ever(tmp_path: Path, holder: subprocess.Popen, monkeypatch):
    monkeypatch.setattr(turn, "_WAIT_AT_MOST_S", 0.2)
    with Turn(tmp_path).taken():
        assert holder.poll() is None


def test_without_a_free_descriptor_it_is_written_without_a_turn(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/node.sqlite")
    with database.write_rows():
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.open(tmp_path, os.O_RDONLY)
    os.close(next_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open(tmp_path, os.O_RDONLY)
        with database.write_rows() as connection:
            connection.exec_driver_sql("CREATE TABLE written (yes)")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    database.close()


def test_only_sqlite_takes_turns(tmp_path: Path, holder: subprocess.Popen):
    elsewhere = Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    assert not elsewhere.is_in_demand
    database = Database(f"sqlite:///{tmp_path}/node.sqlite")
    with ThreadPoolExecutor(1) as threads:

        def write():
            with database.write_rows():
                pass

        waiting = threads.submit(write)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        holder.kill()
        waiting.result(10)
    assert database.is_in_demand
    database.close()
