"""Running jobs: one process, one executor name, some queues, and a few things done at intervals beside them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from dicom_node.engine.executors import Locks, hold, reap_dead
from dicom_node.engine.lost_jobs import LostJobs
from dicom_node.engine.queue import APPLICATION, VERSION, JobQueue, engine_queue
from dicom_node.errors import LockLost

logger = logging.getLogger(__name__)

MAX_RECOVERY_ATTEMPTS = 3  # a job that kills its process; the engine's own default is 100
FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Periodic:
    """Something that every worker does at an interval, in a thread of its own."""

    name: str
    every_s: float
    run: Callable[[], object]


def run_worker(
    database_url: str,
    executor_id: str,
    locks: Locks,
    *,
    queues: Mapping[str, int],
    functions: Mapping[str, Callable[..., None]],
    stop: threading.Event,
    periodic: Sequence[Periodic] = (),
    polling_s: float = 0.2,
    reap_every_s: float = 5.0,
    drain_s: int = 60,
) -> None:
    """Run the jobs of ``queues`` (name -> how many at once) until ``stop`` is set, then let running ones end.

    :param functions: job name -> function; it must be idempotent, since a job runs at least once.
    :raises NameTaken: when a process with this executor id runs already: it must not start.
    :raises LockLost: when the database gave our name to another process.
    """
    with hold(locks, executor_id) as held:
        queue = JobQueue(database_url)
        for name, concurrency in queues.items():
            queue.register(name, concurrency, polling_s)
        lost = LostJobs(queue, executor_id)
        _launch(database_url, executor_id, queues, functions, lost)
        logger.info("worker %s runs %s", executor_id, ", ".join(queues))
        rounds = (
            Periodic("reaper", reap_every_s, lambda: reap_dead(queue, locks, executor_id)),
            Periodic("lost jobs", reap_every_s, lost.give_back),
            Periodic("forget finished jobs", 3600.0, lambda: queue.forget_finished(FORGET_AFTER)),
            *periodic,
        )
        quit_rounds = threading.Event()
        threads = [threading.Thread(target=_go_round, args=(it, quit_rounds), name=it.name) for it in rounds]
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(1.0):
                held.check()
        except LockLost:
            drain_s = 0  # the other process runs our jobs by now
            raise
        finally:
            quit_rounds.set()
            DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=drain_s)
            for thread in threads:
                thread.join()
            queue.close()
            logger.info("worker %s stopped", executor_id)


def _launch(
    database_url: str,
    executor_id: str,
    queues: Mapping[str, int],
    functions: Mapping[str, Callable[..., None]],
    lost: LostJobs,
) -> None:
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": database_url,
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": DBOSPortableJSONSerializer(),
        "enable_otlp": False,
        "run_migrations": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    for name, function in functions.items():
        _register(name, function, lost)
    DBOS.listen_queues([engine_queue(name, lane) for name in queues for lane in (None, "any")])
    DBOS.launch()


def _register(name: str, function: Callable[..., None], lost: LostJobs) -> None:
    """Make a function known as a job: a workflow of one step, so that a replay can never disagree with it."""

    def step(*arguments: str | int) -> None:
        try:
            function(*arguments)
        except Exception:
            # The row stays as it is, and the reconciler gives it the next-numbered job.
            logger.exception("job %s%r failed", name, arguments)
            raise

    def job(*arguments: str | int) -> None:
        with lost.running(str(DBOS.workflow_id)):
            DBOS.run_step({"name": name}, step, *arguments)

    DBOS.workflow(name=name, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(job)


def _go_round(periodic: Periodic, stop: threading.Event) -> None:
    while not stop.wait(periodic.every_s):
        try:
            periodic.run()
        except Exception:
            logger.exception("%s failed; it is tried again in %s s", periodic.name, periodic.every_s)
