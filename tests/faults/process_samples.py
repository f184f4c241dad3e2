"""What the processes of a node hold, over time: resident memory and open file descriptors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 2.0
MEGABYTE = 1e6


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at: float
    role: str
    rss_mb: float
    descriptors: int


class Sampler(threading.Thread):
    """Looks at the processes of these roles until it is told to finish."""

    def __init__(self, processes: Callable[[], list[tuple[int, list[str]]]], roles: Collection[str]) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self._roles = roles
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            for pid, command in self._processes():
                if command[-1] in self._roles and (sample := look(pid, command[-1])):
                    self.samples.append(sample)

    def finish(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def look(pid: int, role: str) -> Sample | None:
    """Look at one process; None when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
        descriptors = len(list((folder / "fd").iterdir()))
    except OSError:
        return None
    return Sample(time.monotonic(), role, pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE, descriptors)
