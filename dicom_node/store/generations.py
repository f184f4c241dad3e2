"""Opening a generation of a study, and asking it to close."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.orm import Session

from dicom_node.domain.study import GenerationState
from dicom_node.store.tables import GenerationRow, InstanceRow, StudyRow

LOOKED_UP_AT_ONCE = 500  #: UIDs in one query
_GENERATIONS = GenerationRow.metadata.tables[GenerationRow.__tablename__]
_REPEATED = (
    update(_GENERATIONS)
    .where(
        _GENERATIONS.c.study_instance_uid == bindparam("study"),
        _GENERATIONS.c.state == GenerationState.RECEIVING.value,
    )
    .values(last_received_at=bindparam("now"))
)
_ARRIVED = _REPEATED.where(_GENERATIONS.c.number == bindparam("generation"))


@dataclass(frozen=True, slots=True)
class Timer:
    """The closing timer that a generation now needs: number ``tick``."""

    study_instance_uid: str
    generation: int
    tick: int
    scanner_ae_title: str


def lock_study(session: Session, study_instance_uid: str) -> StudyRow | None:
    """Take a study for this transaction, before any of its other rows; None when it is unknown.

    Closing, a late image, an answer and an operator so take turns (on SQLite whole transactions do). The key stays
    free to be referred to: an image of a receiving generation waits for nobody, and nobody for it in a circle.
    """
    return session.get(StudyRow, study_instance_uid, with_for_update={"key_share": True})


def still_receiving(connection: Connection, study_instance_uid: str, generation: int, now: datetime) -> bool:
    """Note that something of this generation arrived now; false when it is not receiving (any more)."""
    arrived = {"study": study_instance_uid, "generation": generation, "now": now}
    return connection.execute(_ARRIVED, arrived).rowcount > 0


def is_repeated(connection: Connection, study_instance_uid: str, now: datetime) -> bool:
    """Note that something known of this study arrived again now; false when none of its generations is receiving."""
    return connection.execute(_REPEATED, {"study": study_instance_uid, "now": now}).rowcount > 0


def receiving_generation(
    session: Session, study_instance_uid: str, scanner_ae_title: str, now: datetime
) -> tuple[int, Timer | None]:
    """Give the generation that an instance arriving now belongs to, and its first timer when it is opened by this.

    A study that is closed, analysed or failed opens its next generation.
    """
    study = lock_study(session, study_instance_uid)
    if study is None:
        study = StudyRow(
            study_instance_uid=study_instance_uid, scanner_ae_title=scanner_ae_title, generation=0, created_at=now
        )
        session.add(study)
    else:
        generation = session.get_one(GenerationRow, (study_instance_uid, study.generation))
        if generation.state == GenerationState.RECEIVING:
            generation.last_received_at = max(generation.last_received_at, now)
            return study.generation, None
    study.generation += 1
    session.flush()
    session.add(
        GenerationRow(
            study_instance_uid=study_instance_uid,
            number=study.generation,
            state=GenerationState.RECEIVING,
            opened_at=now,
            last_received_at=now,
        )
    )
    session.flush()
    return study.generation, Timer(study_instance_uid, study.generation, 0, study.scanner_ae_title)


def ask_to_close(session: Session, study_instance_uid: str, why: str) -> Timer | None:
    """Note that the scanner called its study complete (``mpps`` or ``commitment``); gives the timer to look at once.

    None when the study is not receiving: there is nothing to close.
    """
    study = lock_study(session, study_instance_uid)
    if study is None:
        return None
    generation = session.get_one(GenerationRow, (study_instance_uid, study.generation))
    if generation.state != GenerationState.RECEIVING:
        return None
    generation.close_asked = why
    generation.tick += 1
    return Timer(study_instance_uid, generation.number, generation.tick, study.scanner_ae_title)


def studies_of(session: Session, sop_instance_uids: Collection[str]) -> list[str]:
    """Name the studies that these instances belong to, however many they are."""
    studies: set[str | None] = set()
    for uids in batched(sorted(set(sop_instance_uids)), LOOKED_UP_AT_ONCE):
        found = select(InstanceRow.study_instance_uid).where(InstanceRow.sop_instance_uid.in_(uids)).distinct()
        studies.update(session.scalars(found))
    return sorted(study for study in studies if study is not None)


def have_all_arrived(session: Session, sop_instance_uids: Collection[str]) -> bool:
    """Tell whether the node keeps each of these instances, also those that it quarantined."""
    return all(
        session.scalar(
            select(func.count(InstanceRow.sop_instance_uid.distinct())).where(InstanceRow.sop_instance_uid.in_(uids))
        )
        == len(uids)
        for uids in batched(sorted(set(sop_instance_uids)), LOOKED_UP_AT_ONCE)
    )


def batched(uids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut a list into pieces that fit into one query: SQLite takes 32,766 variables, PostgreSQL 65,535."""
    return (uids[at : at + size] for at in range(0, len(uids), size))
