"""How a simulated data set is drawn: image by image, on several processors, with the rows of its tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2

from dicom_node.simulator.files import Row

Advance = Callable[[], None]  #: called after each image
Rows = Mapping[str, list[Row]]  #: what an image adds to each table, by the table's path

WORTH_A_POOL = 100  #: images; starting processes costs about as much time as drawing ten
CHUNK = 8
MOST_PROCESSES = 8


def one_by_one(count: int, seed: int) -> Iterable[int]:
    """Plan images that do not depend on one another: their numbers."""
    del seed
    return range(count)


@dataclass(frozen=True, slots=True)
class SimulatedSet:
    """Tables with their headers, and a function that draws one image into a folder and gives its rows.

    `plan` lists what to draw for (count, seed); what it lists first does not depend on the count.
    """

    tables: Mapping[str, tuple[str, ...]]
    draw: Callable[[Path, int, Any], Rows]
    plan: Callable[[int, int], Iterable[Any]] = one_by_one


def no_progress() -> None:
    """Tell nobody."""


def draw_set(
    simulated: SimulatedSet,
    out: Path,
    count: int,
    seed: int,
    *,
    advance: Advance = no_progress,
    processes: int | None = None,
) -> dict[str, list[Row]]:
    """Draw `count` images under `out` and give the rows of each table; the number of processes changes nothing."""
    if processes is None:
        processes = min(os.cpu_count() or 1, MOST_PROCESSES) if count >= WORTH_A_POOL else 1
    tables: dict[str, list[Row]] = {path: [] for path in simulated.tables}
    with _workers(processes) as each:
        for rows in each(partial(simulated.draw, out, seed), simulated.plan(count, seed)):
            for path, added in rows.items():
                tables[path].extend(added)
            advance()
    return tables


@contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterable[Rows]]]:
    if processes == 1:
        yield map
        return
    # Forking a process that has loaded torch or OpenCV's threads may hang: start afresh.
    with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield partial(pool.map, chunksize=CHUNK)
