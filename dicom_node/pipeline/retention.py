"""Step 9, unseen: what is finished and old goes, rows first, so that nothing is ever promised that is not there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, delete, select, union
from sqlalchemy.orm import Session

from dicom_node.domain.study import CommitmentState, DeliveryState, GenerationState
from dicom_node.pipeline import auditing
from dicom_node.pipeline.operator import CANCELLED
from dicom_node.pipeline.services import Services
from dicom_node.store import commitment_requests
from dicom_node.store.generations import lock_study
from dicom_node.store.instances import InstanceState, has_path
from dicom_node.store.result_files import FOLDER as RESULTS
from dicom_node.store.spool import remove_unknown
from dicom_node.store.tables import (
    AnalysisRow,
    AssociationRow,
    CommitmentRequestRow,
    CommitmentRow,
    DeliveryRow,
    GenerationRow,
    InstanceRow,
    PerformedProcedureStepRow,
    ResultRow,
    StudyRow,
)

logger = logging.getLogger(__name__)

REMOVED_REASON = "the image was removed by retention"
STRAY_AFTER = timedelta(days=1)  # a file without a row is older than this only when its process died


@dataclass(frozen=True, slots=True)
class Removed:
    """How much went."""

    image_files: int = 0
    studies: int = 0
    stray_files: int = 0


def clean_up(services: Services) -> Removed:
    """Remove what retention allows: images and results of finished studies, old log rows, stray files."""
    now = services.now()
    retention = services.config().retention
    images_before = now - timedelta(days=retention.images_days)
    results_before = now - timedelta(days=retention.results_days)
    images = _remove_images(services, images_before, may_be_retried=False)
    images += _remove_images(services, min(images_before, results_before), may_be_retried=True)
    images += _remove_strangers(services, results_before)
    studies = _remove_studies(services, results_before)
    _remove_log(services, results_before)
    removed = Removed(images, studies, _remove_strays(services, now))
    if removed != Removed():
        logger.info("removed %s", removed)
    return removed


def _finished(before: datetime, *, may_be_retried: bool) -> Select[str]:
    """Select the studies that nothing waits for any more, and whose last image came before that time.

    :param may_be_retried: whether those count that gave up, so that a person may retry them.
    """
    busy = [
        select(GenerationRow.study_instance_uid).where(
            GenerationRow.state.in_((GenerationState.RECEIVING, GenerationState.CLOSED))
            | (GenerationRow.last_received_at >= before)
        ),
        select(DeliveryRow.study_instance_uid).where(DeliveryRow.state == DeliveryState.PENDING),
        select(CommitmentRow.study_instance_uid).where(CommitmentRow.state == CommitmentState.REQUESTED),
    ]
    if not may_be_retried:
        # Only the current generation is ever retried; an earlier one that failed is covered by it.
        busy += [
            select(GenerationRow.study_instance_uid)
            .join(
                StudyRow,
                (StudyRow.study_instance_uid == GenerationRow.study_instance_uid)
                & (StudyRow.generation == GenerationRow.number),
            )
            .where(
                GenerationRow.state == GenerationState.FAILED,
                GenerationRow.error.is_(None) | GenerationRow.error.not_like(f"{CANCELLED}%"),
            ),
            select(DeliveryRow.study_instance_uid).where(DeliveryRow.state == DeliveryState.FAILED),
        ]
    return select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.not_in(union(*busy)))


def _take(session: Session, study_instance_uid: str, finished: Select[str]) -> bool:
    """Take a study, unless a late image or a person was faster: no generation opens before this transaction ends."""
    lock_study(session, study_instance_uid)
    return session.scalar(finished.where(StudyRow.study_instance_uid == study_instance_uid)) is not None


def _remove_images(services: Services, before: datetime, *, may_be_retried: bool) -> int:
    """Remove the bytes of images; their rows stay with the results, to say what a later answer does not cover."""
    finished = _finished(before, may_be_retried=may_be_retried)
    kept = (InstanceRow.state != InstanceState.REMOVED) & (InstanceRow.received_at < before)
    with services.database.read() as session:
        has_images = StudyRow.study_instance_uid.in_(select(InstanceRow.study_instance_uid).where(kept))
        studies = list(session.scalars(finished.where(has_images)))
    removed = 0
    for study in studies:
        with services.database.write() as session:
            if not _take(session, study, finished):
                continue
            query = select(InstanceRow).where(InstanceRow.study_instance_uid == study, kept).with_for_update()
            rows = list(session.scalars(query))
            paths = [row.path for row in rows]
            subject = auditing.known(session, services.data_dir, study)
            for row in rows:
                row.state, row.reason = InstanceState.REMOVED, REMOVED_REASON
        services.audit.deleted(subject, "images, by retention")
        removed += _unlink(services.data_dir, paths)
    return removed


def _remove_strangers(services: Services, before: datetime) -> int:
    """Remove what could not be read far enough to belong to a study: nothing else ever looks at it."""
    with services.database.write() as session:
        query = select(InstanceRow).where(InstanceRow.study_instance_uid.is_(None), InstanceRow.received_at < before)
        rows = list(session.scalars(query.with_for_update()))
        paths = [row.path for row in rows]
        for row in rows:
            session.delete(row)
    return _unlink(services.data_dir, paths)


def _remove_studies(services: Services, before: datetime) -> int:
    """Remove finished studies without an image left, with all their rows and result files."""
    finished = _finished(before, may_be_retried=True)
    with services.database.read() as session:
        studies = list(session.scalars(finished))
    removed = 0
    for study in studies:
        with services.database.write() as session:
            if not _take(session, study, finished) or _has_images(session, study):
                continue
            paths = list(session.scalars(select(ResultRow.path).filter_by(study_instance_uid=study)))
            subject = auditing.known(session, services.data_dir, study)
            for table in (DeliveryRow, CommitmentRow, ResultRow, AnalysisRow, InstanceRow, GenerationRow, StudyRow):
                session.execute(delete(table).where(table.study_instance_uid == study))
        services.audit.deleted(subject, "all that was left, by retention")
        _unlink(services.data_dir, paths)
        removed += 1
    return removed


def _has_images(session: Session, study_instance_uid: str) -> bool:
    query = select(InstanceRow.id).where(
        InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.state != InstanceState.REMOVED
    )
    return session.scalar(query.limit(1)) is not None


def _remove_log(services: Services, before: datetime) -> None:
    with services.database.write() as session:
        in_use = select(InstanceRow.association_id).where(InstanceRow.association_id.is_not(None))
        session.execute(
            delete(AssociationRow).where(AssociationRow.ended_at < before, AssociationRow.id.not_in(in_use))
        )
        session.execute(
            delete(CommitmentRequestRow).where(
                CommitmentRequestRow.received_at < before, CommitmentRequestRow.state != commitment_requests.PENDING
            )
        )
        session.execute(delete(PerformedProcedureStepRow).where(PerformedProcedureStepRow.ended_at < before))


def _remove_strays(services: Services, now: datetime) -> int:
    """Remove files that no row speaks of: of receivers, and of analyses, that died between file and row."""
    with services.database.read() as session:
        removed = remove_unknown(
            services.data_dir, lambda path: has_path(session, path), older_than=STRAY_AFTER, now=now
        )
        known = set(session.scalars(select(ResultRow.path)))
    for file in (services.data_dir / RESULTS).glob("*/*/*"):
        old = now.timestamp() - file.stat().st_mtime > STRAY_AFTER.total_seconds()
        if old and file.relative_to(services.data_dir).as_posix() not in known:
            file.unlink()
            removed += 1
    return removed


def _unlink(data_dir: Path, paths: list[str]) -> int:
    for path in paths:
        (data_dir / path).unlink(missing_ok=True)
    return len(paths)
