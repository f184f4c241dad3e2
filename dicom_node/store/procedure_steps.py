"""Modality Performed Procedure Steps as scanners report them (PS3.4 Annex F)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dicom_node.store.tables import PerformedProcedureStepRow

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"


@dataclass(frozen=True, slots=True)
class ProcedureStep:
    """A step as it stands: its status and the studies it performs."""

    status: str
    study_instance_uids: tuple[str, ...]


def find(session: Session, sop_instance_uid: str) -> ProcedureStep | None:
    """Look a step up."""
    row = session.get(PerformedProcedureStepRow, sop_instance_uid, with_for_update=True)
    return None if row is None else ProcedureStep(row.status, tuple(row.study_instance_uids))


def create(
    session: Session, sop_instance_uid: str, calling_ae_title: str, study_instance_uids: Sequence[str], now: datetime
) -> None:
    """Write down a new step, in progress."""
    session.add(
        PerformedProcedureStepRow(
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=calling_ae_title,
            study_instance_uids=list(study_instance_uids),
            status=IN_PROGRESS,
            created_at=now,
        )
    )


def set_status(session: Session, sop_instance_uid: str, status: str, now: datetime) -> None:
    """Write down the new status of a step."""
    row = session.get_one(PerformedProcedureStepRow, sop_instance_uid)
    row.status = status
    if status != IN_PROGRESS:
        row.ended_at = now
