"""Jobs that ended without a trace: the engine could not write how, and would call them running for ever.

So it is when the disk is full, which the engine, unlike a lock or a server that is away, does not wait for.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.engine.queue import JobQueue

logger = logging.getLogger(__name__)


class LostJobs:
    """The jobs that run in this process, and those that the engine only believes to run here."""

    def __init__(self, queue: JobQueue, executor_id: str) -> None:
        self._queue = queue
        self._executor_id = executor_id
        self._running: Counter[str] = Counter()  # a job that was given back too early runs twice
        self._suspects: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """Note a job as running until the block ends."""
        with self._lock:
            self._running[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= Counter([key])

    def give_back(self) -> None:
        """Give back to the queue what did not run this time and the last.

        Twice, because a job is the engine's a moment before and after it is ours. It is no failure of the job, however
        often it happens: a full disk is waited for.
        """
        believed = self._queue.running(self._executor_id)
        with self._lock:
            missing = believed.keys() - self._running.keys()
        lost = missing & self._suspects
        self._suspects = frozenset(missing - lost)
        for key in sorted(lost):
            logger.warning("job %s ended, and how could not be written: it runs again", key)
            self._queue.give_back(key, believed[key])
