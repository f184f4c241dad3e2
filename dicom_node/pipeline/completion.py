"""Step 3 of the walk: a study closes once per generation, and is analysed until it is answered or given up."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dicom_node.audit.acts import entity
from dicom_node.config import Scanner
from dicom_node.domain.delivery import GiveUp, retry_decision
from dicom_node.domain.study import GenerationState, close_in, move_generation
from dicom_node.errors import NodeError, SpoolFull
from dicom_node.pipeline import auditing, jobs
from dicom_node.pipeline.services import Services
from dicom_node.store import associations
from dicom_node.store.generations import lock_study
from dicom_node.store.tables import GenerationRow, StudyRow

logger = logging.getLogger(__name__)

LOOK_FOR_ROOM_EVERY = timedelta(minutes=1)


def close_study(services: Services, study_instance_uid: str, generation: int, tick: int) -> None:
    """Job: close a generation if it is complete, else look again when it may be.

    Only the newest timer acts, and only on a generation that is still receiving: it closes exactly once.
    """
    bury_lost_associations(services)
    with services.database.write() as session:
        study = lock_study(session, study_instance_uid)
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if study is None or row is None or row.state != GenerationState.RECEIVING or row.tick != tick:
            return
        policy = _policy(services, study)
        wait = _time_left(services, session, policy, row)
        if wait > timedelta(0):
            row.tick += 1
            services.enqueue(session, jobs.close_study(study_instance_uid, generation, row.tick, wait))
            return
        row.state = move_generation(GenerationState(row.state), GenerationState.CLOSED)
        row.closed_at = services.now()
        row.close_reason = _why_closed(row, policy, row.closed_at)
        services.enqueue(session, jobs.analyse_study(study_instance_uid, generation, row.attempt))
    logger.info("study %s generation %d closed: %s", study_instance_uid, generation, row.close_reason)


def renew_timer(services: Services, study_instance_uid: str, generation: int, tick: int) -> None:
    """Give a receiving generation its next timer, when timer ``tick`` died without a trace."""
    with services.database.write() as session:
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if row is not None and row.state == GenerationState.RECEIVING and row.tick == tick:
            row.tick += 1
            services.enqueue(session, jobs.close_study(study_instance_uid, generation, row.tick, jobs.NOW))


def analysis_failed(
    services: Services, study_instance_uid: str, generation: int, attempt: int, error: Exception
) -> None:
    """Record that analysis attempt ``attempt`` failed: another follows, or the generation is given up.

    What the error tree calls final is not tried again; an error it does not know may be chance, and is.
    """
    retryable = error.retryable if isinstance(error, NodeError) else True
    with services.database.write() as session:
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if row is None or row.state != GenerationState.CLOSED or row.attempt != attempt:
            return
        _next_attempt(services, session, row, f"{type(error).__name__}: {error}", retryable=retryable)


def analysis_waits(services: Services, study_instance_uid: str, generation: int, attempt: int, full: SpoolFull) -> None:
    """Record that analysis attempt ``attempt`` found no room for its answer: it is made again, however long it takes.

    That is no failure of the study, so it counts as none.
    """
    with services.database.write() as session:
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if row is None or row.state != GenerationState.CLOSED or row.attempt != attempt:
            return
        row.attempt += 1
        row.round_start += 1
        row.error = f"its answer waits for room: {full}"
        job = jobs.analyse_study(study_instance_uid, generation, row.attempt, LOOK_FOR_ROOM_EVERY)
        services.enqueue(session, job)
    logger.error("study %s generation %d: %s", study_instance_uid, generation, row.error)


def renew_analysis(services: Services, study_instance_uid: str, generation: int, attempt: int) -> None:
    """Give a closed generation its next analysis, when attempt ``attempt`` died without a trace."""
    with services.database.write() as session:
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if row is not None and row.state == GenerationState.CLOSED and row.attempt == attempt:
            _next_attempt(services, session, row, "the analysis died with its process", retryable=True, wait=False)


def analyse_once_more(services: Services, study_instance_uid: str, generation: int) -> None:
    """Analyse a closed generation under the next version number, when its own was taken by another generation."""
    with services.database.write() as session:
        row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
        if row is not None and row.state == GenerationState.CLOSED:
            row.attempt += 1
            row.round_start += 1  # it was no failure
            services.enqueue(session, jobs.analyse_study(study_instance_uid, generation, row.attempt))


def bury_lost_associations(services: Services) -> int:
    """Close the log entries of receivers that died, so that they hold no study open; says how many."""
    looked_at = services.now()
    with services.database.read() as session:
        receivers = associations.receivers_with_open_associations(session)
    dead = [receiver for receiver in receivers if not services.is_alive(receiver)]
    return bury(services, dead, looked_at) if dead else 0


def bury(services: Services, dead_receivers: Sequence[str], looked_at: datetime) -> int:
    """Close the log entries of these, and tell the audit trail what they had taken; says how many.

    :param looked_at: when they were seen to be dead.
    """
    with services.database.write() as session:
        lost = associations.mark_lost(session, dead_receivers, looked_at)
    for association in lost:
        with services.database.read() as session:
            subjects = auditing.received(session, services.data_dir, association.id)
        for subject in subjects:
            scanner = entity(association.calling_ae_title, association.host)
            services.audit.received(scanner, subject, associations.DIED)
    return len(lost)


def _policy(services: Services, study: StudyRow) -> Scanner:
    title = study.scanner_ae_title
    return services.config().scanner(title) or Scanner(ae_title=title)


def _time_left(services: Services, session: Session, policy: Scanner, row: GenerationRow) -> timedelta:
    return close_in(
        services.now(),
        row.last_received_at,
        row.opened_at,
        quiet=timedelta(seconds=policy.quiet_seconds),
        cap=timedelta(seconds=policy.cap_seconds),
        association_open=associations.is_delivering(session, row.study_instance_uid),
        asked_to_close=row.close_asked is not None,
    )


def _why_closed(row: GenerationRow, policy: Scanner, closed_at: datetime) -> str:
    if row.close_asked is not None:
        return {"mpps": "the scanner reported its procedure step completed"}.get(
            row.close_asked, "the scanner asked for storage commitment"
        )
    if closed_at - row.last_received_at >= timedelta(seconds=policy.quiet_seconds):
        return f"nothing came for {policy.quiet_seconds:g} s (quiet_seconds)"
    return f"its first instance came {policy.cap_seconds:g} s ago (cap_seconds)"


def _next_attempt(
    services: Services, session: Session, row: GenerationRow, error: str, *, retryable: bool, wait: bool = True
) -> None:
    row.attempt += 1
    row.error = error
    decision = retry_decision(
        services.patience.analysis,
        row.attempt - row.round_start,
        retryable=retryable,
        chance=random.random(),  # noqa: S311 - it spreads waits
    )
    if isinstance(decision, GiveUp):
        row.state = move_generation(GenerationState(row.state), GenerationState.FAILED)
        row.error = f"{error}; {decision.reason}"
        logger.error("study %s generation %d failed: %s", row.study_instance_uid, row.number, row.error)
        return
    delay = decision.delay if wait else jobs.NOW
    services.enqueue(session, jobs.analyse_study(row.study_instance_uid, row.number, row.attempt, delay))
