"""Rows of received instances: what an arrival becomes is decided here, inside one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from dicom_node.store.generations import Timer, note_traffic, receiving_generation
from dicom_node.store.spool import StoredFile
from dicom_node.store.tables import InstanceRow


class InstanceState(StrEnum):
    """What a received instance is to the rest of the walk."""

    STORED = "stored"
    CONFLICT = "conflict"  #: other bytes under a UID that is stored already; kept beside it, for a person to look at
    QUARANTINED = "quarantined"  #: kept, but cannot be used as it is


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


_VERSIONS = select(
    InstanceRow.id, InstanceRow.sop_instance_uid, InstanceRow.sha256, InstanceRow.path, InstanceRow.state
).where(InstanceRow.sop_instance_uid.in_(bindparam("uids", expanding=True)))


def record(session: Session, arrivals: Sequence[Arrival], exists: Callable[[str], bool]) -> list[Recorded]:
    """Write rows for what is new among the arrivals, opening studies and generations as needed.

    The same bytes under the same UID again add no row, but count as traffic: a scanner that repeats its study is not
    done with it. ``exists`` tells whether a row's file is still on the disk; if not, the new bytes take its place.
    """
    versions: dict[str, dict[str, _Version]] = defaultdict(dict)
    for row in session.execute(_VERSIONS, {"uids": list({arrival.sop_instance_uid for arrival in arrivals})}):
        versions[row.sop_instance_uid][row.sha256] = _Version(row.id, row.path, InstanceState(row.state))
    generations: dict[str, int] = {}
    new_rows: list[dict[str, object]] = []
    outcomes: list[Recorded] = []
    for arrival in arrivals:
        of_this_uid = versions[arrival.sop_instance_uid]
        same = of_this_uid.get(arrival.file.sha256)
        if same is not None:
            outcomes.append(_repeated(session, arrival, same, exists))
            continue
        state, reason = _judge(arrival, of_this_uid)
        timer = None
        study = arrival.study_instance_uid
        if study is not None and study not in generations:
            generations[study], timer = receiving_generation(
                session, study, arrival.calling_ae_title, arrival.received_at
            )
        new_rows.append(_values(arrival, state, reason, generations[study] if study is not None else None))
        of_this_uid[arrival.file.sha256] = _Version(None, arrival.file.path, state)
        outcomes.append(Recorded(is_kept=True, state=state, reason=reason, timer=timer))
    if new_rows:
        session.flush()
        session.execute(insert(InstanceRow), new_rows)
    return outcomes


def _judge(arrival: Arrival, of_this_uid: dict[str, _Version]) -> tuple[InstanceState, str | None]:
    if arrival.fault is not None:
        return InstanceState.QUARANTINED, arrival.fault
    if any(version.state is not InstanceState.QUARANTINED for version in of_this_uid.values()):
        return InstanceState.CONFLICT, "an instance with this SOP Instance UID but other bytes was received before"
    return InstanceState.STORED, None


def _repeated(session: Session, arrival: Arrival, same: _Version, exists: Callable[[str], bool]) -> Recorded:
    if arrival.study_instance_uid is not None:
        note_traffic(session, arrival.study_instance_uid, arrival.received_at)
    if exists(same.path):
        return Recorded(is_kept=False, state=same.state)
    session.execute(update(InstanceRow).where(InstanceRow.id == same.id).values(path=arrival.file.path))
    return Recorded(is_kept=True, state=same.state)


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
    """Whether a row speaks of this file."""
    return session.scalar(select(InstanceRow.id).where(InstanceRow.path == path).limit(1)) is not None
