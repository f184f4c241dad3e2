"""The pipeline without engine and network: real database and rows, a clock that the test moves, jobs run by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

from dicom_node.audit.acts import Audit, this_process
from dicom_node.audit.message import Message
from dicom_node.config import Config
from dicom_node.domain.delivery import RetryPolicy
from dicom_node.domain.study import GenerationState
from dicom_node.engine.job import Job
from dicom_node.pipeline.delivery import store_answer
from dicom_node.pipeline.services import Patience, Services
from dicom_node.store.database import Database
from dicom_node.store.result_files import write_result
from dicom_node.store.results import Answer, AnswerObject, claim_analysis
from dicom_node.store.tables import AssociationRow, GenerationRow, InstanceRow, StudyRow

STUDY = "1.2.3"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PATIENCE = Patience(
    delivery=RetryPolicy(base=timedelta(seconds=30), limit=4, jitter=0),
    analysis=RetryPolicy(base=timedelta(seconds=30), limit=3, jitter=0),
    commitment=RetryPolicy(base=timedelta(seconds=60), limit=3, jitter=0),
    commitment_answer=timedelta(minutes=10),
    commitment_linger_s=0,
)


@dataclass
class Desk:
    """A queue in memory with the engine's rules: a key is used once for ever, and only a commit makes a job."""

    live: dict[str, tuple[Job, datetime]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def enqueue(self, session: Session, job: Job, due: datetime) -> None:
        def commit(_session: Session) -> None:
            if job.key not in self.used:
                self.used.add(job.key)
                self.live[job.key] = (job, due)

        event.listen(session, "after_commit", commit, once=True)


class World:
    """One node: ``services`` for the functions under test, ``run`` for its jobs."""

    def __init__(self, folder: Path, url: str | None = None, destinations: tuple[str, ...] = ("main-pacs",)) -> None:
        self.database = Database(url or f"sqlite:///{folder / 'node.sqlite'}")
        self.database.upgrade()
        self.desk = Desk()
        self.time = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
        self.living: set[str] = set()
        self.config = Config.model_validate(
            {
                "node": {"data_dir": folder},
                "scanners": [{"ae_title": "VOLUSON1", "quiet_seconds": 10, "cap_seconds": 900}],
                "destinations": [
                    {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": 11113} for name in destinations
                ],
            }
        )
        self.audited: list[Message] = []
        self.services = Services(
            database=self.database,
            enqueue=lambda session, job: self.desk.enqueue(session, job, self.time + job.delay),
            config=lambda: self.config,
            is_alive=lambda name: name in self.living,
            live_keys=lambda: frozenset(self.desk.live),
            audit=Audit(this_process("DICOM_NODE", "io-0"), self.audited.append),
            patience=PATIENCE,
            now=lambda: self.time,
        )

    @property
    def keys(self) -> list[str]:
        """The live jobs, in the order of their due times."""
        return sorted(self.desk.live, key=lambda key: self.desk.live[key][1])

    def due_in(self, key: str) -> timedelta:
        return self.desk.live[key][1] - self.time

    def later(self, **delta: float) -> None:
        self.time += timedelta(**delta)

    def run_due(self, steps: dict[str, Callable[..., None]]) -> list[str]:
        """Run every job that is due, also those that the first ones make; gives their keys in order."""
        ran = []
        while due := [key for key in self.keys if self.due_in(key) <= timedelta(0) and self.job(key).name in steps]:
            job = self.job(due[0])
            steps[job.name](self.services, *job.arguments)
            del self.desk.live[due[0]]
            ran.append(due[0])
        return ran

    def job(self, key: str) -> Job:
        return self.desk.live[key][0]

    # Rows that other parts of the node would have written

    def receive(self, instances: int = 1, study: str = STUDY, receiver: str = "receiver-0") -> int:
        """Open generation 1 of a study as intake does, its association still open; gives the association's id."""
        self.living.add(receiver)
        with self.database.write() as session:
            association = AssociationRow(
                receiver=receiver,
                calling_ae_title="VOLUSON1",
                called_ae_title="DICOM_NODE",
                host="127.0.0.1",
                outcome="open",
                started_at=self.time,
                contexts=[],
            )
            session.add_all(
                [
                    association,
                    StudyRow(study_instance_uid=study, scanner_ae_title="VOLUSON1", generation=1, created_at=self.time),
                ]
            )
            session.flush()
            session.add(
                GenerationRow(
                    study_instance_uid=study,
                    number=1,
                    state=GenerationState.RECEIVING,
                    opened_at=self.time,
                    last_received_at=self.time,
                )
            )
            session.flush()
            session.add_all(
                InstanceRow(
                    sop_instance_uid=f"{study}.{number}",
                    sop_class_uid=SR,
                    study_instance_uid=study,
                    generation=1,
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    sha256="0" * 64,
                    size_bytes=1,
                    path=f"instances/{study}.{number}.dcm",
                    state="stored",
                    association_id=association.id,
                    received_at=self.time,
                )
                for number in range(instances)
            )
            return association.id

    def release(self, association: int) -> None:
        with self.database.write() as session:
            session.get_one(AssociationRow, association).outcome = "released"

    def close(self, study: str = STUDY) -> None:
        """Close generation 1 of a study that was received."""
        with self.database.write() as session:
            row = session.get_one(GenerationRow, (study, 1))
            row.state, row.closed_at = GenerationState.CLOSED, self.time

    def answer(self, objects: int = 2, study: str = STUDY) -> Answer:
        """Make the answer that analysis would give to generation 1."""
        with self.database.read() as session:
            row = session.get_one(GenerationRow, (study, 1))
            claim = claim_analysis(session, study, 1, row.attempt)
        version = claim.version if claim else 1
        made = []
        for number in range(objects):
            uid = f"{study}.9.{version}.{number}"
            file = write_result(self.config.node.data_dir, study, version, f"object {uid}".encode())
            made.append(AnswerObject("findings_sr", SR, uid, f"{study}.9", file.path, file.sha256))
        return Answer(
            study, 1, version, self.time, {"planes": {"version": "1"}}, [{"name": "x"}], made, self.config.destinations
        )

    def deliverable(self, objects: int = 2) -> None:
        """Bring a study to where its deliveries are due."""
        self.release(self.receive())
        self.close()
        assert store_answer(self.services, self.answer(objects))

    def generation(self, study: str = STUDY, number: int = 1) -> GenerationRow:
        with self.database.read() as session:
            return session.get_one(GenerationRow, (study, number))
