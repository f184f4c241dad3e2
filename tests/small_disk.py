"""A file system of a few megabytes for a process under test, in a mount namespace of its own: no rights are needed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.orm import Session

from dicom_node.store.database import Database

KIB, MIB = 1024, 1024 * 1024


def on_a_small_disk(command: Sequence[str], folder: Path, size_mib: int) -> list[str]:
    """Give the command that runs another one with a file system of this size at ``folder``."""
    mount = f'mount -t tmpfs -o size={size_mib}m none "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(folder), *command]


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
