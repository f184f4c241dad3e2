"""What the admin pages and the metrics ask of the rows: questions only, nothing here changes anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import case, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from dicom_node.domain.identifiers import uid_fault
from dicom_node.domain.study import DeliveryState, GenerationState, study_state
from dicom_node.store.instances import InstanceState
from dicom_node.store.results import has_held_back
from dicom_node.store.tables import (
    AnalysisRow,
    AssociationRow,
    CommitmentRow,
    DeliveryRow,
    GenerationRow,
    InstanceRow,
    ResultRow,
    StudyRow,
)

#: How the deliveries of a study stand with one destination: state -> number of objects.
Lane = Counter[str]


@dataclass(frozen=True, slots=True)
class StudyLine:
    """One study in a list.

    :ivar state: the one word of ``domain.study.study_state``.
    :ivar instances: acknowledged instances by their state (stored, conflict, quarantined, removed).
    :ivar lanes: destination -> deliveries of the current version by state.
    """

    study_instance_uid: str
    scanner_ae_title: str
    state: str
    generation: int
    version: int
    created_at: datetime
    last_received_at: datetime
    closed_at: datetime | None
    error: str | None
    instances: Counter[str]
    lanes: dict[str, Lane]


@dataclass(frozen=True, slots=True)
class StudyPage:
    """A page of a list, and whether there are others before and after it."""

    lines: list[StudyLine]
    has_newer: bool
    has_older: bool


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """Everything the rows say about one study. ``results`` holds every version, the newest first."""

    line: StudyLine
    generations: Sequence[GenerationRow]
    instances: Sequence[InstanceRow]
    analysis: AnalysisRow | None
    results: Sequence[tuple[ResultRow, Sequence[DeliveryRow]]]
    commitments: Sequence[CommitmentRow]


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One delivery with the kind of its object."""

    delivery: DeliveryRow
    kind: str


@dataclass(frozen=True, slots=True)
class Gauges:
    """The figures of one scrape, each a count by its labels."""

    instances: dict[str, int] = field(default_factory=dict)  #: by state
    studies: dict[str, int] = field(default_factory=dict)  #: by the word of study_state
    results: dict[str, int] = field(default_factory=dict)  #: by state
    deliveries: dict[tuple[str, str], int] = field(default_factory=dict)  #: by destination and state
    associations: dict[str, int] = field(default_factory=dict)  #: by outcome; "open" are those under way
    oldest_pending_at: dict[str, datetime] = field(default_factory=dict)  #: by destination: when its object was made


def list_studies(session: Session, limit: int) -> list[StudyLine]:
    """List studies, the newest first."""
    return page_of_studies(session, limit).lines


def page_of_studies(
    session: Session, limit: int, *, older_than: str = "", newer_than: str = "", oldest: bool = False
) -> StudyPage:
    """Give a page of the studies, the newest first; it takes as long on every page, however many there are.

    :param older_than: a Study Instance UID, after which the page begins; ``newer_than``: before which it ends.
    :param oldest: the last page instead. Without any of them, or with an unknown study, the first.
    """
    named = older_than or newer_than
    beside = session.get(StudyRow, named) if uid_fault(named) is None else None
    backwards = oldest or (beside is not None and not older_than)
    place = tuple_(StudyRow.created_at, StudyRow.study_instance_uid)
    page = select(StudyRow.study_instance_uid)
    if beside is not None:
        at = tuple_(literal(beside.created_at, StudyRow.created_at.type), literal(beside.study_instance_uid))
        page = page.where(place > at if backwards else place < at)
    order = (StudyRow.created_at, StudyRow.study_instance_uid)  # one index, read from either end
    ordered = page.order_by(*(order if backwards else (column.desc() for column in order)))
    uids = list(session.scalars(ordered.limit(limit + 1)))
    if not uids and beside is not None:  # what was there a moment ago was removed meanwhile
        return page_of_studies(session, limit, oldest=not backwards)
    more, shown = len(uids) > limit, uids[:limit]
    lines = _lines(session, shown[::-1] if backwards else shown)
    if backwards:
        return StudyPage(lines, has_newer=more, has_older=beside is not None)
    return StudyPage(lines, has_newer=beside is not None, has_older=more)


def show_study(session: Session, study_instance_uid: str) -> StudyRecord | None:
    """Give everything about one study, or None when it is unknown."""
    lines = _lines(session, [study_instance_uid]) if uid_fault(study_instance_uid) is None else []
    if not lines:
        return None
    line = lines[0]
    results = session.scalars(
        select(ResultRow)
        .where(ResultRow.study_instance_uid == study_instance_uid)
        .order_by(ResultRow.version.desc(), ResultRow.id)
    ).all()
    deliveries = session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.study_instance_uid == study_instance_uid)
        .order_by(DeliveryRow.destination, DeliveryRow.id)
    ).all()
    return StudyRecord(
        line,
        session.scalars(
            select(GenerationRow)
            .where(GenerationRow.study_instance_uid == study_instance_uid)
            .order_by(GenerationRow.number.desc())
        ).all(),
        session.scalars(
            select(InstanceRow).where(InstanceRow.study_instance_uid == study_instance_uid).order_by(InstanceRow.id)
        ).all(),
        session.get(AnalysisRow, (study_instance_uid, line.version)),
        [(result, [d for d in deliveries if d.result_id == result.id]) for result in results],
        session.scalars(
            select(CommitmentRow)
            .where(CommitmentRow.study_instance_uid == study_instance_uid)
            .order_by(CommitmentRow.requested_at.desc())
        ).all(),
    )


def list_associations(session: Session, limit: int) -> Sequence[AssociationRow]:
    """List the last associations, the newest first."""
    newest = select(AssociationRow).order_by(AssociationRow.started_at.desc(), AssociationRow.id.desc())
    return session.scalars(newest.limit(limit)).all()


def list_set_aside(session: Session, limit: int) -> Sequence[InstanceRow]:
    """List the last instances that are kept but not used: quarantined, or in conflict with a known one."""
    set_aside = InstanceRow.state.in_((InstanceState.CONFLICT, InstanceState.QUARANTINED))
    newest = select(InstanceRow).where(set_aside).order_by(InstanceRow.id.desc())
    return session.scalars(newest.limit(limit)).all()


def lanes(session: Session) -> dict[str, Lane]:
    """Count all deliveries by destination and state."""
    found: dict[str, Lane] = {}
    counted = select(DeliveryRow.destination, DeliveryRow.state, func.count())
    for destination, state, count in session.execute(counted.group_by(DeliveryRow.destination, DeliveryRow.state)):
        found.setdefault(destination, Counter())[state] = count
    return found


def list_dead_letters(session: Session, limit: int) -> list[DeliveryLine]:
    """List deliveries that gave up, the last one first."""
    return _deliveries(session, limit, DeliveryState.FAILED)


def list_waiting(session: Session, limit: int) -> list[DeliveryLine]:
    """List deliveries that were tried in vain and will be tried again, the next one first."""
    return _deliveries(session, limit, DeliveryState.PENDING)


def oldest_pending(session: Session) -> dict[str, datetime]:
    """Say for each destination with pending deliveries when the oldest of their objects was made."""
    oldest = (
        select(DeliveryRow.destination, func.min(ResultRow.created_at))
        .join(ResultRow, ResultRow.id == DeliveryRow.result_id)
        .where(DeliveryRow.state == DeliveryState.PENDING)
        .group_by(DeliveryRow.destination)
    )
    return dict(session.execute(oldest).all())


def gauges(session: Session) -> Gauges:
    """Count what a scrape of the metrics reports."""
    return Gauges(
        instances=_count(session, InstanceRow.state),
        studies=_count_study_states(session),
        results=_count(session, ResultRow.state),
        deliveries={(name, state): count for name, lane in lanes(session).items() for state, count in lane.items()},
        associations=_count(session, AssociationRow.outcome),
        oldest_pending_at=oldest_pending(session),
    )


def _lines(session: Session, uids: Sequence[str]) -> list[StudyLine]:
    """Give the lines of these studies, in their order; four questions however many there are."""
    instances: dict[str, Counter[str]] = {uid: Counter() for uid in uids}
    counted = (
        select(InstanceRow.study_instance_uid, InstanceRow.state, func.count())
        .where(InstanceRow.study_instance_uid.in_(uids))
        .group_by(InstanceRow.study_instance_uid, InstanceRow.state)
    )
    for uid, state, count in session.execute(counted):
        instances[str(uid)][state] = count

    deliveries: dict[str, list[tuple[str, DeliveryState, bool, int]]] = {uid: [] for uid in uids}
    columns = (DeliveryRow.study_instance_uid, DeliveryRow.destination, DeliveryRow.state, DeliveryRow.commitment)
    current = (
        select(*columns, func.count())
        .join(
            StudyRow,
            (StudyRow.study_instance_uid == DeliveryRow.study_instance_uid) & (StudyRow.version == DeliveryRow.version),
        )
        .where(DeliveryRow.study_instance_uid.in_(uids))
        .group_by(*columns)
    )
    for uid, destination, state, commitment, count in session.execute(current):
        deliveries[uid].append((destination, DeliveryState(state), commitment, count))

    held_back = set(
        session.scalars(
            select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(uids), _HAS_HELD_BACK)
        )
    )
    rows = select(StudyRow, GenerationRow).join(GenerationRow, _IS_CURRENT).where(StudyRow.study_instance_uid.in_(uids))
    found = {
        study.study_instance_uid: _line(
            study,
            generation,
            instances[study.study_instance_uid],
            deliveries[study.study_instance_uid],
            held_back=study.study_instance_uid in held_back,
        )
        for study, generation in session.execute(rows)
    }
    return [found[uid] for uid in uids if uid in found]


_IS_CURRENT = (GenerationRow.study_instance_uid == StudyRow.study_instance_uid) & (
    GenerationRow.number == StudyRow.generation
)
_HAS_HELD_BACK = has_held_back(ResultRow).where(
    ResultRow.study_instance_uid == StudyRow.study_instance_uid,
    ResultRow.version == StudyRow.version,
)


def _line(
    study: StudyRow,
    generation: GenerationRow,
    instances: Counter[str],
    deliveries: Sequence[tuple[str, DeliveryState, bool, int]],
    *,
    held_back: bool,
) -> StudyLine:
    lanes_of_study: dict[str, Lane] = {}
    for destination, state, _, count in deliveries:
        lanes_of_study.setdefault(destination, Counter())[state.value] += count
    asked_of = [(state, asked) for _, state, asked, _ in deliveries]
    return StudyLine(
        study.study_instance_uid,
        study.scanner_ae_title,
        study_state(GenerationState(generation.state), asked_of, held_back=held_back),
        study.generation,
        study.version,
        study.created_at,
        generation.last_received_at,
        generation.closed_at,
        generation.error,
        instances,
        lanes_of_study,
    )


def _deliveries(session: Session, limit: int, state: DeliveryState) -> list[DeliveryLine]:
    rows = select(DeliveryRow, ResultRow.kind).join(ResultRow, ResultRow.id == DeliveryRow.result_id)
    rows = rows.where(DeliveryRow.state == state)
    if state is DeliveryState.PENDING:
        rows = rows.where(DeliveryRow.attempts > 0).order_by(DeliveryRow.next_attempt_at)
    else:
        rows = rows.order_by(DeliveryRow.id.desc())
    return [DeliveryLine(delivery, kind) for delivery, kind in session.execute(rows.limit(limit))]


def _count(session: Session, column: InstrumentedAttribute[str]) -> dict[str, int]:
    counted = select(column, func.count()).group_by(column)
    return dict(session.execute(counted).all())


def _count_study_states(session: Session) -> dict[str, int]:
    """Count studies by their word.

    The word depends only on which kinds of delivery a study has and whether an object was held back, so the database
    counts the studies of each combination and the rule is applied to the few combinations: it stays in one place,
    ``study_state``.
    """
    kinds = [(state, asked) for state in DeliveryState for asked in (False, True)]
    has = [
        func.coalesce(func.max(case(((DeliveryRow.state == state) & (DeliveryRow.commitment == asked), 1), else_=0)), 0)
        for state, asked in kinds
    ]
    of_each_study = (
        select(
            GenerationRow.state.label("generation"),
            _HAS_HELD_BACK.label("held_back"),
            *(flag.label(f"has_{number}") for number, flag in enumerate(has)),
        )
        .select_from(StudyRow)
        .join(GenerationRow, _IS_CURRENT)
        .outerjoin(
            DeliveryRow,
            (DeliveryRow.study_instance_uid == StudyRow.study_instance_uid) & (DeliveryRow.version == StudyRow.version),
        )
        .group_by(StudyRow.study_instance_uid, StudyRow.version, GenerationRow.state)
        .subquery()
    )
    words: Counter[str] = Counter()
    for generation, held_back, *flags, count in session.execute(
        select(*of_each_study.columns, func.count()).group_by(*of_each_study.columns)
    ):
        present = [kind for kind, flag in zip(kinds, flags, strict=True) if flag]
        words[study_state(GenerationState(generation), present, held_back=bool(held_back))] += count
    return dict(words)
