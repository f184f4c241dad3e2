"""Cutting a run of frames into batches that fit the memory, and looking at several batches at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Give the items in order, at most ``size`` (1 or more) at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def side_by_side(
    look: Callable[[Sequence[Item]], Answer], some: Iterable[Sequence[Item]], threads: int
) -> Iterator[tuple[Sequence[Item], Answer]]:
    """Look at batches in as many threads, and give each with its answer, in order.

    The next batch is only asked for when at most ``threads`` are waited for, so that no more lie in memory. What a look
    raises is raised here, in its turn.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="look")
    waiting: deque[tuple[Sequence[Item], Future[Answer]]] = deque()
    try:
        for batch in some:
            waiting.append((batch, pool.submit(look, batch)))
            if len(waiting) > threads:
                first, answer = waiting.popleft()
                yield first, answer.result()
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()
    finally:
        pool.shutdown(cancel_futures=True)
