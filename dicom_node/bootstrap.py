"""The one module that builds the parts and joins them: a process of each role, and the models."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from dicom_node import tls
from dicom_node.audit import acts as audit_acts
from dicom_node.audit import syslog
from dicom_node.audit.acts import Audit
from dicom_node.audit.message import Source
from dicom_node.audit.trail import Trail
from dicom_node.config import Config
from dicom_node.dimse.listener import Listener, is_served
from dicom_node.engine.executors import Locks, hold, open_locks
from dicom_node.engine.queue import JobQueue
from dicom_node.engine.worker import Periodic, run_worker
from dicom_node.errors import ConfigError
from dicom_node.live_config import LiveConfig
from dicom_node.pipeline import commitment, completion, delivery, reconciliation, retention
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.services import Services, utc_now
from dicom_node.store.database import Database, mask_password
from dicom_node.store.spool import Spool

logger = logging.getLogger(__name__)

#: Where the models lie: beside the package in a checkout, elsewhere when a deployment says so.
MODELS = Path(os.environ.get("DICOM_NODE_MODELS", Path(__file__).parents[1] / "models"))

GIGABYTE = 10**9
PRIVATE = 0o750  #: of a data folder that we make: what lies in it is nobody's else on this machine
RECONCILE_EVERY_S = 60.0
CLEAN_UP_EVERY_S = 3600.0
LOOK_AT_CERTIFICATES_EVERY_S = 86400.0
LOOK_AT_CONFIG_EVERY_S = 1.0
SEND_TRAIL_EVERY_S = 5.0
IO_JOBS_AT_ONCE = 4
RETENTION = "retention"  #: the lock of who removes files, and of who needs that none is removed
CPU_BATCH, GPU_BATCH = 4, 32

OWN_FOLDER = "it must be a folder in which the account that gives this command, the node's own, may write"
OWN_SERVER = "see that the server runs, and that its address, the database, the user and the password are right"


def prepare_database(config: Config) -> None:
    """Bring our tables and the engine's to the newest schema.

    :raises ConfigError: when the data folder or the database cannot be used.
    """
    _make_data_dir(config)
    with _naming_the_database(config):
        database = Database(config.database_url)
        database.upgrade()
        database.close()
        queue = JobQueue(config.database_url)
        queue.migrate()
        queue.close()


def _make_data_dir(config: Config) -> None:
    folder = config.node.data_dir
    with _naming(f"node.data_dir: {folder}", OWN_FOLDER):
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)


def open_database(config: Config) -> Database:
    """Connect once: a server that is away, or a file that is none, is told before anything begins."""
    with _naming_the_database(config):
        database = Database(config.database_url)
        database.engine.connect().close()
        return database


def open_node_locks(config: Config) -> Locks:
    """Open the locks by which the processes of a node know of each other.

    :raises ConfigError: where they lie cannot be used.
    """
    with _naming(f"node.data_dir: {config.node.data_dir}", OWN_FOLDER):
        return open_locks(config.database_url, config.node.data_dir)


def _naming_the_database(config: Config) -> AbstractContextManager[None]:
    url = config.database.url
    if url is None:
        return _naming(f"node.data_dir: {config.node.data_dir}", OWN_FOLDER)
    return _naming(f"database.url: {mask_password(url)}", OWN_FOLDER if url.startswith("sqlite") else OWN_SERVER)


@contextmanager
def _naming(setting: str, advice: str) -> Iterator[None]:
    """Name the setting that leads to what cannot be used.

    :raises ConfigError: with the reason and what to do.
    """
    try:
        yield
    except (OSError, DBAPIError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error.orig
        raise ConfigError(f"{setting} cannot be used: {' '.join(str(reason).split())}; {advice}") from error


def check_port(config: Config, receivers: Sequence[str]) -> None:
    """See that no other program listens on our port; our own receivers may, while they drain.

    :raises ConfigError: another does. It would get a share of our scanners' associations.
    """
    if not is_served(config.dicom):
        return
    locks = open_node_locks(config)
    if not any(locks.is_alive(name) for name in receivers):
        raise ConfigError(
            f"dicom.port: another program listens on {config.dicom.host}:{config.dicom.port} already; "
            f"stop it, or choose another port"
        )


def default_name(role: str) -> str:
    """Name a process that was started by hand: stable on this machine, and not another machine's."""
    return f"{socket.gethostname()}-{role}"


def open_audit(config: Config, process: str) -> Audit:
    """Open the audit trail for this process, by its name."""
    title = config.node.ae_title
    node = audit_acts.this_process(title, process)
    source = Source(f"{title}@{socket.gethostname()}", config.node.institution)
    return Audit(node, Trail(config.node.data_dir, source, node, utc_now).record)


def open_services(live: LiveConfig, process: str) -> Services:
    """Build what the steps of the walk are given.

    :param process: the name of this process in the audit trail.

    :raises ConfigError: when the data folder or the database cannot be used.
    """
    config = live()
    _make_data_dir(config)
    queue = JobQueue(config.database_url)
    return Services(
        database=open_database(config),
        enqueue=queue.enqueue,
        config=live,
        is_alive=open_node_locks(config).is_alive,
        live_keys=queue.live_keys,
        audit=open_audit(config, process),
    )


def run_role(role: str, name: str, live: LiveConfig, stop: threading.Event) -> None:
    """Run one role in this process until ``stop``."""
    roles: dict[str, Callable[[str, LiveConfig, threading.Event], None]] = {
        "receiver": run_receiver,
        "analysis": run_analysis,
        "io": run_io,
        "web": run_web,
    }
    config = live()
    _make_data_dir(config)
    audit = open_audit(config, name)
    audit.started()
    try:
        roles[role](name, live, stop)
    finally:
        audit.stopped()


def run_receiver(name: str, live: LiveConfig, stop: threading.Event) -> None:
    """Listen for associations. The lock on the name tells others that this receiver lives."""
    from dicom_node.results.loop_guard import is_own_result  # noqa: PLC0415 - it brings pydicom's tables

    config = live()
    services = open_services(live, name)
    with hold(open_node_locks(config), name) as held:
        # What a process of this name left open when it died is told as lost before new associations come: to others
        # the name is alive again.
        completion.bury(services, [name], services.now())
        spool = Spool(config.node.data_dir, name, min_free_bytes=lambda: int(live().retention.min_free_gb * GIGABYTE))

        def take_report(transaction_uid: str, committed: Sequence[str], failed: Sequence[tuple[str, int]]) -> None:
            commitment.on_report(services, transaction_uid, committed, failed)

        intake = Intake(
            database=services.database,
            spool=spool,
            current_config=live,
            enqueue=services.enqueue,
            receiver=name,
            now=utc_now,
            is_own_result=is_own_result,
            on_commitment_report=take_report,
            audit=services.audit,
        )
        listener = Listener(live, intake.handlers())
        listener.start()
        try:
            while not stop.wait(1.0):
                held.check()  # without its lock it would be taken for dead, and its open associations for lost
        finally:
            listener.stop()


def run_io(name: str, live: LiveConfig, stop: threading.Event) -> None:
    """Run timers, deliveries, commitments and retention; and keep the audit trail."""
    services = open_services(live, name)
    config = live()
    tls.warn_of_ends(config, utc_now())
    live.on_taken_over = lambda changed: services.audit.reconfigured(None, str(live.path), f"taken over: {changed}")
    run_worker(
        config.database_url,
        name,
        open_node_locks(config),
        queues={"io": IO_JOBS_AT_ONCE},
        functions={
            "close_study": partial(completion.close_study, services),
            "deliver": partial(delivery.deliver, services),
            "request_commitment": partial(commitment.request, services),
            "check_commitment": partial(commitment.check, services),
            "answer_commitment": partial(commitment.answer_request, services),
        },
        stop=stop,
        periodic=(
            Periodic("reconciler", RECONCILE_EVERY_S, partial(reconciliation.reconcile, services)),
            Periodic("retention", CLEAN_UP_EVERY_S, partial(_clean_up, services, open_node_locks(config))),
            Periodic("configuration", LOOK_AT_CONFIG_EVERY_S, live),
            Periodic("certificates", LOOK_AT_CERTIFICATES_EVERY_S, lambda: tls.warn_of_ends(live(), utc_now())),
            *_keepers_of_the_trail(config, services.audit),
        ),
    )


def _clean_up(services: Services, locks: Locks) -> None:
    """Let retention work, unless a backup is being made or another process is at it; the next time is soon."""
    with locks.try_hold(RETENTION) as held:
        if held is not None:
            retention.clean_up(services)


def _keepers_of_the_trail(config: Config, audit: Audit) -> Iterator[Periodic]:
    """Remove what is old of the audit trail, and send what is new to the syslog server, if there is one."""
    data_dir, settings = config.node.data_dir, config.audit

    def remove_old() -> None:
        before = (utc_now() - timedelta(days=settings.keep_days)).date()
        syslog.remove_old(data_dir, before, tell_lost=audit.lost if settings.syslog else None)

    yield Periodic("age of the audit trail", CLEAN_UP_EVERY_S, remove_old)
    if settings.syslog is not None:
        forwarder, locks = syslog.Forwarder(data_dir, settings.syslog), open_node_locks(config)

        def send() -> None:
            with locks.try_hold("audit-to-syslog") as held:  # another I/O worker may be at it
                if held is not None:
                    forwarder.send_waiting()

        yield Periodic("audit to syslog", SEND_TRAIL_EVERY_S, send)


def run_analysis(name: str, live: LiveConfig, stop: threading.Event) -> None:
    """Load the models, then run analyses one at a time."""
    from dicom_node.pipeline.analysis import analyse_study  # noqa: PLC0415 - codecs and highdicom, for this role only

    services = open_services(live, name)
    config = live()
    run_worker(
        config.database_url,
        name,
        open_node_locks(config),
        queues={"analysis": 1},
        functions={"analyse_study": partial(analyse_study, services, load_examiner(config))},
        stop=stop,
        periodic=(Periodic("reconciler", RECONCILE_EVERY_S, partial(reconciliation.reconcile, services)),),
    )


def run_web(name: str, live: LiveConfig, stop: threading.Event) -> None:
    """Serve the admin pages."""
    from dicom_node.web.app import make_app  # noqa: PLC0415
    from dicom_node.web.server import serve  # noqa: PLC0415

    config = live()
    _make_data_dir(config)
    with _naming_the_database(config):
        database = Database(config.database_url)  # not connected: the pages tell when the server is away
    app = make_app(database, live, lambda: live.problem, open_audit(config, name))
    serve(app, config.web.host, config.web.port, stop)


def installed_tasks() -> list[str]:
    """List the tasks that have a model here, the gate first."""
    names = sorted(folder.parent.name for folder in MODELS.glob("*/manifest.yaml"))
    return sorted(names, key=lambda name: name != "planes")


def load_examiner(config: Config, *, explain: bool = False) -> Any:
    """Load the configured tasks; one whose model is missing is reported in every answer instead.

    :param explain: whether the plane of each reported frame comes with a heat map too, as anomalies do always.
    :raises ModelError: when the gate is missing, or a model is there but cannot be used.
    """
    from dicom_node.inference.device import choose_device, share_out_threads  # noqa: PLC0415
    from dicom_node.inference.manifest import Manifest  # noqa: PLC0415
    from dicom_node.inference.registry import load_task  # noqa: PLC0415
    from dicom_node.pipeline.examination import Examiner  # noqa: PLC0415

    device = choose_device(config.analysis.device)
    tasks, algorithms, missing = {}, [], {}
    for name in config.analysis.tasks:
        if not (MODELS / name / "manifest.yaml").is_file():
            missing[name] = f"no model for the task {name} is installed"
            logger.warning(missing[name])
            continue
        options = config.analysis.options(name) | ({"explain": True} if explain and name == "planes" else {})
        tasks[name] = load_task(name, MODELS, device, **options)
        algorithms.append(Manifest.read(MODELS / name).algorithm())
    size = config.analysis.batch_size
    batch = size if size != "auto" else GPU_BATCH if device.startswith("cuda") else CPU_BATCH
    logger.info("%s loaded on %s", ", ".join(tasks), device)
    return Examiner(tasks, algorithms, missing, batch, share_out_threads(device))
