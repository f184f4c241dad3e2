"""Who lives: every process of the node holds an exclusive lock on its own name for as long as it runs.

The kernel (flock) or the server (advisory lock) frees it the moment the process dies, however it dies, so a free lock
is the proof that nobody with that name runs. Two processes with one name would run the same jobs at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from dicom_node.engine.queue import JobQueue
from dicom_node.errors import LockLost, NameTaken

PATIENCE_S = 2.0  # a probe or the reaper may hold a name for a moment


class Held:
    """A lock that this process holds."""

    def check(self) -> None:
        """Make sure that the lock is still ours, taking it again where the connection to the server was lost.

        :raises LockLost: when another process has it.
        """


class FileLocks:
    """Locks by flock on files in one folder: for processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def try_hold(self, name: str) -> Iterator[Held | None]:
        """Hold a name if it is free; None when it is not."""
        descriptor = os.open(self._folder / f"{quote(name, safe='')}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield Held()
        finally:
            os.close(descriptor)

    def is_alive(self, name: str) -> bool:
        """Tell whether a process with this name runs."""
        with self.try_hold(name) as held:
            return held is None


class _HeldOnServer(Held):
    def __init__(self, url: str, name: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._name = name
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        self._connection = self._engine.connect()
        # The server must notice soon when this machine vanishes, or the lock would outlive it for hours.
        for setting in ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3"):
            self._connection.execute(text(f"SET {setting}"))
        taken = self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(self._name)})
        return bool(taken)

    def check(self) -> None:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return
        except DBAPIError:
            self.release()
        deadline = time.monotonic() + PATIENCE_S
        while not self._taken_again():
            if time.monotonic() > deadline:
                raise LockLost(f"the lock on {self._name} was lost and another process has it")
            time.sleep(0.05)

    def _taken_again(self) -> bool:
        try:
            taken = self.acquire()
        except DBAPIError:
            taken = True  # the server is away, and nobody else can have the lock meanwhile; look again later
            self.release()
        if not taken:
            self.release()
        return taken

    def release(self) -> None:
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None


class ServerLocks:
    """Locks by session advisory locks of PostgreSQL: for processes of several machines."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    @contextmanager
    def try_hold(self, name: str) -> Iterator[Held | None]:
        """Hold a name if it is free; None when it is not."""
        held = _HeldOnServer(self._url, name)
        try:
            yield held if held.acquire() else None
        finally:
            held.release()

    def is_alive(self, name: str) -> bool:
        """Tell whether a process with this name runs."""
        with self.try_hold(name) as held:
            return held is None


Locks = FileLocks | ServerLocks


def open_locks(database_url: str, data_dir: Path) -> Locks:
    """Give the locks that fit the database: files beside an embedded one, else the server's own."""
    if make_url(database_url).get_backend_name() == "sqlite":
        return FileLocks(data_dir / "locks")
    return ServerLocks(database_url)


@contextmanager
def hold(locks: Locks, name: str) -> Iterator[Held]:
    """Hold a name for the length of the block.

    :raises NameTaken: when another process has it.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with locks.try_hold(name) as held:
            if held is not None:
                yield held
                return
        if time.monotonic() > deadline:
            raise NameTaken(f"another process named {name} runs already")
        time.sleep(0.05)


def reap_dead(queue: JobQueue, locks: Locks, own_name: str) -> int:
    """Give the jobs of dead executors to the living; says how many there were.

    The dead one's lock is held meanwhile: it proves the death, keeps a second reaper away, and makes a reborn process
    of that name wait until its old jobs are settled.
    """
    reaped = 0
    for executor_id in sorted(queue.running_executors() - {own_name}):
        with locks.try_hold(executor_id) as held:
            if held is not None:
                reaped += queue.reap(executor_id)
    return reaped


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"dicom-node {name}".encode()).digest()[:8], "big", signed=True)
