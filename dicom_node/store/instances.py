"""Rows of received instances: what an arrival becomes is decided here, inside one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.orm import Session

from dicom_node.store.database import session_within
from dicom_node.store.generations import Timer, is_repeated, receiving_generation, still_receiving
from dicom_node.store.spool import StoredFile
from dicom_node.store.tables import InstanceRow

REMEMBERED_STUDIES = 1000


class InstanceState(StrEnum):
    """What a received instance is to the rest of the walk."""

    STORED = "stored"
    CONFLICT = "conflict"  #: other bytes under a UID that is stored already; kept beside it, for a person to look at
    QUARANTINED = "quarantined"  #: kept, but cannot be used as it is
    REMOVED = "removed"  #: its bytes went by retention; the row stays as long as the results of its study


@dataclass(frozen=True, slots=True)
class Arrival:
    """One instance whose bytes are on the disk.

    :ivar study_instance_uid: None when it is unknown or unusable; then the instance belongs to no study.
    :ivar fault: why it has to be quarantined, or None.
    """

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    transfer_syntax_uid: str
    file: StoredFile
    association_id: int
    calling_ae_title: str
    fault: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an arrival.

    :ivar is_kept: whether a row speaks of its file now; false when exactly these bytes were there already.
    :ivar timer: to be enqueued in the same transaction, when the arrival opened a generation.
    """

    is_kept: bool
    state: InstanceState
    reason: str | None = None
    timer: Timer | None = None


@dataclass(slots=True)
class _Version:
    """One row that is there, or will be at the end of this transaction."""

    id: int | None
    path: str
    state: InstanceState
    reason: str | None


_INSTANCES = InstanceRow.metadata.tables[InstanceRow.__tablename__]
_ADD = insert(_INSTANCES)
_STORE_AGAIN = (
    update(_INSTANCES)
    .where(_INSTANCES.c.id == bindparam("row_id"))
    .values(
        path=bindparam("new_path"),
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        received_at=bindparam("now"),
    )
)
_DELIVERED_AGAIN = (
    update(_INSTANCES)
    .where(_INSTANCES.c.id == bindparam("row_id"))
    .values(association_id=bindparam("new_association_id"))
)
_VERSIONS = select(
    _INSTANCES.c.id,
    _INSTANCES.c.sop_instance_uid,
    _INSTANCES.c.sha256,
    _INSTANCES.c.path,
    _INSTANCES.c.state,
    _INSTANCES.c.reason,
).where(_INSTANCES.c.sop_instance_uid.in_(bindparam("uids", expanding=True)))


class InstanceLog:
    """Writes the rows of one receiver, which remembers the generation that each study was in last."""

    def __init__(self, is_intact: Callable[[str, str], bool]) -> None:
        self._is_intact = is_intact  # asked with the path and the digest of what should be there
        self._generations: dict[str, int] = {}

    def record(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[Recorded]:
        """Write rows for what is new among the arrivals, opening studies and generations as needed.

        The same bytes under the same UID again add no row, but count as traffic: a scanner that repeats its study is
        not done with it. Where the file of such a row is gone or damaged, the new bytes take its place.

        Studies are taken in the order of their UIDs, so that receivers which share some never wait in a circle.
        """
        versions = _versions(connection, {arrival.sop_instance_uid for arrival in arrivals})
        generations: dict[str, int] = {}
        rows: list[dict[str, object]] = []
        outcomes: dict[int, Recorded] = {}
        for number, arrival in sorted(enumerate(arrivals), key=lambda item: item[1].study_instance_uid or ""):
            of_this_uid = versions[arrival.sop_instance_uid]
            same = of_this_uid.get(arrival.file.sha256)
            if same is not None:
                outcomes[number] = self._repeated(connection, arrival, same, of_this_uid)
                continue
            state, reason = _judge(arrival, of_this_uid)
            study, timer = arrival.study_instance_uid, None
            if study is not None and study not in generations:
                generations[study], timer = self._generation(connection, arrival, study)
            rows.append(_values(arrival, state, reason, generations[study] if study is not None else None))
            of_this_uid[arrival.file.sha256] = _Version(None, arrival.file.path, state, reason)
            outcomes[number] = Recorded(is_kept=True, state=state, reason=reason, timer=timer)
        if rows:
            connection.execute(_ADD, rows)
        return [outcomes[number] for number in range(len(arrivals))]

    def _generation(self, connection: Connection, arrival: Arrival, study: str) -> tuple[int, Timer | None]:
        known = self._generations.get(study)
        if known is not None and still_receiving(connection, study, known, arrival.received_at):
            return known, None
        with session_within(connection) as session:
            generation, timer = receiving_generation(session, study, arrival.calling_ae_title, arrival.received_at)
        if len(self._generations) >= REMEMBERED_STUDIES:
            self._generations.clear()
        # Should this transaction fail, the memory is wrong but harmless: no such generation is receiving.
        self._generations[study] = generation
        return generation, timer

    def _repeated(
        self, connection: Connection, arrival: Arrival, same: _Version, of_this_uid: dict[str, _Version]
    ) -> Recorded:
        study = arrival.study_instance_uid
        if study is not None and is_repeated(connection, study, arrival.received_at):
            # Whoever delivers now holds the study open, as if the row were new.
            connection.execute(_DELIVERED_AGAIN, {"row_id": same.id, "new_association_id": arrival.association_id})
        if same.state is InstanceState.REMOVED:
            same.state, same.reason = _judge(arrival, of_this_uid)
        elif self._is_intact(same.path, arrival.file.sha256):
            # Its own row, when a commit whose answer was lost is made again: then the file is the kept one.
            return Recorded(is_kept=same.path == arrival.file.path, state=same.state)
        same.path = arrival.file.path
        connection.execute(
            _STORE_AGAIN,
            {
                "row_id": same.id,
                "new_path": same.path,
                "new_state": same.state.value,
                "new_reason": same.reason,
                "now": arrival.received_at,
            },
        )
        return Recorded(is_kept=True, state=same.state)


def _versions(connection: Connection, sop_instance_uids: Collection[str]) -> dict[str, dict[str, _Version]]:
    """Give the rows that there are, by SOP Instance UID and digest."""
    versions: dict[str, dict[str, _Version]] = defaultdict(dict)
    for row_id, uid, sha256, path, state, reason in connection.execute(_VERSIONS, {"uids": list(sop_instance_uids)}):
        versions[uid][sha256] = _Version(row_id, path, InstanceState(state), reason)
    return versions


def _judge(arrival: Arrival, of_this_uid: dict[str, _Version]) -> tuple[InstanceState, str | None]:
    if arrival.fault is not None:
        return InstanceState.QUARANTINED, arrival.fault
    if any(version.state in (InstanceState.STORED, InstanceState.CONFLICT) for version in of_this_uid.values()):
        return InstanceState.CONFLICT, "an instance with this SOP Instance UID but other bytes was received before"
    return InstanceState.STORED, None


def _values(arrival: Arrival, state: InstanceState, reason: str | None, generation: int | None) -> dict[str, object]:
    return {
        "sop_instance_uid": arrival.sop_instance_uid,
        "sop_class_uid": arrival.sop_class_uid,
        "study_instance_uid": arrival.study_instance_uid,
        "series_instance_uid": arrival.series_instance_uid,
        "generation": generation,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "sha256": arrival.file.sha256,
        "size_bytes": arrival.file.size_bytes,
        "path": arrival.file.path,
        "state": state.value,
        "reason": reason,
        "association_id": arrival.association_id,
        "received_at": arrival.received_at,
    }


def has_path(session: Session, path: str) -> bool:
    """Whether a row speaks of this file, as one that is kept."""
    query = select(InstanceRow.id).where(InstanceRow.path == path, InstanceRow.state != InstanceState.REMOVED)
    return session.scalar(query.limit(1)) is not None
