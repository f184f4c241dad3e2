"""How much slower a node is that has 100,000 studies on record than one that has a page of them.

    python benchmarks/many_studies.py                       # SQLite
    python benchmarks/many_studies.py --studies 20000
    python benchmarks/many_studies.py --few URL --many URL      # two empty databases of a PostgreSQL server

Both nodes do the same in turn, so that whatever else the machine does weighs on both alike: receive images, read what
their pages show, look for jobs that are missing, put a job in the queue and claim it, start. Each study on record has
four instances, an answer of three objects that a PACS has committed, and the engine's rows of its finished jobs.
"""

from __future__ import annotations

import argparse
import logging
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pynetdicom import AE
from reception import AE_TITLE, LOADS, _free_port, write_load
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import Engine, MetaData, insert, make_url, select, text

from dicom_node.bootstrap import open_services, prepare_database
from dicom_node.dimse.listener import Listener
from dicom_node.engine.executors import open_locks
from dicom_node.engine.job import Job
from dicom_node.engine.queue import JobQueue
from dicom_node.engine.worker import run_worker
from dicom_node.live_config import LiveConfig
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.reconciliation import reconcile
from dicom_node.pipeline.services import Services, utc_now
from dicom_node.results.loop_guard import is_own_result
from dicom_node.store import overview, studies, tables
from dicom_node.store.spool import Spool

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
INSTANCES, RESULTS = 4, 3
BATCH = 2000
CLAIMED = "claimed"  #: the queue of the jobs that are claimed
PAGE = 50  #: studies of a page
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)

console = Console()


@dataclass(frozen=True)
class Node:
    """A node with its receiver at work."""

    name: str
    config: Path
    services: Services
    queue: JobQueue
    port: int
    worker: subprocess.Popen[str]  #: says each job that it runs


def uid(*numbers: int) -> str:
    """Make a UID that no other row has."""
    return ".".join(map(str, (1, 2, 3, *numbers)))


def fill(node: Node, count: int) -> None:
    """Put finished studies on record, and the engine's rows of the jobs that finished them."""
    with node.services.database.write() as session:
        node.queue.enqueue(session, Job("close_study", "io", "template", ("1.2", 1, 0), delay=timedelta(days=3650)))
    engine = node.services.database.engine
    jobs = MetaData()
    jobs.reflect(engine, schema=None if engine.dialect.name == "sqlite" else "dbos", only=["workflow_status"])
    (workflows,) = jobs.tables.values()
    with engine.begin() as connection:
        template = dict(connection.execute(select(workflows).filter_by(workflow_uuid="template")).mappings().one())
        connection.execute(workflows.delete())
    for start in track(range(0, count, BATCH), f"{count} studies", console=console):
        rows = _rows(range(start, min(start + BATCH, count)))
        with engine.begin() as connection:
            for row_class, values in rows.items():
                connection.execute(insert(row_class), values)
            done = {**template, "status": "SUCCESS", "delay_until_epoch_ms": None}
            connection.execute(
                insert(workflows),
                [
                    {**done, "workflow_uuid": f"close-{number}-{job}"}
                    for number in range(start, min(start + BATCH, count))
                    for job in range(3)
                ],
            )
    _count_on(engine)


def _count_on(engine: Engine) -> None:
    """Let PostgreSQL number its next rows after those that came with a number, and know how many there are."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for row_class in (tables.AssociationRow, tables.InstanceRow, tables.ResultRow, tables.DeliveryRow):
            name = row_class.__tablename__
            last = f"(SELECT max(id) FROM {name})"
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {last})"))
        connection.execute(text("VACUUM ANALYZE"))


def _rows(numbers: range) -> Mapping[type[tables.Base], list[dict[str, Any]]]:
    rows: dict[type[tables.Base], list[dict[str, Any]]] = {}

    def add(row_class: type[tables.Base], **values: Any) -> None:
        rows.setdefault(row_class, []).append(values)

    for n in numbers:
        at, study = FIRST_DAY + timedelta(minutes=5 * n), uid(n)
        add(
            tables.AssociationRow, id=n + 1, receiver="receiver-0", calling_ae_title="SCANNER", called_ae_title="NODE",
            host="10.0.0.1", started_at=at, ended_at=at, outcome="released", contexts=[], instances_accepted=INSTANCES,
        )  # fmt: skip
        add(
            tables.StudyRow, study_instance_uid=study, scanner_ae_title="SCANNER", generation=1, version=1,
            created_at=at,
        )  # fmt: skip
        add(
            tables.GenerationRow, study_instance_uid=study, number=1, state="analysed", opened_at=at,
            last_received_at=at, closed_at=at, close_reason="quiet",
        )  # fmt: skip
        add(
            tables.AnalysisRow, study_instance_uid=study, version=1, generation=1, started_at=at, finished_at=at,
            models={}, summary=[{"name": "HC", "value": "180", "unit": "mm", "note": ""}] * 6,
        )  # fmt: skip
        for i in range(INSTANCES):
            add(
                tables.InstanceRow, id=n * INSTANCES + i + 1, sop_instance_uid=uid(n, 1, i), sop_class_uid=US_IMAGE,
                study_instance_uid=study, series_instance_uid=uid(n, 2), generation=1,
                transfer_syntax_uid="1.2.840.10008.1.2.1", sha256=f"{n * INSTANCES + i:064x}", size_bytes=480000,
                path=f"instances/{n}-{i}.dcm", state="stored", association_id=n + 1, received_at=at,
            )  # fmt: skip
        for i in range(RESULTS):
            number = n * RESULTS + i + 1
            add(
                tables.ResultRow, id=number, study_instance_uid=study, version=1, kind="secondary_capture",
                sop_class_uid=US_IMAGE, sop_instance_uid=uid(n, 3, i), series_instance_uid=uid(n, 4),
                sha256=f"{number:064x}", path=f"results/{number}.dcm", state="ready", created_at=at,
            )  # fmt: skip
            add(
                tables.DeliveryRow, id=number, result_id=number, study_instance_uid=study, version=1,
                destination="pacs", commitment=True, state="committed", attempts=1, next_attempt_at=at, sent_at=at,
                committed_at=at,
            )  # fmt: skip
        add(
            tables.CommitmentRow, transaction_uid=uid(n, 5), study_instance_uid=study, version=1, destination="pacs",
            attempt=0, state="confirmed", requested_at=at, due_at=at, answered_at=at,
        )  # fmt: skip
    return rows


@contextmanager
def running(name: str, folder: Path, url: str | None) -> Iterator[Node]:
    """Start a node's receiver in this process."""
    folder.mkdir()
    port, path = _free_port(), folder / "config.yaml"
    database = f"database: {{url: '{url}'}}\n" if url else ""
    path.write_text(
        f"node: {{ae_title: {AE_TITLE}, data_dir: ./var}}\ndicom: {{port: {port}}}\n"
        f"{database}accept_unknown_scanners: true\n",
        encoding="utf-8",
    )
    live = LiveConfig(path)
    config = live()
    prepare_database(config)
    services, queue = open_services(live, "receiver-0"), JobQueue(config.database_url)
    intake = Intake(
        database=services.database,
        spool=Spool(config.node.data_dir, "receiver-0", min_free_bytes=lambda: 10**8),
        current_config=live,
        enqueue=queue.enqueue,
        receiver="receiver-0",
        now=utc_now,
        is_own_result=is_own_result,
        on_commitment_report=lambda *_: None,
        audit=services.audit,
    )
    listener = Listener(live, intake.handlers())
    listener.start()
    worker = subprocess.Popen([sys.executable, __file__, "--work", str(path)], stdout=subprocess.PIPE, text=True)
    yield Node(name, path, services, queue, port, worker)
    worker.terminate()
    worker.wait(60)
    listener.stop()
    queue.close()
    services.database.close()


def work_for_ever(config_file: Path) -> None:
    """Be a worker that claims jobs which do nothing, and says so; until SIGTERM."""
    config = LiveConfig(config_file)()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_worker(
        config.database_url,
        "benchmark",
        open_locks(config.database_url, config.node.data_dir),
        queues={CLAIMED: 1},
        functions={"say": lambda key: print(key, flush=True)},
        stop=stop,
        polling_s=0.01,
    )


def page(node: Node, **which: Any) -> object:
    """Read a page of studies: the newest, the oldest, or the one after a study."""
    with node.services.database.read() as session:
        return overview.page_of_studies(session, PAGE, **which)


def work(images: Path) -> Mapping[str, tuple[Callable[[Node], object], int]]:
    """Name what a node does, and how often it is measured."""
    files = sorted(images.rglob("*.dcm"))
    turns: dict[str, int] = {}

    def receive(node: Node) -> None:
        import pydicom  # noqa: PLC0415

        turn = turns[node.name] = turns.get(node.name, 0) + 1
        entity = AE("SCANNER")
        entity.add_requested_context(US_IMAGE, "1.2.840.10008.1.2.1")
        association = entity.associate("127.0.0.1", node.port, ae_title=AE_TITLE)
        for number, file in enumerate(files):
            ds = pydicom.dcmread(file)
            ds.StudyInstanceUID, ds.SOPInstanceUID = uid(0, 9, turn), uid(0, 9, turn, number)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            assert association.send_c_store(ds).Status == 0
        association.release()

    def one_study(node: Node) -> object:
        with node.services.database.read() as session:
            newest = overview.list_studies(session, 1)[0]
            return overview.show_study(session, newest.study_instance_uid)

    def listing(node: Node) -> object:
        with node.services.database.read() as session:
            return studies.list_studies(session, PAGE), overview.list_associations(session, PAGE)

    def metrics(node: Node) -> object:
        with node.services.database.read() as session:
            return overview.gauges(session)

    def enqueue(node: Node) -> None:
        turn = turns["job"] = turns.get("job", 0) + 1
        with node.services.database.write() as session:
            node.queue.enqueue(session, Job("close_study", "io", f"job-{turn}", ("1.2", 1, 0), timedelta(days=1)))

    def claim(node: Node) -> None:
        key = f"claim-{turns.setdefault('claim', 0)}-{node.name}"
        turns["claim"] += 1
        with node.services.database.write() as session:
            node.queue.enqueue(session, Job("say", CLAIMED, key, (key,)))
        assert node.worker.stdout is not None
        assert node.worker.stdout.readline().strip() == key

    def start(node: Node) -> None:
        command = [sys.executable, "-m", "dicom_node", "study", "list", "--limit", "20", "--config", str(node.config)]
        subprocess.run(command, check=True, capture_output=True)

    return {
        f"{len(files)} images are received": (receive, 5),
        "first page of studies": (page, 20),
        "last page of studies": (lambda node: page(node, oldest=True), 20),
        "a page of studies after another": (lambda node: page(node, older_than=uid(PAGE // 2)), 20),
        "page of one study": (one_study, 20),
        "listings of studies and associations": (listing, 20),
        "figures for Prometheus": (metrics, 10),
        "a job is put in the queue": (enqueue, 20),
        "a job is put in the queue, claimed and begun": (claim, 20),
        "the reconciler looks for missing jobs": (lambda node: reconcile(node.services), 10),
        "a command starts and lists studies": (start, 3),
    }


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--few", help="URL of a database")
    parser.add_argument("--many", help="URL of another")
    parser.add_argument("--work", type=Path, metavar="CONFIG", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work_for_ever(arguments.work)
        return
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        load = LOADS["stills"]
        (images,) = write_load(type(load)("stills", 40, 1, 600, 800, 1), folder, 1)
        few = stack.enter_context(running("few", folder / "few", arguments.few))
        many = stack.enter_context(running("many", folder / "many", arguments.many))
        fill(few, PAGE)
        fill(many, arguments.studies)
        backend = make_url(many.services.config().database_url).get_backend_name()
        title = f"{arguments.studies} studies on record, {backend}"
        table = Table("what", f"{PAGE} studies, ms", "many, ms", "ratio", title=title)
        for what, (do, times) in work(images).items():
            took: dict[str, list[float]] = {"few": [], "many": []}
            for turn in range(times + 1):
                for node in (few, many):
                    begun = time.perf_counter()
                    do(node)
                    if turn:  # the first go warms both up
                        took[node.name].append(1000 * (time.perf_counter() - begun))
            before, now = statistics.median(took["few"]), statistics.median(took["many"])
            table.add_row(what, f"{before:.1f}", f"{now:.1f}", f"{now / before:.2f}x")
        console.print(table)


if __name__ == "__main__":
    main()
