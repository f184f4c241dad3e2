"""Jobs that ended without a trace: the engine could not write how, and would call them running for ever.

So it is when the disk is full, which the engine, unlike a lock or a server that is away, does not wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.engine.queue import JobQueue


class LostJobs:
    """The jobs that run in this process, and those that the engine only believes to run here."""

    def __init__(self, queue: JobQueue, executor_id: str) -> None:
        self._queue = queue
        self._executor_id = executor_id
        self._running: set[str] = set()
        self._suspects: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """Note a job as running until the block ends."""
        with self._lock:
            self._running.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)

    def reap(self) -> int:
        """Give back to the queue what did not run this time and the last; says how many.

        Twice, because a job is the engine's a moment before and after it is ours. One that is given back too early runs
        twice, which every job may.
        """
        believed = self._queue.running_keys(self._executor_id)
        with self._lock:
            missing = believed - self._running
        lost = missing & self._suspects
        self._suspects = missing - lost
        return self._queue.reap(self._executor_id, lost) if lost else 0
