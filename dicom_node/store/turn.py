"""Whose turn it is to write our rows to SQLite: one lock among threads and processes, looked at every half millisecond.

SQLite lets a writer who finds it locked sleep longer each time, up to 100 ms, while others come and go: the one who
waits longest has the least chance. Here all look equally often, and writers can tell whether they are in each other's
way. It is manners, not safety: SQLite's own lock still holds, also for the engine, which takes no turns and sleeps.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_AGAIN_AFTER_S = 0.0005
_WAIT_AT_MOST_S = 5.0  # then it is left to SQLite: the holder hangs, and must not hold up more than SQLite's lock does


class Turn:
    """The turn to write to the databases of a folder. The kernel frees it the moment a process dies.

    :ivar is_in_demand: whether it was somebody else's when it was last asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.is_in_demand = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and hold it to the end of the block; without one where the folder cannot be opened."""
        # The folder is locked: it is there, whoever made it; and to close the database file would free SQLite's locks.
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # out of descriptors: what has a connection can be written all the same
            yield
            return
        try:
            self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        deadline = time.monotonic() + _WAIT_AT_MOST_S
        in_demand = False
        while not _is_ours(descriptor) and time.monotonic() < deadline:
            in_demand = True
            time.sleep(_LOOK_AGAIN_AFTER_S)
        self.is_in_demand = in_demand


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
