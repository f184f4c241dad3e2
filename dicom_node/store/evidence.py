"""What an analysis looks at: every instance of a study, and what was set aside with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.store.instances import InstanceState
from dicom_node.store.tables import GenerationRow, InstanceRow


@dataclass(frozen=True, slots=True)
class EvidenceInstance:
    """One instance of a study.

    :ivar path: relative to data_dir.
    :ivar set_aside: why it must not be analysed (other bytes under a known UID, unparsable), or None.
    """

    sop_instance_uid: str
    path: str
    sha256: str
    set_aside: str | None


def evidence_of(session: Session, study_instance_uid: str, generation: int) -> list[EvidenceInstance]:
    """List the instances of a study up to and including a generation, in the order of their arrival."""
    query = (
        select(InstanceRow)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.generation <= generation)
        .order_by(InstanceRow.id)
    )
    return [
        EvidenceInstance(
            row.sop_instance_uid,
            row.path,
            row.sha256,
            None if row.state == InstanceState.STORED else row.reason or row.state,
        )
        for row in session.scalars(query)
    ]


def moment_closed(session: Session, study_instance_uid: str, generation: int) -> datetime:
    """Give the moment a generation closed: the date of its answer, the same for every attempt."""
    row = session.get_one(GenerationRow, (study_instance_uid, generation))
    return row.closed_at or row.last_received_at
