"""The sending half of a node in this process: real queue, worker, listener and database, answers given by hand."""

from __future__ import annotations

import dataclasses
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from conftest import free_port, wait_until
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from sqlalchemy import select

from dicom_node.audit.acts import Audit, this_process
from dicom_node.audit.message import Message
from dicom_node.config import Config
from dicom_node.dimse.listener import Listener
from dicom_node.domain.delivery import RetryPolicy
from dicom_node.domain.study import GenerationState
from dicom_node.engine.executors import open_locks
from dicom_node.engine.queue import JobQueue
from dicom_node.engine.worker import Periodic, run_worker
from dicom_node.pipeline import commitment, completion, delivery
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.reconciliation import reconcile
from dicom_node.pipeline.services import Patience, Services, utc_now
from dicom_node.store.database import Database
from dicom_node.store.result_files import write_result
from dicom_node.store.results import Answer, AnswerObject
from dicom_node.store.spool import Spool
from dicom_node.store.studies import list_studies
from dicom_node.store.tables import CommitmentRow, DeliveryRow, GenerationRow, StudyRow

SR = "1.2.840.10008.5.1.4.1.1.88.33"
SOON = RetryPolicy(base=timedelta(seconds=0.2), cap=timedelta(seconds=0.5), limit=3, jitter=0)
PATIENCE = Patience(delivery=SOON, analysis=SOON, commitment=SOON, commitment_answer=timedelta(seconds=60))


class SendingNode:
    """Runs while its ``with`` block does."""

    def __init__(self, folder: Path, url: str, destinations: list[dict[str, Any]], port: int | None = None) -> None:
        self.port = port or free_port()
        self.config = Config.model_validate(
            {
                "node": {"data_dir": folder},
                "dicom": {"port": self.port},
                "accept_unknown_scanners": True,
                "destinations": destinations,
            }
        )
        self.url, self.folder = url, folder
        self.database, self.queue = Database(url), JobQueue(url)
        self.database.upgrade()
        self.queue.migrate()
        self.locks = open_locks(url, folder)
        self.audited: list[Message] = []
        self.services = Services(
            database=self.database,
            enqueue=self.queue.enqueue,
            config=lambda: self.config,
            is_alive=self.locks.is_alive,
            live_keys=self.queue.live_keys,
            audit=Audit(this_process("DICOM_NODE", "io-0"), self.audited.append),
            patience=PATIENCE,
        )
        self._stop = threading.Event()
        self._working = threading.Event()

    def patience(self, **changes: Any) -> None:
        patience = dataclasses.replace(self.services.patience, **changes)
        self.services = dataclasses.replace(self.services, patience=patience)

    def __enter__(self) -> Self:
        intake = Intake(
            database=self.database,
            spool=Spool(self.folder, "receiver-0", min_free_bytes=lambda: 0),
            current_config=lambda: self.config,
            enqueue=self.queue.enqueue,
            receiver="receiver-0",
            now=utc_now,
            is_own_result=lambda _: False,
            on_commitment_report=lambda *report: commitment.on_report(self.services, *report) and None,
            audit=self.services.audit,
        )
        self._listener = Listener(lambda: self.config, intake.handlers())
        self._listener.start()
        self._worker = threading.Thread(target=self._work)
        self._worker.start()
        assert self._working.wait(30)  # a fault that a test makes now meets a node at work, not one that starts
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.join()
        self._listener.stop(5)
        self.queue.close()
        self.database.close()

    def _work(self) -> None:
        run_worker(
            self.url,
            "io-0",
            self.locks,
            queues={"io": 4},
            functions={
                "close_study": partial(completion.close_study, self.services),
                "deliver": partial(delivery.deliver, self.services),
                "request_commitment": partial(commitment.request, self.services),
                "check_commitment": partial(commitment.check, self.services),
                "answer_commitment": partial(commitment.answer_request, self.services),
            },
            stop=self._stop,
            periodic=[
                Periodic("reconciler", 0.5, lambda: reconcile(self.services)),
                Periodic("working", 0.05, self._working.set),
            ],
            polling_s=0.05,
            drain_s=5,
        )

    def answer(self, objects: int = 2) -> tuple[str, list[str]]:
        """Give an answer to a new study, as analysis does; gives the study's and the objects' UIDs."""
        study, now = str(generate_uid()), utc_now()
        with self.database.write() as session:
            session.add(StudyRow(study_instance_uid=study, scanner_ae_title="VOLUSON1", generation=1, created_at=now))
            session.flush()
            session.add(
                GenerationRow(
                    study_instance_uid=study,
                    number=1,
                    state=GenerationState.CLOSED,
                    opened_at=now,
                    last_received_at=now,
                )
            )
        made = []
        for part10, uid, series in (_object(study) for _ in range(objects)):
            file = write_result(self.folder, study, 1, part10)
            made.append(AnswerObject("findings_sr", SR, uid, series, file.path, file.sha256))
        answer = Answer(study, 1, 1, now, {}, [], made, self.config.destinations)
        assert delivery.store_answer(self.services, answer)
        return study, [item.sop_instance_uid for item in made]

    def study(self, uid: str) -> dict[str, Any]:
        with self.database.read() as session:
            return next(study for study in list_studies(session) if study["study_instance_uid"] == uid)

    def wait_for(self, uid: str, state: str, timeout_s: float = 20) -> dict[str, Any]:
        wait_until(lambda: self.study(uid)["state"] == state, timeout_s, f"{state} in {self.study(uid)}")
        return self.study(uid)

    def deliveries(self) -> list[DeliveryRow]:
        with self.database.read() as session:
            return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))

    def transactions(self) -> list[CommitmentRow]:
        with self.database.read() as session:
            return list(session.scalars(select(CommitmentRow).order_by(CommitmentRow.requested_at)))


def _object(study: str) -> tuple[bytes, str, str]:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SR
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality = "Test^Sending", "T1", "SR"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.SeriesNumber = ds.InstanceNumber = 1
    buffer = DicomBytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue(), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)
