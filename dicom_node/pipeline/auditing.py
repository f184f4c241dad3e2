"""Of which study and which patient an act was: what the audit trail asks for, read from the files of the study.

The patient id stands in no table and in no log. It is read where it is needed, a few times for each association.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.charset import python_encoding
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_node.audit.acts import Audit, Subject, entity
from dicom_node.audit.message import Participant
from dicom_node.dimse.handlers import Caller, Ending
from dicom_node.dimse.peek import Header, peek
from dicom_node.errors import UnreadableDataset
from dicom_node.store.database import Database
from dicom_node.store.deliveries import Parcel
from dicom_node.store.instances import InstanceState
from dicom_node.store.part10 import data_set_offset
from dicom_node.store.tables import InstanceRow, ResultRow

logger = logging.getLogger(__name__)

_HEAD_BYTES = 64 * 1024
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"  # of our own results, all of them


@dataclass(slots=True)
class _Open:
    """An open association, and what the trail was told of it already."""

    caller: Caller
    studies: set[str] = field(default_factory=set)
    refusal_told: bool = False


class AssociationAudit:
    """Tells the audit trail about the associations of one receiver: each thing once, however many images come."""

    def __init__(self, audit: Audit, database: Database, data_dir: Path) -> None:
        self._audit = audit
        self._database = database
        self._data_dir = data_dir
        self._open: dict[int, _Open] = {}

    def opened(self, association_id: int, caller: Caller) -> None:
        """Remember who calls."""
        self._open[association_id] = _Open(caller)

    def rejected(self, caller: Caller, reason: str) -> None:
        """Tell who was not let in."""
        self._audit.rejected(_who(caller), reason)

    def handshake_failed(self, host: str, reason: str) -> None:
        """Tell who could not prove who it is."""
        self._audit.rejected(entity("", host), f"no TLS connection: {reason}")

    def received(self, association_id: int, study_instance_uid: str | None, header: Header | None) -> None:
        """Tell of whom images begin to come, with the first of each study."""
        it, study = self._open[association_id], study_instance_uid or ""
        if study not in it.studies:
            it.studies.add(study)
            subject = Subject(study, patient_id(header) if header is not None else "")
            self._audit.receiving(_who(it.caller), subject)

    def refused(self, association_id: int) -> None:
        """Tell that our own results came back, with the first of them."""
        it = self._open[association_id]
        if not it.refusal_told:
            it.refusal_told = True
            reason = "it sent results of this node itself, which are not taken back"
            self._audit.refused(_who(it.caller), reason)

    def ended(self, association_id: int, ending: Ending) -> None:
        """Tell what came, study by study."""
        it = self._open.pop(association_id)
        if not it.studies:
            return
        try:
            with self._database.read() as session:
                subjects = received(session, self._data_dir, association_id)
        except SQLAlchemyError:
            logger.exception("the audit trail lacks what association %d delivered", association_id)
            return
        refused = f"{ending.instances_refused} instances were refused" if ending.instances_refused else None
        for subject in subjects:
            self._audit.received(_who(it.caller), subject, ending.reason or refused)


def _who(caller: Caller) -> Participant:
    return entity(caller.calling_ae_title, caller.host)


def received(session: Session, data_dir: Path, association_id: int) -> list[Subject]:
    """Say which instances of which studies an association delivered; what belongs to no study comes under no UID."""
    query = (
        select(InstanceRow.study_instance_uid, InstanceRow.sop_class_uid, func.count())
        .where(InstanceRow.association_id == association_id)
        .group_by(InstanceRow.study_instance_uid, InstanceRow.sop_class_uid)
    )
    classes: dict[str | None, dict[str, int]] = {}
    for study, sop_class, count in session.execute(query):
        classes.setdefault(study, {})[sop_class] = count
    return [
        Subject(study or "", _patient_of(session, data_dir, study) if study else "", counts)
        for study, counts in classes.items()
    ]


def known(session: Session, data_dir: Path, study_instance_uid: str) -> Subject:
    """Say of which patient a study is."""
    return Subject(study_instance_uid, _patient_of(session, data_dir, study_instance_uid))


def sent(data_dir: Path, parcels: Sequence[Parcel], taken: Sequence[Parcel] | None = None) -> Subject:
    """Say of whom the objects of a shipment are, and how many of which class are meant or, if given, were taken."""
    counts = Counter(parcel.reference.sop_class_uid for parcel in (parcels if taken is None else taken))
    patient = _patient_in(data_dir / parcels[0].path, _EXPLICIT_LITTLE_ENDIAN)
    return Subject(parcels[0].row.study_instance_uid, patient, counts)


def patient_id(header: Header) -> str:
    """Give the Patient ID (0010,0020) in the character set that the instance names; empty when it has none."""
    encoding = python_encoding.get(header["SpecificCharacterSet"].partition("\\")[0].strip(), "latin-1")
    return header["PatientID"].encode("latin-1").decode(encoding, "replace")


def _patient_of(session: Session, data_dir: Path, study_instance_uid: str) -> str:
    """Read it from an image of the study or, when these are gone, from a result."""
    images = select(InstanceRow.path, InstanceRow.transfer_syntax_uid).where(
        InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.state == InstanceState.STORED
    )
    made = select(ResultRow.path).where(ResultRow.study_instance_uid == study_instance_uid)
    for path, syntax in session.execute(images.limit(1)):
        return _patient_in(data_dir / path, syntax)
    for path in session.scalars(made.limit(1)):
        return _patient_in(data_dir / path, _EXPLICIT_LITTLE_ENDIAN)
    return ""


def _patient_in(file: Path, transfer_syntax_uid: str) -> str:
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        return patient_id(peek(head[data_set_offset(head) :], transfer_syntax_uid))
    except (OSError, struct.error, UnreadableDataset):
        return ""
