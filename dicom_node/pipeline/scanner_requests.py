"""What scanners say beside their images: that an examination is over (MPPS), and may they forget it (commitment).

Both tell that a study is complete. What the acts return is durable, as those of :mod:`dicom_node.pipeline.intake`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pydicom import Dataset
from sqlalchemy.orm import Session

from dicom_node.dimse.handlers import Caller, CommitmentReport
from dicom_node.dimse.status import NO_LONGER_UPDATED, SUCCESS, Answer, Status
from dicom_node.domain.identifiers import printable, uid_fault
from dicom_node.domain.result import SopReference
from dicom_node.engine.job import Enqueue
from dicom_node.pipeline import jobs
from dicom_node.store import commitment_requests, generations, procedure_steps
from dicom_node.store.database import Database

REPORT_ELSEWHERE_AFTER = timedelta(seconds=5)  # before that, the association that asked is tried


class ScannerRequests:
    """Procedure steps and storage commitment, with scanners asking."""

    def __init__(self, database: Database, data_dir: Path, enqueue: Enqueue, now: Callable[[], datetime]) -> None:
        self._database = database
        self._data_dir = data_dir
        self._enqueue = enqueue
        self._now = now

    # Procedure steps

    def procedure_step_created(self, caller: Caller, sop_instance_uid: str, step: Dataset) -> Answer:
        """Take an MPPS N-CREATE (PS3.4 F.7.2.1)."""
        status = str(step.get("PerformedProcedureStepStatus", ""))
        if status != procedure_steps.IN_PROGRESS:
            return Answer(Status.INVALID_ATTRIBUTE_VALUE, "a new procedure step must be IN PROGRESS")
        studies = _studies(step)
        with self._database.write() as session:
            if procedure_steps.find(session, sop_instance_uid) is not None:
                return Answer(Status.DUPLICATE_SOP_INSTANCE, "this procedure step is known already")
            procedure_steps.create(session, sop_instance_uid, caller.calling_ae_title, studies, self._now())
        return SUCCESS

    def procedure_step_set(self, _caller: Caller, sop_instance_uid: str, step: Dataset) -> Answer:
        """Take an MPPS N-SET; COMPLETED asks its studies to close (PS3.4 F.7.2.2).

        Scanners often send it while images still wait in their queue. The instances it lists say so: unless all are
        here, the quiet time decides as if nothing had been said. That is simpler than to let the last instance close
        the study, and costs a few seconds. Only the completing N-SET is asked, for it holds the final lists.
        """
        status = str(step.get("PerformedProcedureStepStatus", "") or procedure_steps.IN_PROGRESS)
        if status not in (procedure_steps.IN_PROGRESS, procedure_steps.COMPLETED, procedure_steps.DISCONTINUED):
            return Answer(Status.INVALID_ATTRIBUTE_VALUE, "no such procedure step status")
        with self._database.write() as session:
            known = procedure_steps.find(session, sop_instance_uid)
            if known is None:
                return Answer(Status.NO_SUCH_SOP_INSTANCE, "this procedure step was never created here")
            if known.status != procedure_steps.IN_PROGRESS:
                return NO_LONGER_UPDATED
            procedure_steps.set_status(session, sop_instance_uid, status, self._now())
            if status == procedure_steps.COMPLETED and generations.have_all_arrived(session, _performed(step)):
                self._ask_to_close(session, known.study_instance_uids, "mpps")
        return SUCCESS

    # Storage commitment

    def commitment_requested(self, caller: Caller, transaction_uid: str, references: Sequence[SopReference]) -> Answer:
        """Write a scanner's question down; who asks for commitment has finished sending, so its studies may close."""
        now = self._now()
        with self._database.write() as session:
            row = commitment_requests.ask(
                session,
                transaction_uid=transaction_uid,
                calling_ae_title=caller.calling_ae_title,
                host=caller.host,
                references=[(printable(r.sop_class_uid), printable(r.sop_instance_uid)) for r in references],
                next_attempt_at=now + REPORT_ELSEWHERE_AFTER,
                now=now,
            )
            studies = generations.studies_of(session, [printable(r.sop_instance_uid) for r in references])
            self._ask_to_close(session, studies, "commitment")
            job = jobs.answer_commitment(row.id, caller.calling_ae_title, row.attempts, delay=REPORT_ELSEWHERE_AFTER)
            self._enqueue(session, job)
        return SUCCESS

    def commitment_report(self, calling_ae_title: str, transaction_uid: str) -> CommitmentReport | None:
        """Look up what can be answered now; None when it was answered already, or is being answered elsewhere.

        The row is claimed first: to read a large study back takes longer than the job waits that reports elsewhere.
        """
        with self._database.write() as session:
            row = commitment_requests.find(session, calling_ae_title, transaction_uid)
            if row is None or row.state != commitment_requests.PENDING:
                return None
            row.attempts += 1
            row.next_attempt_at = self._now() + commitment_requests.LONGEST_ASSESSMENT
            job = jobs.answer_commitment(
                row.id, calling_ae_title, row.attempts, delay=commitment_requests.LONGEST_ASSESSMENT
            )
            self._enqueue(session, job)
            claimed, references = row.attempts, commitment_requests.references_of(row)
        with self._database.read() as session:
            assessment = commitment_requests.assess(session, self._data_dir, references)
        with self._database.read() as session:
            row = commitment_requests.find(session, calling_ae_title, transaction_uid)
            if row is None or row.state != commitment_requests.PENDING or row.attempts != claimed:
                return None
        return CommitmentReport(
            transaction_uid,
            tuple(SopReference(*reference) for reference in assessment.committed),
            tuple((SopReference(sop_class, uid), reason) for sop_class, uid, reason in assessment.failed),
        )

    def commitment_reported(self, calling_ae_title: str, transaction_uid: str) -> None:
        """Note that the scanner took the report."""
        with self._database.write() as session:
            row = commitment_requests.find(session, calling_ae_title, transaction_uid)
            if row is not None:
                commitment_requests.mark_answered(row, self._now())

    def _ask_to_close(self, session: Session, study_instance_uids: Sequence[str], why: str) -> None:
        for study_instance_uid in study_instance_uids:
            timer = generations.ask_to_close(session, study_instance_uid, why)
            if timer is not None:
                job = jobs.close_study(timer.study_instance_uid, timer.generation, timer.tick, delay=jobs.NOW)
                self._enqueue(session, job)


def _performed(step: Dataset) -> list[str]:
    """List the instances that a step says it made (PS3.4 Table F.7.2-1, Performed Series Sequence)."""
    return [
        printable(str(item.get("ReferencedSOPInstanceUID", "")))
        for series in step.get("PerformedSeriesSequence", None) or ()
        for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
        for item in series.get(keyword, None) or ()
    ]


def _studies(step: Dataset) -> list[str]:
    items = step.get("ScheduledStepAttributesSequence", None) or ()
    uids = [str(item.get("StudyInstanceUID", "")) for item in items]
    return [uid for uid in dict.fromkeys(uids) if uid_fault(uid) is None]
