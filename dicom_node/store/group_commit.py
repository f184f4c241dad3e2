"""Several threads, one transaction: whoever comes while a commit runs waits and shares the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_AT_MOST = 64


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    results: list[Result] = field(default_factory=list)
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class GroupCommit(Generic[Item, Result]):
    """Calls ``commit`` with everything that waits, in order of arrival, never twice at once.

    There is no thread of its own: the first that comes commits for all, so a lone sender pays for no hand-over.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._waiting: list[_Waiting[Item, Result]] = []
        self._committing = False
        self._condition = threading.Condition()

    def submit(self, item: Item) -> Result:
        """Have an item committed; returns, or raises what its commit raised, when that is decided."""
        mine: _Waiting[Item, Result] = _Waiting(item)
        with self._condition:
            self._waiting.append(mine)
            while self._committing and not mine.is_done:
                self._condition.wait()
            if not mine.is_done:
                self._committing = True
                batch, self._waiting = self._waiting[:BATCH_AT_MOST], self._waiting[BATCH_AT_MOST:]
        while not mine.is_done:
            self._settle(batch)
            with self._condition:
                if mine.is_done:
                    self._committing = False
                else:
                    batch, self._waiting = self._waiting[:BATCH_AT_MOST], self._waiting[BATCH_AT_MOST:]
                self._condition.notify_all()
        if mine.error is not None:
            raise mine.error
        return mine.results[0]

    def _settle(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            results = self._commit([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread whose item it is
            if len(batch) == 1:
                batch[0].error = error
                return
            for waiting in batch:  # one bad item must not cost the others their commit
                self._settle([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.results.append(result)
