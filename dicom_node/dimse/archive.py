"""A small archive for the demo and for trying a set-up: stores what it is sent, and commits what it really has."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, build_role, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

logger = logging.getLogger(__name__)

NO_SUCH_OBJECT_INSTANCE = 0x0112  # PS3.3 C.14.1.1 Failure Reason
ALL_COMMITTED, SOME_FAILED = 1, 2  # event type ids, PS3.4 J.3.3


class Archive:
    """A storage SCP with storage commitment, keeping one file per instance under ``folder``.

    It answers a commitment request on a new association to ``requester`` (host, port), as most archives do.
    """

    def __init__(self, ae_title: str, folder: Path, port: int, requester: tuple[str, int]) -> None:
        self.ae_title = ae_title
        self.folder = folder
        self.port = port
        self.requester = requester
        self._ae = AE(ae_title)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        self._ae.add_supported_context(StorageCommitmentPushModel)
        self._ae.add_supported_context(Verification)
        self._server: Any = None

    def start(self) -> None:
        """Listen on loopback."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = self._ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_C_ECHO, lambda _event: 0x0000),
                (evt.EVT_N_ACTION, self._commit),
            ],
        )

    def stop(self) -> None:
        """Stop listening and end open associations."""
        if self._server is not None:
            self._server.shutdown()

    def files(self) -> list[Path]:
        """List what is stored."""
        return sorted(self.folder.glob("*.dcm"))

    def _store(self, event: Any) -> int:
        uid = UID(event.request.AffectedSOPInstanceUID)
        if not uid.is_valid:
            return 0xA900
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(self.folder / f"{uid}.dcm", enforce_file_format=True)
        return 0x0000

    def _commit(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        calling = str(event.assoc.requestor.ae_title).strip()
        # The report may only come after the N-ACTION response (PS3.4 J.3.3), so it is sent beside this handler.
        threading.Thread(target=self._report, args=(request, calling), daemon=True).start()
        return 0x0000, None

    def _report(self, request: Dataset, calling: str) -> None:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        have, lack = [], []
        for item in request.ReferencedSOPSequence:
            reference = Dataset()
            reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            if self._holds(item.ReferencedSOPInstanceUID):
                have.append(reference)
            else:
                reference.FailureReason = NO_SUCH_OBJECT_INSTANCE
                lack.append(reference)
        report.ReferencedSOPSequence = have
        if lack:
            report.FailedSOPSequence = lack
        ae = AE(self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)  # we are the SCP here (PS3.7 D.3.3.4)
        association = ae.associate(*self.requester, ae_title=calling, ext_neg=[role])
        if not association.is_established:
            logger.warning("%s cannot reach %s to report a commitment", self.ae_title, calling)
            return
        association.send_n_event_report(
            report,
            SOME_FAILED if lack else ALL_COMMITTED,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        association.release()

    def _holds(self, uid: str) -> bool:
        file = self.folder / f"{UID(uid)}.dcm"
        return file.is_file() and dcmread(file, stop_before_pixels=True).SOPInstanceUID == uid
