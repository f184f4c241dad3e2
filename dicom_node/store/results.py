"""The answers of the node: one analysis, its objects and who is to receive them, recorded in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Exists, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from dicom_node.config import Destination
from dicom_node.domain.study import DeliveryState, GenerationState, move_delivery, move_generation
from dicom_node.errors import BadInput, IllegalTransition
from dicom_node.profile import ESSENTIAL
from dicom_node.store.generations import lock_study
from dicom_node.store.tables import AnalysisRow, DeliveryRow, GenerationRow, ResultRow

READY = "ready"
QUARANTINED = "quarantined"
_UNSENT = (DeliveryState.PENDING, DeliveryState.FAILED)


@dataclass(frozen=True, slots=True)
class AnswerObject:
    """One object of an answer, already on the disk (``store.result_files.write_result``).

    :ivar profile: the mark of the profile that it is written for.
    :ivar quarantined: why the conformance gate refused it; such an object is kept and never sent.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    sha256: str
    profile: str = ""
    quarantined: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node says about one generation of a study.

    :ivar destinations: who receives it: those whose profiles the objects were written for.
    """

    study_instance_uid: str
    generation: int
    version: int
    started_at: datetime
    models: Mapping[str, Any]
    summary: Sequence[Mapping[str, Any]]
    objects: Sequence[AnswerObject]
    destinations: Sequence[Destination]


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to analyse: what to analyse, and which version the answer will be."""

    study_instance_uid: str
    generation: int
    version: int


def claim_analysis(session: Session, study_instance_uid: str, generation: int, attempt: int) -> Claim | None:
    """Say whether this job is still wanted; None when the generation is answered, cancelled or has a newer job.

    None also when a later generation was answered meanwhile: its answer covers this one, which is marked so. To answer
    it now would replace the answer about all images by one about some.
    """
    study = lock_study(session, study_instance_uid)
    row = session.get(GenerationRow, (study_instance_uid, generation), with_for_update=True)
    if row is None or study is None or row.state != GenerationState.CLOSED or row.attempt != attempt:
        return None
    later = _answered_after(session, study_instance_uid, generation)
    if later is not None:
        row.state = move_generation(GenerationState(row.state), GenerationState.ANALYSED)
        row.error = f"covered by generation {later}"
        return None
    return Claim(study_instance_uid, generation, study.version + 1)


def _answered_after(session: Session, study_instance_uid: str, generation: int) -> int | None:
    return session.scalar(
        select(func.max(GenerationRow.number)).where(
            GenerationRow.study_instance_uid == study_instance_uid,
            GenerationRow.number > generation,
            GenerationRow.state == GenerationState.ANALYSED,
        )
    )


def record_answer(session: Session, answer: Answer, now: datetime) -> tuple[str, ...] | None:
    """Record an answer with its objects and deliveries, and say which destinations have something to get.

    Each gets the objects of its profile. What was not sent to it of earlier answers is withdrawn, unless the gate held
    back an essential part of this one.
    None, and nothing is changed, when the generation has its answer already or the version was taken meanwhile.
    """
    study = lock_study(session, answer.study_instance_uid)
    generation = session.get(GenerationRow, (answer.study_instance_uid, answer.generation), with_for_update=True)
    if study is None or generation is None or generation.state != GenerationState.CLOSED:
        return None
    if study.version != answer.version - 1:
        return None
    study.version = answer.version
    generation.state = move_generation(GenerationState(generation.state), GenerationState.ANALYSED)
    generation.error = None
    session.add(
        AnalysisRow(
            study_instance_uid=answer.study_instance_uid,
            version=answer.version,
            generation=answer.generation,
            started_at=answer.started_at,
            finished_at=now,
            models=dict(answer.models),
            summary=[dict(line) for line in answer.summary],
        )
    )
    recipients: dict[str, str] = {}  # destination -> mark of its profile
    for item in answer.objects:
        result = _result_row(answer, item, now)
        session.add(result)
        session.flush()
        for destination in answer.destinations:
            if result.state == READY and result.profile == destination.profile.mark:
                session.add(_delivery_row(result, destination, now))
                recipients[destination.name] = result.profile
    session.flush()
    incomplete = {item.profile for item in answer.objects if item.quarantined is not None and item.kind in ESSENTIAL}
    _withdraw_older(session, answer, [name for name, profile in recipients.items() if profile not in incomplete])
    return tuple(recipients)


def _withdraw_older(session: Session, answer: Answer, destinations: Iterable[str]) -> None:
    """Cancel what these destinations have not got of earlier answers: it would reach a reader after its replacement."""
    unsent = select(DeliveryRow).where(
        DeliveryRow.study_instance_uid == answer.study_instance_uid,
        DeliveryRow.version < answer.version,
        DeliveryRow.destination.in_(destinations),
        DeliveryRow.state.in_(_UNSENT),
    )
    _withdraw(session.scalars(unsent.with_for_update()), replaced_by(answer.version))


def _withdraw(rows: Iterable[DeliveryRow], why: str) -> None:
    for row in rows:
        row.state = move_delivery(DeliveryState(row.state), DeliveryState.CANCELLED)
        row.error = why


def add_recipient(
    session: Session, study_instance_uid: str, destination: Destination, now: datetime
) -> list[DeliveryRow]:
    """Give the newest answer to a destination that was added since: its objects, not sent yet.

    They are born as if they had failed, for whoever brings failed ones under way. What the destination has not got of
    earlier answers is withdrawn.

    :raises BadInput: the study is unknown, has no answer, or no whole one in the form that the destination wants.
    :raises IllegalTransition: the destination was given the answer already, or one in another form, which this one
        does not name as its predecessor.
    """
    study = lock_study(session, study_instance_uid)
    if study is None:
        raise BadInput(f"there is no study {study_instance_uid}")
    mark = destination.profile.mark
    written = [row for row in results_of(session, study_instance_uid, study.version) if row.profile == mark]
    sound = [row for row in written if row.state == READY]
    if not sound or any(row.state == QUARANTINED and row.kind in ESSENTIAL for row in written):
        raise BadInput(f"no whole answer is written as {destination.name} wants it: `study retry` makes one")
    before = session.execute(
        select(DeliveryRow, ResultRow.profile)
        .join(ResultRow, ResultRow.id == DeliveryRow.result_id)
        .where(DeliveryRow.study_instance_uid == study_instance_uid, DeliveryRow.destination == destination.name)
        .with_for_update(of=DeliveryRow)
    ).all()
    if {row.result_id for row, _ in before} & {row.id for row in sound}:
        raise IllegalTransition(f"{destination.name} was given this answer already: see `delivery list`")
    if any(row.state != DeliveryState.CANCELLED and profile != mark for row, profile in before):
        raise IllegalTransition(f"{destination.name} was given an answer in another form: `study retry` replaces it")
    _withdraw((row for row, _ in before if row.state in _UNSENT), replaced_by(study.version))
    added = [_delivery_row(row, destination, now, DeliveryState.FAILED) for row in sound]
    session.add_all(added)
    session.flush()
    return added


def replaced_by(version: int) -> str:
    """Say why an object of an earlier answer is not sent."""
    return f"replaced by version {version} of the answer"


def replacement(session: Session, study_instance_uid: str, version: int, destination: str) -> int | None:
    """Name the newer answer that a destination gets in the place of this one, if there is one."""
    given, other = aliased(ResultRow), aliased(ResultRow)
    incomplete = has_held_back(other).where(
        other.study_instance_uid == given.study_instance_uid,
        other.version == given.version,
        other.profile == given.profile,
    )
    return session.scalar(
        select(func.max(DeliveryRow.version))
        .join(given, given.id == DeliveryRow.result_id)
        .where(
            DeliveryRow.study_instance_uid == study_instance_uid,
            DeliveryRow.version > version,
            DeliveryRow.destination == destination,
            ~incomplete,
        )
    )


def has_held_back(result: type[ResultRow]) -> Exists:
    """Ask whether the gate held back an object without which there is no answer."""
    return exists().where(result.state == QUARANTINED, result.kind.in_(ESSENTIAL))


def _result_row(answer: Answer, item: AnswerObject, now: datetime) -> ResultRow:
    return ResultRow(
        study_instance_uid=answer.study_instance_uid,
        version=answer.version,
        kind=item.kind,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=item.series_instance_uid,
        sha256=item.sha256,
        path=item.path,
        profile=item.profile,
        state=READY if item.quarantined is None else QUARANTINED,
        reason=item.quarantined,
        created_at=now,
    )


def _delivery_row(
    result: ResultRow, destination: Destination, now: datetime, state: DeliveryState = DeliveryState.PENDING
) -> DeliveryRow:
    return DeliveryRow(
        result_id=result.id,
        study_instance_uid=result.study_instance_uid,
        version=result.version,
        destination=destination.name,
        commitment=destination.commitment,
        state=state,
        next_attempt_at=now,
    )


def results_of(session: Session, study_instance_uid: str, version: int) -> list[ResultRow]:
    """List the objects of one answer, in the order they were made."""
    query = select(ResultRow).filter_by(study_instance_uid=study_instance_uid, version=version).order_by(ResultRow.id)
    return list(session.scalars(query))


def newest_ready(
    session: Session, study_instance_uid: str, kind: str, profile: str = "", destinations: Collection[str] = ()
) -> list[ResultRow]:
    """List the objects of one kind in the newest answer that has a sound one: those that a new answer replaces.

    They are those written for the same profile, and those that its destinations were given in another form before.
    """
    given = select(DeliveryRow.result_id).where(
        DeliveryRow.study_instance_uid == study_instance_uid, DeliveryRow.destination.in_(destinations)
    )
    query = (
        select(ResultRow)
        .filter_by(study_instance_uid=study_instance_uid, kind=kind, state=READY)
        .where(or_(ResultRow.profile == profile, ResultRow.id.in_(given)))
        .order_by(ResultRow.version.desc(), ResultRow.id)
    )
    rows = list(session.scalars(query))
    return [row for row in rows if row.version == rows[0].version]
