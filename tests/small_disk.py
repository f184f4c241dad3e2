"""A file system of a few megabytes for a process under test, in a mount namespace of its own: no rights are needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from conftest import POSTGRESQL, free_port, wait_until
from sqlalchemy.orm import Session

from dicom_node.store.database import Database

KIB, MIB = 1024, 1024 * 1024


def on_a_small_disk(command: Sequence[str], folder: Path, size_mib: int) -> list[str]:
    """Give the command that runs another one with a file system of this size at ``folder``."""
    mount = f'mount -t tmpfs -o size={size_mib}m none "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(folder), *command]


@contextmanager
def postgresql_on_a_small_disk(folder: Path, size_mib: int) -> Iterator[tuple[str, SmallDisk]]:
    """Run PostgreSQL with all its files on a disk of its own; gives the URL of its empty database, and the disk."""
    port = free_port()
    data = folder / "data"
    create = f"'{POSTGRESQL}/initdb' -D '{data}' -U node -A trust --no-sync -E UTF8 --locale=C"
    serve = f"'{POSTGRESQL}/postgres' -D '{data}' -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    # Not as root, which the server refuses to be: a namespace within the namespace that may mount.
    as_nobody = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    command = on_a_small_disk([*as_nobody, "sh", "-c", f"{create} && exec {serve}"], folder, size_mib)
    with (
        (folder.parent / "postgresql.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        url = f"postgresql://node@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            assert server.poll() is None, Path(log.name).read_text(encoding="utf-8")
            try:
                psycopg.connect(url, connect_timeout=5).close()
            except psycopg.OperationalError:
                return False
            return True

        try:
            wait_until(answers, 60, "PostgreSQL")
            yield url.replace("://", "+psycopg://"), SmallDisk(server.pid, folder)
        finally:
            server.send_signal(signal.SIGQUIT)


@contextmanager
def database_of(folder: Path) -> Iterator[Session]:
    """Look at a copy of the embedded database: SQLite would follow ``/proc/N/root`` out of the namespace again."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("node.sqlite-wal", "node.sqlite"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy)
        database = Database(f"sqlite:///{copy}/node.sqlite")
        try:
            with database.read() as session:
                yield session
        finally:
            database.close()


class SmallDisk:
    """The disk of a process, as seen from outside: ``folder`` is its root."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.folder = Path(f"/proc/{pid}/root{folder}")
        self._filler = self.folder / "filler"

    def free(self) -> int:
        """Count the bytes that are free."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def fill(self, *, but: int = 0) -> None:
        """Leave only so many bytes free."""
        with self._filler.open("ab") as filler:
            while (surplus := self.free() - but) > 0:
                try:
                    filler.write(bytes(min(surplus, MIB)))
                    filler.flush()
                except OSError:  # somebody else took the last of it
                    break

    def clear(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)
