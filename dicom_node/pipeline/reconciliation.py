"""Rows are the truth and jobs only look at them: every row that is due must have a live job, or it gets the next one.

Nothing here is needed while all goes well. It makes good what the engine cannot: a job that failed on an error nobody
foresaw, one that was given up because it killed its process, or an engine table that was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.domain.study import CommitmentState, GenerationState
from dicom_node.engine.job import Job
from dicom_node.pipeline import commitment, completion, delivery, jobs
from dicom_node.pipeline.services import Services
from dicom_node.store import commitment_requests
from dicom_node.store.commitments import open_transactions
from dicom_node.store.deliveries import pending_shipments
from dicom_node.store.tables import CommitmentRequestRow, CommitmentRow, GenerationRow

logger = logging.getLogger(__name__)

RENEWALS: dict[str, Callable[..., None]] = {
    "close_study": completion.renew_timer,
    "analyse_study": completion.renew_analysis,
    "deliver": delivery.renew,
    "check_commitment": commitment.check,
    "answer_commitment": commitment.renew_answer,
}


def due_jobs(session: Session) -> list[Job]:
    """List the jobs that must stand for the rows as they are, each under its present number."""
    return [
        *_timers(session),
        *_analyses(session),
        *(jobs.deliver(k.study_instance_uid, k.version, k.destination, n) for k, n in pending_shipments(session)),
        *_answers(session),
    ]


def reconcile(services: Services) -> list[Job]:
    """Give every due row without a live job its next-numbered job; says which jobs were missing.

    The rows are read before the jobs: a job that ends in between has changed its row by then, and the renewal, which
    looks at the row again, does nothing.
    """
    completion.bury_lost_associations(services)
    with services.database.read() as session:
        due = due_jobs(session)
        requested = open_transactions(session)
    live = services.live_keys()
    missing = [job for job in due if job.key not in live]
    missing += [
        jobs.check_commitment(row.transaction_uid, row.destination, jobs.NOW)
        for row in requested
        if not live & _keys_of(row) and _is_overdue(services, row)
    ]
    for job in missing:
        logger.warning("no job stood for %s; it gets the next one", job.key)
        RENEWALS[job.name](services, *job.arguments)
    return missing


def _timers(session: Session) -> list[Job]:
    rows = session.scalars(select(GenerationRow).filter_by(state=GenerationState.RECEIVING))
    return [jobs.close_study(row.study_instance_uid, row.number, row.tick, jobs.NOW) for row in rows]


def _analyses(session: Session) -> list[Job]:
    rows = session.scalars(select(GenerationRow).filter_by(state=GenerationState.CLOSED))
    return [jobs.analyse_study(row.study_instance_uid, row.number, row.attempt) for row in rows]


def _answers(session: Session) -> list[Job]:
    rows = session.scalars(select(CommitmentRequestRow).filter_by(state=commitment_requests.PENDING))
    return [jobs.answer_commitment(row.id, row.calling_ae_title, row.attempts) for row in rows]


def _keys_of(row: CommitmentRow) -> frozenset[str]:
    """Name both jobs of a transaction: it is requested first and checked later."""
    return frozenset(
        job.key
        for job in (
            jobs.request_commitment(row.transaction_uid, row.destination),
            jobs.check_commitment(row.transaction_uid, row.destination, jobs.NOW),
        )
    )


def _is_overdue(services: Services, row: CommitmentRow) -> bool:
    """Tell whether waiting is over: a request whose jobs are gone may have been sent, and answered until then."""
    return row.state == CommitmentState.REQUESTED and row.due_at <= services.now()
