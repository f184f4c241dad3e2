"""Result objects on their way to destinations.

The objects of one answer for one destination are a shipment: they travel on one association, and one numbered job
works for them all. The shipment's number is the greatest ``attempts`` of its rows; a job with another number is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.domain.result import SopReference
from dicom_node.domain.study import DeliveryState
from dicom_node.errors import BadInput
from dicom_node.store.tables import DeliveryRow, ResultRow


@dataclass(frozen=True, slots=True)
class ShipmentKey:
    """Names a shipment."""

    study_instance_uid: str
    version: int
    destination: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One object of a shipment: its delivery row and what is sent."""

    row: DeliveryRow
    reference: SopReference
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Shipment:
    """The objects of one answer for one destination."""

    key: ShipmentKey
    parcels: tuple[Parcel, ...]

    @property
    def number(self) -> int:
        """The number of the one job that may work for this shipment now."""
        return max((parcel.row.attempts for parcel in self.parcels), default=0)

    def in_state(self, state: DeliveryState) -> list[Parcel]:
        """List the objects that stand in a state."""
        return [parcel for parcel in self.parcels if parcel.row.state == state]

    @property
    def commits(self) -> bool:
        """Whether the destination is asked to commit these objects."""
        return any(parcel.row.commitment for parcel in self.parcels)


def load_shipment(session: Session, key: ShipmentKey, *, lock: bool = False) -> Shipment:
    """Read a shipment; ``lock`` keeps other writers away until the transaction ends."""
    query = (
        select(DeliveryRow, ResultRow)
        .join(ResultRow, ResultRow.id == DeliveryRow.result_id)
        .where(
            DeliveryRow.study_instance_uid == key.study_instance_uid,
            DeliveryRow.version == key.version,
            DeliveryRow.destination == key.destination,
        )
        .order_by(DeliveryRow.id)
    )
    if lock:
        query = query.with_for_update(of=DeliveryRow)
    return Shipment(
        key,
        tuple(
            Parcel(row, SopReference(result.sop_class_uid, result.sop_instance_uid), result.path, result.sha256)
            for row, result in session.execute(query)
        ),
    )


def key_of(row: DeliveryRow) -> ShipmentKey:
    """Name the shipment that a delivery belongs to."""
    return ShipmentKey(row.study_instance_uid, row.version, row.destination)


def held_by(rows: Sequence[DeliveryRow]) -> list[ShipmentKey]:
    """Name the shipments that hold these deliveries."""
    return list(dict.fromkeys(key_of(row) for row in rows))


def to_be_sent_now(session: Session, now: datetime) -> list[DeliveryRow]:
    """List what a person who says "now" means: what gave up, and what waits for a later time."""
    waits = (DeliveryRow.state == DeliveryState.PENDING) & (DeliveryRow.next_attempt_at > now)
    rows = select(DeliveryRow).where((DeliveryRow.state == DeliveryState.FAILED) | waits)
    return list(session.scalars(rows.order_by(DeliveryRow.id)))


def named(session: Session, ids: Sequence[int]) -> list[DeliveryRow]:
    """List these deliveries.

    :raises BadInput: one of them does not exist.
    """
    rows = list(session.scalars(select(DeliveryRow).where(DeliveryRow.id.in_(ids)).order_by(DeliveryRow.id)))
    unknown = sorted(set(ids) - {row.id for row in rows})
    if unknown:
        raise BadInput(f"there is no delivery {', '.join(map(str, unknown))}")
    return rows


def pending_shipments(session: Session) -> list[tuple[ShipmentKey, int]]:
    """Name every shipment with something left to send, and its number."""
    names = (DeliveryRow.study_instance_uid, DeliveryRow.version, DeliveryRow.destination)
    query = select(*names).where(DeliveryRow.state == DeliveryState.PENDING).distinct()
    keys = [ShipmentKey(*name) for name in session.execute(query)]
    return [(key, load_shipment(session, key).number) for key in keys]


def list_deliveries(session: Session, *, state: str | None = None, limit: int = 1000) -> list[dict[str, object]]:
    """List deliveries for people, newest first.

    :raises BadInput: there is no such state.
    """
    if state is not None and state not in set(DeliveryState):
        raise BadInput(f"{state!r} is no state of a delivery: {', '.join(DeliveryState)}")
    query = (
        select(DeliveryRow, ResultRow)
        .join(ResultRow, ResultRow.id == DeliveryRow.result_id)
        .order_by(DeliveryRow.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(DeliveryRow.state == state)
    return [
        {
            "id": row.id,
            "study_instance_uid": row.study_instance_uid,
            "version": row.version,
            "kind": result.kind,
            "sop_instance_uid": result.sop_instance_uid,
            "destination": row.destination,
            "state": row.state,
            "attempts": row.attempts,
            "next_attempt_at": row.next_attempt_at.isoformat(),
            "status": None if row.status is None else f"{row.status:04X}",
            "error": row.error,
            "sent_at": row.sent_at and row.sent_at.isoformat(),
            "committed_at": row.committed_at and row.committed_at.isoformat(),
        }
        for row, result in session.execute(query)
    ]
