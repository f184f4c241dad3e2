"""The durable queue as the node sees it: enqueue in the caller's transaction, list, cancel, forget.

The engine's tables live in the same database as ours (on SQLite: in the same file), so a row and the job that looks at
it are committed together or not at all.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.orm import Session

# The engine prints on the console unless it finds a handler; its records belong in our log, and only the grave ones.
logging.getLogger("dbos").addHandler(logging.NullHandler())
logging.getLogger("dbos").setLevel(logging.WARNING)

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions  # noqa: E402

from dicom_node.engine.job import Job  # noqa: E402

APPLICATION = "dicom-node"
VERSION = "1"  # pinned: the engine would otherwise hash our code and leave the jobs of an older release alone
LIVE = ["ENQUEUED", "DELAYED", "PENDING"]
FINISHED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
REAPS = "reaps"
MAX_REAPS = 3


def engine_queue(queue: str, lane: str | None) -> str:
    """Name the engine's queue: jobs with a lane live in one that is partitioned by lane."""
    return f"{queue}-lanes" if lane is not None else queue


class JobQueue:
    """The jobs of the node. Connects at first use; any process may hold one, and it runs no job itself."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._client = DBOSClient(
            system_database_url=database_url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )

    def migrate(self) -> None:
        """Create the engine's tables or bring them up to date."""
        file = make_url(self._url).database
        if self._url.startswith("sqlite") and file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # it sticks to the file; the engine keeps what it finds
        DBOS.migrate(self._url)

    def enqueue(self, session: Session, job: Job) -> None:
        """Put a job in the transaction of ``session``; a key that was ever used does nothing."""
        options: EnqueueOptions = {
            "workflow_name": job.name,
            "queue_name": engine_queue(job.queue, job.lane),
            "workflow_id": job.key,
            "app_version": VERSION,
        }
        if job.delay > timedelta(0):
            options["delay_seconds"] = job.delay.total_seconds()
        if job.lane is not None:
            options["queue_partition_key"] = job.lane
        self._client.enqueue_in_transaction(session, options, *job.arguments)

    def live_keys(self, prefix: str = "") -> frozenset[str]:
        """List the jobs that wait, are delayed or run, by the beginning of their keys."""
        return frozenset(job.workflow_id for job in self._list(status=LIVE, workflow_id_prefix=prefix or None))

    def cancel(self, key: str) -> None:
        """Take a job back; one that runs already is not interrupted."""
        self._client.cancel_workflow(key)

    def register(self, queue: str, concurrency: int, polling_s: float) -> None:
        """Declare a queue and its lanes: one job at a time for each lane, whatever the other lanes do."""
        self._client.register_queue(queue, worker_concurrency=concurrency, polling_interval_sec=polling_s)
        self._client.register_queue(engine_queue(queue, "any"), partition_concurrency=1, polling_interval_sec=polling_s)

    def running(self, executor_id: str) -> dict[str, str]:
        """List the jobs that the engine believes an executor to be running, each with its queue in the engine."""
        return {job.workflow_id: job.queue_name for job in self._list(status="PENDING", executor_id=executor_id)}

    def give_back(self, key: str, engine_queue: str) -> None:
        """Have a job run again that does not run any more; of one that ended meanwhile nothing changes."""
        self._client.resume_workflow(key, queue_name=engine_queue)

    def running_executors(self) -> frozenset[str]:
        """List the executors that the engine believes to be running a job."""
        return frozenset(job.executor_id for job in self._list(status="PENDING") if job.executor_id)

    def reap(self, executor_id: str) -> int:
        """Give the jobs of a dead executor to the living; call this only while holding its lock.

        The engine forgets how often a resumed job was tried. So that a job that kills its process cannot do so for
        ever, it is resumed a few times, then cancelled: its row gets a next-numbered job, and counts that.
        """
        jobs = self._list(status="PENDING", executor_id=executor_id)
        for job in jobs:
            reaps = int((job.attributes or {}).get(REAPS, 0)) + 1
            if reaps > MAX_REAPS:
                self._client.cancel_workflow(job.workflow_id)
            else:
                self._client.update_workflow_attributes(job.workflow_id, {REAPS: reaps})
                self._client.resume_workflow(job.workflow_id, queue_name=job.queue_name)
        return len(jobs)

    def forget_finished(self, older_than: timedelta) -> int:
        """Delete the engine's rows of jobs that ended longer ago; the engine itself would keep them for ever."""
        before = (datetime.now(UTC) - older_than).isoformat()
        keys = [job.workflow_id for job in self._list(status=FINISHED, completed_before=before)]
        for start in range(0, len(keys), 500):
            self._client.delete_workflows(keys[start : start + 500])
        return len(keys)

    def close(self) -> None:
        """Give all connections back."""
        self._client.destroy()

    def _list(self, **filters: Any) -> list[Any]:
        jobs: list[Any] = self._client.list_workflows(
            load_input=False, load_output=False, application_name=APPLICATION, **filters
        )
        return jobs
