"""What the listener asks of the rest of the node, as one record of functions: dimse itself knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.dimse.contexts import ContextDecision
from dicom_node.dimse.status import Answer
from dicom_node.domain.result import SopReference


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of an association."""

    calling_ae_title: str
    called_ae_title: str
    host: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How an association ended.

    :ivar outcome: ``released``, ``aborted`` (by either side, on purpose) or ``lost`` (the connection broke).
    """

    outcome: str
    reason: str | None
    instances_accepted: int
    instances_refused: int


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One C-STORE request, as its command says; the identifiers are not checked yet."""

    association_id: int
    calling_ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """The answer to a storage commitment request: what is kept, and what is not with its failure reason."""

    transaction_uid: str
    committed: tuple[SopReference, ...]
    failed: tuple[tuple[SopReference, int], ...]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The acts behind the listener. Each returns only when what it promises is durable."""

    association_opened: Callable[[Caller, Sequence[ContextDecision], str | None], int]
    association_rejected: Callable[[Caller, Sequence[ContextDecision], str], None]
    #: A caller from this host failed the TLS handshake, and why: it has no certificate that we trust, or speaks no TLS.
    handshake_failed: Callable[[str, str], None]
    association_ended: Callable[[int, Ending], None]
    #: Takes the encoded data set in pieces as they arrive. What it does not consume, the listener reads and drops.
    store: Callable[[StoreRequest, Iterator[memoryview]], Answer]
    procedure_step_created: Callable[[Caller, str, Dataset], Answer]
    procedure_step_set: Callable[[Caller, str, Dataset], Answer]
    #: A scanner asks whether we keep its instances: transaction UID, references. Stores the question.
    commitment_requested: Callable[[Caller, str, Sequence[SopReference]], Answer]
    #: What to answer to the calling AE title's transaction, looked up on the disk; None when it was answered already.
    commitment_report: Callable[[str, str], CommitmentReport | None]
    #: The calling AE title took the report of this transaction.
    commitment_reported: Callable[[str, str], None]
    #: A destination reports on our own request: transaction UID, committed UIDs, failed (UID, reason).
    on_commitment_report: Callable[[str, Sequence[str], Sequence[tuple[str, int]]], None]
