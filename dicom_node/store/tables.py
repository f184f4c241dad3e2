"""Every table of the node. These rows are the truth; the engine's jobs only say "look at this row".

Times are aware UTC. Pixel data never enters the database. The names avoid those of the engine's own tables, which on
SQLite live in the same file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Uid = String(64)  # PS3.5 9.1


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive time rather than guess its zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the time back with its zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The metadata, with names for every constraint so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class AssociationRow(Base):
    """One association with a scanner or any other caller: the log, and the proof that one is still delivering."""

    __tablename__ = "associations"

    id: Mapped[int] = mapped_column(primary_key=True)
    receiver: Mapped[str] = mapped_column(String(64))  #: process that serves it; its lock tells whether it lives
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    called_ae_title: Mapped[str] = mapped_column(String(16))
    host: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(String(16))  #: open, released, aborted, rejected, lost
    reason: Mapped[str | None] = mapped_column(Text)  #: in plain words, when it was rejected, aborted or lost
    #: each proposed presentation context: id, abstract_syntax, transfer_syntaxes, accepted, transfer_syntax, reason
    contexts: Mapped[list[Any]]
    instances_accepted: Mapped[int] = mapped_column(default=0)
    instances_refused: Mapped[int] = mapped_column(default=0)
    incoming_study_uid: Mapped[str | None] = mapped_column(String(64))  #: of an instance that takes long to arrive

    __table_args__ = (Index(None, "outcome", "receiver"), Index(None, "started_at"))


class StudyRow(Base):
    """One study and the generation it is in."""

    __tablename__ = "studies"

    study_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    scanner_ae_title: Mapped[str] = mapped_column(String(16))  #: who sent its first instance; its policy closes it
    generation: Mapped[int]  #: the current one, from 1
    version: Mapped[int] = mapped_column(default=0)  #: the newest answer, 0 while there is none
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "created_at", "study_instance_uid"),)  # the order of the lists, all in the index


class GenerationRow(Base):
    """One generation of a study: opened by an instance, closed once, analysed."""

    __tablename__ = "generations"

    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))  #: domain.study.GenerationState
    opened_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    close_asked: Mapped[str | None] = mapped_column(String(16))  #: mpps or commitment: the scanner said "complete"
    closed_at: Mapped[datetime | None]
    close_reason: Mapped[str | None] = mapped_column(Text)
    tick: Mapped[int] = mapped_column(default=0)  #: number of the live closing timer
    attempt: Mapped[int] = mapped_column(default=0)  #: number of the live analysis job
    round_start: Mapped[int] = mapped_column(default=0)  #: number at which an operator's last retry began
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "state"),)


class InstanceRow(Base):
    """One received instance. The same UID with the same bytes is one row; with other bytes it is another, flagged."""

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    #: null when the data set could not be parsed that far
    study_instance_uid: Mapped[str | None] = mapped_column(ForeignKey("studies.study_instance_uid"))
    series_instance_uid: Mapped[str | None] = mapped_column(Uid)
    generation: Mapped[int | None]
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    sha256: Mapped[str] = mapped_column(String(64))  #: of the encoded data set as it came, without file meta
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(String(255))  #: relative to data_dir; a name of ours, never from the network
    state: Mapped[str] = mapped_column(String(16))  #: store.instances.InstanceState
    reason: Mapped[str | None] = mapped_column(Text)
    association_id: Mapped[int | None] = mapped_column(ForeignKey("associations.id"))
    received_at: Mapped[datetime]

    __table_args__ = (
        Index(None, "sop_instance_uid", "sha256", unique=True),
        Index(None, "study_instance_uid", "generation"),
        Index(None, "association_id"),
    )


class AnalysisRow(Base):
    """One answer of the node to one study: version 1, 2, ... A new version names its predecessor in its objects."""

    __tablename__ = "analyses"

    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    models: Mapped[dict[str, Any]]  #: task -> {version, weights_sha256}
    summary: Mapped[list[Any]]  #: findings in words, for people: {task, name, value, unit, frame, note}


class ResultRow(Base):
    """One object that the node made. Stored before it is sent; the bytes never change."""

    __tablename__ = "results"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"))
    version: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))  #: findings_sr, biometry_sr, secondary_capture, ...
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    series_instance_uid: Mapped[str] = mapped_column(Uid)
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(String(255))
    profile: Mapped[str] = mapped_column(Text, default="")  #: the mark of the profile that it is written for
    state: Mapped[str] = mapped_column(String(16))  #: ready, or quarantined by the conformance gate
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "study_instance_uid", "version"),)


class DeliveryRow(Base):
    """One result object on its way to one destination."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"))
    #: of the result, repeated here because one association carries the objects of one answer to one destination
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"))
    version: Mapped[int]
    destination: Mapped[str] = mapped_column(String(64))
    commitment: Mapped[bool]  #: whether the destination is asked to commit it
    state: Mapped[str] = mapped_column(String(16))  #: domain.study.DeliveryState
    attempts: Mapped[int] = mapped_column(default=0)  #: number of the next job, one for all objects sent together
    round_start: Mapped[int] = mapped_column(default=0)  #: number at which this round of attempts began
    next_attempt_at: Mapped[datetime]
    status: Mapped[int | None]  #: last DIMSE status
    error: Mapped[str | None] = mapped_column(Text)
    sent_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "result_id", "destination", unique=True),
        Index(None, "study_instance_uid", "version", "destination"),
        Index(None, "state", "next_attempt_at"),
    )


class CommitmentRow(Base):
    """One storage commitment transaction in which the node is the SCU: N-ACTION out, N-EVENT-REPORT in."""

    __tablename__ = "commitments"

    transaction_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("studies.study_instance_uid"))
    version: Mapped[int]
    destination: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))  #: domain.study.CommitmentState
    requested_at: Mapped[datetime]
    due_at: Mapped[datetime]  #: when to look again: no answer by then means "unconfirmed"
    answered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "state", "due_at"), Index(None, "study_instance_uid", "version", "destination"))


class CommitmentRequestRow(Base):
    """One storage commitment transaction in which the node is the SCP: a scanner asks whether we keep its instances."""

    __tablename__ = "commitment_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(Uid)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    host: Mapped[str] = mapped_column(String(255))
    items: Mapped[list[Any]]  #: [{sop_class_uid, sop_instance_uid}]
    state: Mapped[str] = mapped_column(String(16))  #: pending, answered, failed
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    received_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(None, "calling_ae_title", "transaction_uid", unique=True),
        Index(None, "state", "next_attempt_at"),
    )


class PerformedProcedureStepRow(Base):
    """One Modality Performed Procedure Step as a scanner reported it (PS3.4 Annex F)."""

    __tablename__ = "performed_procedure_steps"

    sop_instance_uid: Mapped[str] = mapped_column(Uid, primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(String(16))
    study_instance_uids: Mapped[list[Any]]
    status: Mapped[str] = mapped_column(String(16))  #: IN PROGRESS, COMPLETED, DISCONTINUED
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
