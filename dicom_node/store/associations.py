"""The association log: who came, what they proposed, how it ended. Two writes per association, never one per image."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from dicom_node.store.tables import AssociationRow, InstanceRow

OPEN, RELEASED, ABORTED, REJECTED, LOST = "open", "released", "aborted", "rejected", "lost"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known when an association is accepted or rejected.

    :ivar contexts: each proposed presentation context, as the table describes it.
    :ivar reason: why it is rejected; or of an accepted one, why nothing will come of it.
    """

    receiver: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    contexts: tuple[dict[str, Any], ...]
    reason: str | None


def opened(session: Session, entry: Entry, now: datetime) -> int:
    """Write down an accepted association, and give its id."""
    row = _row(entry, OPEN, now)
    session.add(row)
    session.flush()
    return row.id


def rejected(session: Session, entry: Entry, now: datetime) -> None:
    """Write down a rejected association."""
    row = _row(entry, REJECTED, now)
    row.ended_at = now
    session.add(row)


def ended(
    session: Session,
    association_id: int,
    *,
    outcome: str,
    reason: str | None,
    accepted: int,
    refused: int,
    now: datetime,
) -> None:
    """Write down how an association ended. A reason from its beginning (no acceptable context) is kept."""
    row = session.get_one(AssociationRow, association_id)
    row.outcome, row.ended_at = outcome, now
    row.reason = "; ".join(text for text in (row.reason, reason) if text) or None
    row.instances_accepted, row.instances_refused = accepted, refused


def is_receiving(session: Session, association_id: int, study_instance_uid: str) -> None:
    """Write down to which study the instance belongs that an association has been sending for a while."""
    session.get_one(AssociationRow, association_id).incoming_study_uid = study_instance_uid


DIED = "the receiver process died"


@dataclass(frozen=True, slots=True)
class Lost:
    """An association whose receiver died."""

    id: int
    calling_ae_title: str
    host: str


def mark_lost(session: Session, dead_receivers: Collection[str], now: datetime) -> list[Lost]:
    """Close the rows of receivers that died with associations open; gives them. What they acknowledged is kept.

    :param now: when they were looked at, before it turned out that they are dead. Associations that began later belong
        to receivers that were born again under their names.
    """
    result = session.execute(
        update(AssociationRow)
        .where(
            AssociationRow.outcome == OPEN,
            AssociationRow.receiver.in_(dead_receivers),
            AssociationRow.started_at < now,
        )
        .values(
            outcome=LOST,
            ended_at=now,
            reason=DIED,
            instances_accepted=select(func.count())
            .where(InstanceRow.association_id == AssociationRow.id)
            .scalar_subquery(),
        )
        .returning(AssociationRow.id, AssociationRow.calling_ae_title, AssociationRow.host),
        execution_options={"synchronize_session": False},
    )
    return [Lost(*row) for row in result]


def receivers_with_open_associations(session: Session) -> list[str]:
    """Name the receivers that have open rows, so that someone can look whether they live."""
    return list(session.scalars(select(AssociationRow.receiver).where(AssociationRow.outcome == OPEN).distinct()))


def is_delivering(session: Session, study_instance_uid: str) -> bool:
    """Whether an open association has delivered to this study, or is in the middle of it: more may be on its way."""
    has_delivered = (
        select(InstanceRow.id)
        .where(
            InstanceRow.association_id == AssociationRow.id,
            InstanceRow.study_instance_uid == study_instance_uid,
        )
        .exists()
    )
    delivers = or_(AssociationRow.incoming_study_uid == study_instance_uid, has_delivered)
    query = select(AssociationRow.id).where(AssociationRow.outcome == OPEN, delivers).limit(1)
    return session.scalar(query) is not None


def _row(entry: Entry, outcome: str, now: datetime) -> AssociationRow:
    return AssociationRow(
        receiver=entry.receiver,
        calling_ae_title=entry.calling_ae_title,
        called_ae_title=entry.called_ae_title,
        host=entry.host,
        contexts=list(entry.contexts),
        outcome=outcome,
        reason=entry.reason,
        started_at=now,
    )
