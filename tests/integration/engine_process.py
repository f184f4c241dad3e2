"""A worker process for the engine's tests: it notes every start and end of a job in a file, and may be killed."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from dicom_node.engine.executors import open_locks
from dicom_node.engine.worker import run_worker
from dicom_node.errors import NameTaken

database_url, folder, executor_id = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def note(line: str) -> None:
    with (folder / "notes").open("a", encoding="utf-8") as notes:
        notes.write(line + "\n")


def work(name: str, seconds: int) -> None:
    note(f"begin {name} {executor_id}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (folder / "hurry").exists():
        time.sleep(0.02)
    note(f"end {name} {executor_id}")


def fail(name: str) -> None:
    note(f"begin {name} {executor_id}")
    raise ValueError("on purpose")


def die(name: str) -> None:
    note(f"begin {name} {executor_id}")
    os.kill(os.getpid(), signal.SIGKILL)


def lose(name: str) -> None:
    """Let no write of this process succeed for a while, so that the engine cannot write how this job ended."""
    note(f"begin {name} {executor_id}")
    if len((folder / "notes").read_text(encoding="utf-8").splitlines()) == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        threading.Timer(3.0, resource.setrlimit, (resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)).start()


stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
try:
    run_worker(
        database_url,
        executor_id,
        open_locks(database_url, folder),
        queues={"io": 4},
        functions={"work": work, "fail": fail, "die": die, "lose": lose},
        stop=stop,
        reap_every_s=0.3,
        drain_s=20,
    )
except NameTaken as taken:
    sys.exit(str(taken))
note(f"stopped {executor_id}")
