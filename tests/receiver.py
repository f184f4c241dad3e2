"""A real receiver for tests: listener, intake, spool and database in this process, on loopback."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import synthetic
from conftest import free_port
from pynetdicom import AE
from pynetdicom.association import Association
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.audit.acts import Audit, this_process
from dicom_node.audit.message import Message
from dicom_node.config import Config
from dicom_node.dimse.connection import Timeouts
from dicom_node.dimse.listener import Listener
from dicom_node.engine.job import Job
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.services import utc_now
from dicom_node.results.loop_guard import is_own_result
from dicom_node.store.database import Database
from dicom_node.store.spool import Spool
from dicom_node.store.tables import AssociationRow, GenerationRow, InstanceRow

SETTINGS = {
    "node": {"ae_title": "NODE"},
    "scanners": [{"ae_title": "SCANNER", "quiet_seconds": 7}, {"ae_title": "ELSEWHERE", "host": "192.0.2.1"}],
    "destinations": [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
    "retention": {"min_free_gb": 0},
}


@dataclass
class Receiver:
    """A listening receiver. ``jobs`` are those whose transaction asked for them; ``reports`` came from destinations."""

    port: int
    database: Database
    data_dir: Path
    listener: Listener
    config: Config
    jobs: list[Job] = field(default_factory=list)
    reports: list[tuple[object, ...]] = field(default_factory=list)
    audited: list[Message] = field(default_factory=list)
    free_bytes: int | None = 10**12  #: what the spool takes to be free; None: what is

    def associations(self) -> list[AssociationRow]:
        """Give the association log, oldest first."""
        return self._all(AssociationRow, AssociationRow.id)

    def instances(self) -> list[InstanceRow]:
        """Give the instance rows, oldest first."""
        return self._all(InstanceRow, InstanceRow.id)

    def generations(self) -> list[GenerationRow]:
        """Give the generations in order."""
        return self._all(GenerationRow, GenerationRow.number)

    def files(self) -> set[str]:
        """Name every file that is kept or half-kept."""
        roots = (self.data_dir / "instances", self.data_dir / "spool")
        return {str(f.relative_to(self.data_dir)) for root in roots for f in root.rglob("*") if f.is_file()}

    def _all(self, table: type, order: object) -> list:
        with self.database.read() as session:
            return list(session.scalars(select(table).order_by(order)))


@contextmanager
def running_receiver(
    folder: Path, url: str, timeouts: Timeouts | None = None, change: Callable[[Config], Config] = lambda config: config
) -> Iterator[Receiver]:
    """Run a receiver until the block ends."""
    port = free_port()
    settings = {**SETTINGS, "dicom": {"port": port, "max_associations": 5}}
    settings["node"] = {"ae_title": "NODE", "data_dir": folder}
    config = change(Config.model_validate(settings))
    database = Database(url)
    database.upgrade()
    receiver = Receiver(port, database, folder, None, config)  # type: ignore[arg-type]

    def enqueue(_session: Session, job: Job) -> None:
        receiver.jobs.append(job)

    intake = Intake(
        database=database,
        spool=Spool(
            folder,
            "receiver-1",
            min_free_bytes=lambda: int(receiver.config.retention.min_free_gb * 1e9),
            free_bytes=lambda path: receiver.free_bytes or shutil.disk_usage(path).free,
        ),
        current_config=lambda: receiver.config,
        enqueue=enqueue,
        receiver="receiver-1",
        now=utc_now,
        is_own_result=is_own_result,
        on_commitment_report=lambda *report: receiver.reports.append(report),
        audit=Audit(this_process("NODE", "receiver-1"), receiver.audited.append),
    )
    receiver.listener = Listener(lambda: receiver.config, intake.handlers(), timeouts)
    receiver.listener.start()
    try:
        yield receiver
    finally:
        receiver.listener.stop(drain_s=0)
        database.close()


@contextmanager
def scanner(
    receiver: Receiver,
    *contexts: tuple[str, str] | tuple[str, list[str]],
    ae_title: str = "SCANNER",
    called: str = "NODE",
    **options: object,
) -> Iterator[Association]:
    """Associate with a receiver as pynetdicom does; the association may turn out rejected."""
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for abstract_syntax, transfer_syntaxes in contexts:
        entity.add_requested_context(abstract_syntax, transfer_syntaxes)
    association = entity.associate("127.0.0.1", receiver.port, ae_title=called, **options)  # type: ignore[arg-type]
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def with_changes(config: Config, section: str, **changes: object) -> Config:
    """Change some keys of one section."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


def association_request(*contexts: tuple[str, str], calling: str = "SCANNER", called: str = "NODE") -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 9.3.2) that proposes (abstract syntax, transfer syntax) pairs."""

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(value)) + value

    proposed = [
        item(0x20, bytes((number % 256, 0, 0, 0)) + item(0x30, abstract.encode()) + item(0x40, transfer.encode()))
        for number, (abstract, transfer) in zip(range(1, 2 * len(contexts), 2), contexts, strict=True)
    ]
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
    body = item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(proposed) + item(0x50, user)
    fixed = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    return struct.pack(">BBL", 1, 0, len(fixed) + len(body)) + fixed + body


def raw_store(association, data_set: bytes, uid: str = "1.2.3"):
    """Send a C-STORE with exactly these bytes, whatever they are; gives status and comment."""
    context = next(cx for cx in association.accepted_contexts if cx.abstract_syntax == synthetic.US_IMAGE)
    encoded = store_command(uid)
    for kind, body in ((3, encoded), (2, data_set)):
        association.dul.socket.socket.sendall(p_data(kind, body, context.context_id))
    association._reactor_checkpoint.clear()
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return response.Status, response.ErrorComment


def p_data(control: int, body: bytes, context_id: int = 1) -> bytes:
    """Wrap a command (control 3) or a data set (2) that is whole in one P-DATA-TF."""
    return struct.pack(">BBLLBB", 4, 0, len(body) + 6, len(body) + 2, context_id, control) + body


def store_command(uid: str) -> bytes:
    """Encode the command of a C-STORE request for a US Image."""
    elements = [
        (0x0002, synthetic.US_IMAGE.encode()),
        (0x0100, struct.pack("<H", 1)),
        (0x0110, struct.pack("<H", 5)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, uid.encode()),
    ]
    return b"".join(
        struct.pack("<HHL", 0, tag, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)
        for tag, value in elements
    )
