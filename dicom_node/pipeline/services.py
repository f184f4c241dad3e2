"""What the steps of the walk are given. ``bootstrap`` builds it once for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.audit.acts import Audit
from dicom_node.config import Config
from dicom_node.domain.delivery import RetryPolicy
from dicom_node.engine.job import Enqueue
from dicom_node.store.database import Database

DELIVERY = RetryPolicy()
ANALYSIS = RetryPolicy(cap=timedelta(minutes=30), limit=5)
COMMITMENT = RetryPolicy(base=timedelta(minutes=1), limit=10)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the node waits, and how often it tries, before it asks a person."""

    delivery: RetryPolicy = DELIVERY
    analysis: RetryPolicy = ANALYSIS
    commitment: RetryPolicy = COMMITMENT
    commitment_answer: timedelta = timedelta(minutes=30)  #: archives may commit only after their own slow storage
    commitment_linger_s: float = 2.0  #: how long the association stays open for a report on it


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the steps of the walk work with.

    :ivar config: gives the configuration in force now.
    :ivar is_alive: tells whether the process of that name runs (``engine.executors``).
    :ivar live_keys: lists the keys of all jobs that wait or run (``engine.queue``).
    :ivar audit: takes down who did what.
    """

    database: Database
    enqueue: Enqueue
    config: Callable[[], Config]
    is_alive: Callable[[str], bool]
    live_keys: Callable[[], frozenset[str]]
    audit: Audit
    patience: Patience = field(default_factory=Patience)
    now: Callable[[], datetime] = utc_now

    @property
    def data_dir(self) -> Path:
        """Where the node keeps its files."""
        return self.config().node.data_dir
