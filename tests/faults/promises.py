"""What the node promises, counted after the deaths: nothing lost, nothing twice, nothing stuck."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from patient_archive import PatientArchive
from running import evidence_of, predecessors_of
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.domain.study import CommitmentState, DeliveryState, GenerationState
from dicom_node.engine.queue import JobQueue
from dicom_node.results import findings_sr
from dicom_node.store.database import Database
from dicom_node.store.instances import InstanceState
from dicom_node.store.result_files import fault
from dicom_node.store.results import READY, results_of
from dicom_node.store.spool import is_intact
from dicom_node.store.tables import (
    AnalysisRow,
    CommitmentRow,
    DeliveryRow,
    GenerationRow,
    InstanceRow,
    ResultRow,
    StudyRow,
)


@dataclass(frozen=True)
class Balance:
    """What came of everything that was acknowledged.

    :ivar broken: every broken promise in words; empty when all are kept.
    :ivar sent_again: objects that reached the PACS more than once, each time with the same bytes.
    :ivar strays: files of instances and results that no row speaks of: of processes that died; retention removes them.
    """

    acknowledged: int
    studies: int
    answers: int
    objects: int
    sent_again: int
    strays: int
    broken: tuple[str, ...]


class Books:
    """The rows, jobs and files of a node, looked at from outside."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self._database = Database(url)
        self._queue = JobQueue(url)
        self._data_dir = data_dir

    def close(self) -> None:
        """Give all connections back."""
        self._queue.close()
        self._database.close()

    def unfinished(self) -> int:
        """Count what the node has to do: generations to close or analyse, objects to send or to have committed."""
        generations = select(func.count()).where(
            GenerationRow.state.in_((GenerationState.RECEIVING, GenerationState.CLOSED))
        )
        deliveries = select(func.count()).where(DeliveryRow.state.in_((DeliveryState.PENDING, DeliveryState.SENT)))
        with self._database.read() as session:
            return (session.scalar(generations) or 0) + (session.scalar(deliveries) or 0)

    def stuck_jobs(self) -> list[str]:
        """List the jobs that are live though nothing is unfinished.

        Not the late look at a commitment that was asked for: it is due in half an hour and finds it answered.
        """
        answered = select(CommitmentRow.transaction_uid).where(CommitmentRow.state != CommitmentState.REQUESTED)
        with self._database.read() as session:
            late_looks = {f"check:{uid}" for uid in session.scalars(answered)}
        return sorted(self._queue.live_keys() - late_looks)

    def balance(self, acknowledged: Mapping[str, str], archive: PatientArchive) -> Balance:
        """Compare what scanners were told with the disk, the database and the PACS, when nothing is unfinished.

        :param acknowledged: SOP Instance UID -> Study Instance UID of every C-STORE that was answered with 0x0000.
        """
        studies = sorted(set(acknowledged.values()))
        with self._database.read() as session:
            broken = [
                *_instances(session, self._data_dir, acknowledged),
                *(it for study in studies for it in _answer(session, self._data_dir, study, acknowledged)),
                *(it for study in studies for it in _deliveries(session, study, archive)),
                *(f"{key} is stuck" for key in self.stuck_jobs()),
            ]
            return Balance(
                acknowledged=len(acknowledged),
                studies=len(studies),
                answers=session.scalar(select(func.count()).select_from(AnalysisRow)) or 0,
                objects=len(archive.digests),
                sent_again=sum(len(digests) > 1 for digests in archive.digests.values()),
                strays=_strays(session, self._data_dir),
                broken=tuple(broken),
            )


def _instances(session: Session, data_dir: Path, acknowledged: Mapping[str, str]) -> Iterator[str]:
    """Every acknowledged instance is one row, whose file holds the bytes that came and can be read."""
    rows: dict[str, list[InstanceRow]] = {}
    for row in session.scalars(select(InstanceRow)):
        rows.setdefault(row.sop_instance_uid, []).append(row)
    for uid, study in acknowledged.items():
        kept = rows.get(uid, [])
        if [(row.study_instance_uid, row.state) for row in kept] != [(study, InstanceState.STORED)]:
            yield f"instance {uid} is kept as {[row.state for row in kept]}"
        elif not is_intact(data_dir, kept[0].path, kept[0].sha256):
            yield f"the file of instance {uid} is not what was received"
        elif pydicom.dcmread(data_dir / kept[0].path).SOPInstanceUID != uid:
            yield f"the file of instance {uid} is another's"


def _answer(session: Session, data_dir: Path, study_uid: str, acknowledged: Mapping[str, str]) -> Iterator[str]:
    """The newest answer of a study is about all its instances, each once, and replaces the one before."""
    study = session.get(StudyRow, study_uid)
    if study is None:
        yield f"study {study_uid} is unknown"
        return
    states = {
        row.number: row.state for row in session.scalars(select(GenerationRow).filter_by(study_instance_uid=study_uid))
    }
    if set(states.values()) != {GenerationState.ANALYSED}:
        yield f"study {study_uid} has the generations {states}"
    answers = session.scalars(select(AnalysisRow).filter_by(study_instance_uid=study_uid).order_by(AnalysisRow.version))
    versions = [(row.version, row.generation) for row in answers]
    if [version for version, _ in versions] != list(range(1, study.version + 1)):
        yield f"study {study_uid} is at version {study.version} and has the answers {versions}"
    if len({generation for _, generation in versions}) < len(versions):
        yield f"study {study_uid} has two answers to one generation: {versions}"
    wanted = sorted(uid for uid, of in acknowledged.items() if of == study_uid)
    reports = [row for row in results_of(session, study_uid, study.version) if row.kind == findings_sr.KIND]
    if [row.state for row in reports] != [READY]:
        yield f"study {study_uid} has the current reports {[row.state for row in reports]}"
    for row in reports:
        if fault(data_dir, row.path, row.sha256):
            yield f"report {row.sop_instance_uid}: {fault(data_dir, row.path, row.sha256)}"
            continue
        report = pydicom.dcmread(data_dir / row.path)
        if sorted(evidence_of(report)) != wanted:
            yield f"the current report of study {study_uid} is about {evidence_of(report)}, not {wanted}"
        before = [
            row.sop_instance_uid
            for row in results_of(session, study_uid, study.version - 1)
            if row.kind == findings_sr.KIND
        ]
        if study.version > 1 and not set(before) <= set(predecessors_of(report)):
            yield f"the current report of study {study_uid} does not replace {before}"


def _deliveries(session: Session, study_uid: str, archive: PatientArchive) -> Iterator[str]:
    """What is committed is in the PACS under its UID, always with the same bytes, and nothing else is."""
    query = select(DeliveryRow, ResultRow).join(ResultRow, ResultRow.id == DeliveryRow.result_id)
    rows = session.execute(query.where(DeliveryRow.study_instance_uid == study_uid)).all()
    newest = max((row.version for row, _ in rows), default=0)
    for row, result in rows:
        uid = result.sop_instance_uid
        if row.version == newest and row.state != DeliveryState.COMMITTED:
            yield f"object {uid} of the current answer is {row.state}: {row.error}"
        if row.state == DeliveryState.COMMITTED and uid not in archive.digests:
            yield f"object {uid} is committed and not in the PACS"
        if len(set(archive.digests.get(uid, ()))) > 1:
            yield f"object {uid} reached the PACS with different bytes"
    made = {result.sop_instance_uid for _, result in rows}
    for uid, of in archive.study_of.items():
        if of == study_uid and uid not in made:
            yield f"object {uid} is in the PACS, and the node knows of no such"


def _strays(session: Session, data_dir: Path) -> int:
    known = {*session.scalars(select(InstanceRow.path)), *session.scalars(select(ResultRow.path))}
    files = (
        file
        for folder in ("instances", "results", "spool")
        for file in (data_dir / folder).rglob("*")
        if file.is_file()
    )
    return sum(file.relative_to(data_dir).as_posix() not in known for file in files)
