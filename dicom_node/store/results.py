"""The answers of the node: one analysis, its objects and who is to receive them, recorded in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.config import Destination
from dicom_node.domain.study import DeliveryState, GenerationState, move_delivery, move_generation
from dicom_node.store.generations import lock_study
from dicom_node.store.tables import AnalysisRow, DeliveryRow, GenerationRow, ResultRow

READY = "ready"
QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class AnswerObject:
    """One object of an answer, already on the disk (``store.result_files.write_result``).

    :ivar quarantined: why the conformance gate refused it; such an object is kept and never sent.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    sha256: str
    quarantined: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node says about one generation of a study."""

    study_instance_uid: str
    generation: int
    version: int
    started_at: datetime
    models: Mapping[str, Any]
    summary: Sequence[Mapping[str, Any]]
    objects: Sequence[AnswerObject]


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


def record_answer(
    session: Session, answer: Answer, destinations: Sequence[Destination], now: datetime
) -> tuple[str, ...] | None:
    """Record an answer with its objects and deliveries, and say which destinations have something to get.

    At those, what was not sent of earlier answers is withdrawn, unless the gate held back a part of this one.
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
    recipients: dict[str, None] = {}
    for item in answer.objects:
        result = _result_row(answer, item, now)
        session.add(result)
        session.flush()
        for destination in destinations:
            if result.state == READY and item.kind in destination.send:
                session.add(_delivery_row(result, destination, now))
                recipients[destination.name] = None
    session.flush()
    if all(item.quarantined is None for item in answer.objects):
        _withdraw_older(session, answer, recipients)
    return tuple(recipients)


def _withdraw_older(session: Session, answer: Answer, destinations: Iterable[str]) -> None:
    """Cancel what these destinations have not got of earlier answers: it would reach a reader after its replacement."""
    unsent = select(DeliveryRow).where(
        DeliveryRow.study_instance_uid == answer.study_instance_uid,
        DeliveryRow.version < answer.version,
        DeliveryRow.destination.in_(destinations),
        DeliveryRow.state.in_((DeliveryState.PENDING, DeliveryState.FAILED)),
    )
    for row in session.scalars(unsent.with_for_update()):
        row.state = move_delivery(DeliveryState(row.state), DeliveryState.CANCELLED)
        row.error = replaced_by(answer.version)


def replaced_by(version: int) -> str:
    """Say why an object of an earlier answer is not sent."""
    return f"replaced by version {version} of the answer"


def replacement(session: Session, study_instance_uid: str, version: int, destination: str) -> int | None:
    """Name the newer answer that a destination gets in the place of this one, if there is one."""
    incomplete = select(ResultRow.version).where(
        ResultRow.study_instance_uid == study_instance_uid, ResultRow.state == QUARANTINED
    )
    return session.scalar(
        select(func.max(DeliveryRow.version)).where(
            DeliveryRow.study_instance_uid == study_instance_uid,
            DeliveryRow.version > version,
            DeliveryRow.destination == destination,
            DeliveryRow.version.not_in(incomplete),
        )
    )


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
        state=READY if item.quarantined is None else QUARANTINED,
        reason=item.quarantined,
        created_at=now,
    )


def _delivery_row(result: ResultRow, destination: Destination, now: datetime) -> DeliveryRow:
    return DeliveryRow(
        result_id=result.id,
        study_instance_uid=result.study_instance_uid,
        version=result.version,
        destination=destination.name,
        commitment=destination.commitment,
        state=DeliveryState.PENDING,
        next_attempt_at=now,
    )


def results_of(session: Session, study_instance_uid: str, version: int) -> list[ResultRow]:
    """List the objects of one answer, in the order they were made."""
    query = select(ResultRow).filter_by(study_instance_uid=study_instance_uid, version=version).order_by(ResultRow.id)
    return list(session.scalars(query))


def newest_ready(session: Session, study_instance_uid: str, kind: str) -> list[ResultRow]:
    """List the objects of one kind in the newest answer that has a sound one: those that a new answer replaces."""
    query = select(ResultRow).filter_by(study_instance_uid=study_instance_uid, kind=kind, state=READY)
    rows = list(session.scalars(query.order_by(ResultRow.version.desc(), ResultRow.id)))
    return [row for row in rows if row.version == rows[0].version]
