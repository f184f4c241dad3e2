"""Step 9, unseen: what is finished and old goes, rows first, so that nothing is ever promised that is not there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dicom_node.domain.study import CommitmentState, DeliveryState, GenerationState
from dicom_node.pipeline.services import Services
from dicom_node.store import commitment_requests
from dicom_node.store.instances import has_path
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
    images = _remove_images(services, now - timedelta(days=retention.images_days))
    before = now - timedelta(days=retention.results_days)
    studies = _remove_studies(services, before)
    _remove_log(services, before)
    removed = Removed(images, studies, _remove_strays(services, now))
    if removed != Removed():
        logger.info("removed %s", removed)
    return removed


def _finished_studies(session: Session, before: datetime) -> list[str]:
    """Name the studies that nothing waits for any more, and whose last image came before that time."""
    busy = (
        select(GenerationRow.study_instance_uid)
        .where(
            GenerationRow.state.in_((GenerationState.RECEIVING, GenerationState.CLOSED))
            | (GenerationRow.last_received_at >= before)
        )
        .union(
            select(DeliveryRow.study_instance_uid).where(DeliveryRow.state == DeliveryState.PENDING),
            select(CommitmentRow.study_instance_uid).where(CommitmentRow.state == CommitmentState.REQUESTED),
        )
    )
    return list(session.scalars(select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.not_in(busy))))


def _remove_images(services: Services, before: datetime) -> int:
    removed = 0
    with services.database.read() as session:
        studies = _finished_studies(session, before)
    for study in studies:
        with services.database.write() as session:
            if study not in _finished_studies(session, before):
                continue  # a late image came meanwhile
            paths = list(session.scalars(select(InstanceRow.path).filter_by(study_instance_uid=study)))
            session.execute(delete(InstanceRow).where(InstanceRow.study_instance_uid == study))
        removed += _unlink(services.data_dir, paths)
    return removed


def _remove_studies(services: Services, before: datetime) -> int:
    removed = 0
    with services.database.read() as session:
        studies = _finished_studies(session, before)
    for study in studies:
        with services.database.write() as session:
            kept_images = session.scalar(select(InstanceRow.id).filter_by(study_instance_uid=study).limit(1))
            if kept_images is not None or study not in _finished_studies(session, before):
                continue
            paths = list(session.scalars(select(ResultRow.path).filter_by(study_instance_uid=study)))
            for table in (DeliveryRow, CommitmentRow, ResultRow, AnalysisRow, GenerationRow, StudyRow):
                session.execute(delete(table).where(table.study_instance_uid == study))
        _unlink(services.data_dir, paths)
        removed += 1
    return removed


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
