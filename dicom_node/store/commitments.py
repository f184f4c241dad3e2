"""Storage commitment transactions in which the node asks (PS3.4 Annex J, the node as SCU)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.domain.study import CommitmentState
from dicom_node.store.deliveries import ShipmentKey
from dicom_node.store.tables import CommitmentRow


def add_transaction(
    session: Session, transaction_uid: str, key: ShipmentKey, *, attempt: int, now: datetime, due_at: datetime
) -> CommitmentRow:
    """Record that a commitment is to be asked for."""
    row = CommitmentRow(
        transaction_uid=transaction_uid,
        study_instance_uid=key.study_instance_uid,
        version=key.version,
        destination=key.destination,
        attempt=attempt,
        state=CommitmentState.REQUESTED,
        requested_at=now,
        due_at=due_at,
    )
    session.add(row)
    session.flush()
    return row


def key_of(row: CommitmentRow) -> ShipmentKey:
    """Name the shipment that a transaction speaks about."""
    return ShipmentKey(row.study_instance_uid, row.version, row.destination)


def has_open_transaction(session: Session, key: ShipmentKey) -> bool:
    """Tell whether an answer is still awaited for this shipment."""
    query = select(CommitmentRow.transaction_uid).filter_by(
        study_instance_uid=key.study_instance_uid,
        version=key.version,
        destination=key.destination,
        state=CommitmentState.REQUESTED,
    )
    return session.scalar(query.limit(1)) is not None


def open_transactions(session: Session) -> list[CommitmentRow]:
    """List every transaction that awaits its answer."""
    return list(session.scalars(select(CommitmentRow).where(CommitmentRow.state == CommitmentState.REQUESTED)))
