"""A durable job as the rest of the node sees it: a value that says "look at this row"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work, enqueued in the transaction that makes it necessary.

    :ivar name: which registered function runs it.
    :ivar queue: ``io`` or ``analysis``: which workers take it.
    :ivar key: its identity for ever; it ends in an attempt number, because a key is never used twice.
    :ivar arguments: plain values; they name rows, they carry no data.
    :ivar delay: it becomes due so long after the commit.
    :ivar lane: jobs of one lane (a destination) never block those of another.
    """

    name: str
    queue: str
    key: str
    arguments: tuple[str | int, ...]
    delay: timedelta = timedelta(0)
    lane: str | None = None


Enqueue = Callable[[Session, Job], None]
