"""A real storage and commitment SCP that can be told to misbehave in every way that the node must survive."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from conftest import free_port
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance, Verification

Commits = Literal["new association", "same association", "never", "late", "twice"]


@dataclass
class FakePacs:
    """What it does is changed while it runs by setting its fields.

    :ivar statuses: answers to the next C-STORE requests, then 0x0000 for ever; a str is the Error Comment.
    :ivar stall_s: how long it keeps silent before it answers a C-STORE.
    :ivar stop_reading: it stops reading from the network in the middle of an object.
    :ivar abort_at: it aborts while taking the C-STORE of this number (1-based).
    :ivar refuses_duplicates: it answers 0x0111 for an instance that it holds.
    :ivar loses: SOP Instance UIDs that it answers "success" for, but later says it does not have.
    """

    ae_title: str = "FAKE_PACS"
    port: int = field(default_factory=free_port)
    reports_to: tuple[str, int] = ("127.0.0.1", 0)
    transfer_syntaxes: Sequence[str] = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    only_classes: Sequence[str] | None = None
    require_called: bool = False
    known_callers: Sequence[str] = ()
    maximum_associations: int = 10
    offers_commitment: bool = True
    statuses: list[int | tuple[int, str]] = field(default_factory=list)
    refuses_duplicates: bool = False
    stall_s: float = 0
    stop_reading: bool = False
    abort_at: int | None = None
    commits: Commits = "new association"
    late_s: float = 1.0
    tls: ssl.SSLContext | None = None
    action_status: int = 0x0000
    loses: set[str] = field(default_factory=set)
    failure_reason: int = 0x0112
    received: list[str] = field(default_factory=list)
    held: dict[str, Dataset] = field(default_factory=dict)
    associations: int = 0
    transactions: list[Dataset] = field(default_factory=list)
    _server: Any = None
    _released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        ae = AE(self.ae_title)
        ae.require_called_aet = self.require_called
        ae.require_calling_aet = list(self.known_callers)
        ae.maximum_associations = self.maximum_associations
        for context in AllStoragePresentationContexts:
            if self.only_classes is None or context.abstract_syntax in self.only_classes:
                ae.add_supported_context(context.abstract_syntax, list(self.transfer_syntaxes))
        ae.add_supported_context(Verification)
        if self.offers_commitment:
            ae.add_supported_context(StorageCommitmentPushModel)
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            ssl_context=self.tls,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_C_ECHO, lambda _: 0x0000),
                (evt.EVT_N_ACTION, self._commit),
                (evt.EVT_ACCEPTED, self._count),
                (evt.EVT_PDU_RECV, self._read),
            ],
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()

    def _count(self, _event: Any) -> None:
        self.associations += 1

    def _read(self, _event: Any) -> None:
        if self.stop_reading and self.associations:
            self._released.wait(30)

    def _store(self, event: Any) -> int | Dataset:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.received.append(uid)
        if self.abort_at == len(self.received):
            event.assoc.abort()
            return 0x0000
        if self.stall_s:
            self._released.wait(self.stall_s)
        if self.refuses_duplicates and uid in self.held:
            self.statuses.insert(0, 0x0111)
        said = self.statuses.pop(0) if self.statuses else 0x0000
        status, comment = said if isinstance(said, tuple) else (said, "")
        if status == 0 or 0xB000 <= status <= 0xBFFF:
            self.held[uid] = event.dataset
            self.held[uid].file_meta = event.file_meta
        answer = Dataset()
        answer.Status = status
        if comment:
            answer.ErrorComment = comment
        return answer

    def _commit(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        self.transactions.append(request)
        if self.action_status == 0 and self.commits != "never":
            threading.Thread(target=self._report, args=(event.assoc, request), daemon=True).start()
        return self.action_status, None

    def _report(self, association: Any, request: Dataset) -> None:
        if self.commits == "same association":
            time.sleep(0.1)  # after the N-ACTION response
            self._send_report(association, request)
            return
        if self.commits == "late":
            time.sleep(self.late_s)
        for _ in range(2 if self.commits == "twice" else 1):
            ae = AE(self.ae_title)
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            new = ae.associate(*self.reports_to, ae_title="DICOM_NODE", ext_neg=[role])
            if new.is_established:
                self._send_report(new, request)
                new.release()

    def _send_report(self, association: Any, request: Dataset) -> bool:
        """Report, and say whether the report was taken."""
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence, failed = [], []
        for item in request.ReferencedSOPSequence:
            reference = Dataset()
            reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            if item.ReferencedSOPInstanceUID in self.loses or item.ReferencedSOPInstanceUID not in self.held:
                reference.FailureReason = self.failure_reason
                failed.append(reference)
            else:
                report.ReferencedSOPSequence.append(reference)
        if failed:
            report.FailedSOPSequence = failed
        answer, _ = association.send_n_event_report(
            report, 2 if failed else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return bool(answer.get("Status") == 0)
