"""Storage commitment transactions in which a scanner asks us, and what we can truthfully answer (PS3.4 Annex J)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.store.instances import InstanceState
from dicom_node.store.spool import is_intact
from dicom_node.store.tables import CommitmentRequestRow, InstanceRow

PENDING, ANSWERED, FAILED = "pending", "answered", "failed"

# Failure Reason (0008,1197), PS3.3 C.14.1.1
PROCESSING_FAILURE, NO_SUCH_OBJECT_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0110, 0x0112, 0x0119

_LOOKED_UP_AT_ONCE = 500
#: After a claim, when the next job looks: by then the instances are read back and reported, or the process died.
LONGEST_ASSESSMENT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Assessment:
    """Which of the asked (SOP class, SOP instance) pairs are really kept; of the others, the failure reason."""

    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]


def ask(
    session: Session,
    *,
    transaction_uid: str,
    calling_ae_title: str,
    host: str,
    references: Sequence[tuple[str, str]],
    next_attempt_at: datetime,
    now: datetime,
) -> CommitmentRequestRow:
    """Write a request down. A repeated transaction UID is the same request, to be answered again."""
    row = find(session, calling_ae_title, transaction_uid)
    if row is None:
        row = CommitmentRequestRow(transaction_uid=transaction_uid, calling_ae_title=calling_ae_title, attempts=0)
        session.add(row)
    else:
        row.attempts += 1
    row.host, row.received_at, row.next_attempt_at = host, now, next_attempt_at
    row.items = [{"sop_class_uid": c, "sop_instance_uid": i} for c, i in references]
    row.state, row.answered_at, row.error = PENDING, None, None
    session.flush()
    return row


def find(session: Session, calling_ae_title: str, transaction_uid: str) -> CommitmentRequestRow | None:
    """Look a request up by who asked and its transaction UID."""
    return session.scalar(
        select(CommitmentRequestRow)
        .filter_by(calling_ae_title=calling_ae_title, transaction_uid=transaction_uid)
        .with_for_update()
    )


def mark_answered(row: CommitmentRequestRow, now: datetime) -> None:
    """Note that the scanner took the report."""
    row.state, row.answered_at, row.error = ANSWERED, now, None


def references_of(row: CommitmentRequestRow) -> list[tuple[str, str]]:
    """Give the (SOP class, SOP instance) pairs of a request."""
    return [(item["sop_class_uid"], item["sop_instance_uid"]) for item in row.items]


def assess(session: Session, data_dir: Path, references: Sequence[tuple[str, str]]) -> Assessment:
    """Read every asked instance back from the disk: committed is only what is there, byte for byte.

    Quarantined instances and both versions of a conflict count: their bytes are as safe as any other's.
    """
    kept: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    uids = list({uid for _, uid in references})
    for at in range(0, len(uids), _LOOKED_UP_AT_ONCE):
        query = select(
            InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid, InstanceRow.path, InstanceRow.sha256
        ).where(
            InstanceRow.sop_instance_uid.in_(uids[at : at + _LOOKED_UP_AT_ONCE]),
            InstanceRow.state != InstanceState.REMOVED,
        )
        for uid, sop_class_uid, path, sha256 in session.execute(query):
            kept[uid].append((sop_class_uid, path, sha256))
    committed, failed = [], []
    for sop_class_uid, uid in references:
        reason = _failure(data_dir, sop_class_uid, kept.get(uid, []))
        if reason is None:
            committed.append((sop_class_uid, uid))
        else:
            failed.append((sop_class_uid, uid, reason))
    return Assessment(tuple(committed), tuple(failed))


def _failure(data_dir: Path, sop_class_uid: str, versions: Sequence[tuple[str, str, str]]) -> int | None:
    if not versions:
        return NO_SUCH_OBJECT_INSTANCE
    of_class = [(path, sha256) for kept_class, path, sha256 in versions if kept_class == sop_class_uid]
    if not of_class:
        return CLASS_INSTANCE_CONFLICT
    return None if any(is_intact(data_dir, *version) for version in of_class) else PROCESSING_FAILURE
