"""Storage commitment, the calling side of both roles (PS3.4 Annex J).

As SCU the node asks a destination to commit (N-ACTION) and takes the report on the same association, or on a new one
that the listener accepts. As SCP it reports to a scanner on a new association, with the roles turned round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from dicom_node.dimse.commitment_messages import REQUEST_COMMITMENT, action_information, event_information, reported
from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.dimse.peer import Peer, Proposal, Timeouts, associate, no_answer
from dicom_node.domain.result import SopReference
from dicom_node.errors import NothingAccepted, PermanentDeliveryError, TransientDeliveryError

SYNTAXES = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian))
#: An N-ACTION status that no later try will change (PS3.7 Annex C): unsupported, refused, or no such action.
PERMANENT = frozenset({0x0112, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211, 0x0212})

#: Takes transaction UID, committed UIDs, failed UIDs each with its reason.
OnReport = Callable[[str, Sequence[str], Sequence[tuple[str, int]]], object]


def request_commitment(
    peer: Peer,
    calling_ae_title: str,
    transaction_uid: str,
    references: Sequence[SopReference],
    on_report: OnReport,
    *,
    settled: Callable[[], bool],
    linger_s: float = 2.0,
    timeouts: Timeouts | None = None,
) -> None:
    """Ask a peer to commit instances, then wait a little on the same association, where some peers report.

    :param settled: tells whether the report was taken meanwhile, on whichever association it came.
    :raises TransientDeliveryError: no association, no answer, or a status that may change.
    :raises PermanentDeliveryError: the peer does not offer storage commitment, or refuses it for good.
    """
    timeouts = timeouts or Timeouts()

    def take_report(event: Any) -> tuple[int, None]:
        on_report(*reported(event.event_information))
        return 0x0000, None

    proposals = [Proposal(StorageCommitmentPushModel, SYNTAXES)]
    handlers = [(evt.EVT_N_EVENT_REPORT, take_report)]
    with (
        _commitment_offered(peer),
        associate(peer, calling_ae_title, proposals, timeouts, handlers) as association,
    ):
        begun = time.monotonic()
        status, _ = association.send_n_action(
            action_information(transaction_uid, references),
            REQUEST_COMMITMENT,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        if "Status" not in status:
            raise no_answer(peer, association, timeouts, time.monotonic() - begun)
        if status.Status != 0:
            comment = f" ({status.ErrorComment})" if status.get("ErrorComment") else ""
            kind = PermanentDeliveryError if status.Status in PERMANENT else TransientDeliveryError
            raise kind(
                f"{peer} answered the commitment request with {status.Status:04X}{comment}", status=status.Status
            )
        deadline = time.monotonic() + linger_s
        while association.is_established and time.monotonic() < deadline and not settled():
            time.sleep(0.05)


@contextmanager
def _commitment_offered(peer: Peer) -> Iterator[None]:
    """Say what to do about a peer that takes none of our proposals: there is only one."""
    try:
        yield
    except NothingAccepted as error:
        raise PermanentDeliveryError(
            f"{peer} offers no storage commitment; with `commitment: false` for this destination it is not asked"
        ) from error


def report_commitment(
    peer: Peer, calling_ae_title: str, report: CommitmentReport, timeouts: Timeouts | None = None
) -> None:
    """Report to a scanner, as its storage commitment SCP on an association of our own.

    :raises DeliveryError: the scanner did not take the report.
    """
    timeouts = timeouts or Timeouts()
    event_type, information = event_information(report)
    proposals = [Proposal(StorageCommitmentPushModel, SYNTAXES, as_scp=True)]
    with associate(peer, calling_ae_title, proposals, timeouts) as association:
        begun = time.monotonic()
        try:
            status, _ = association.send_n_event_report(
                information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except ValueError as error:  # pynetdicom: the scanner did not grant us the SCP role
            raise PermanentDeliveryError(f"{peer} does not let us report: it granted no SCP role") from error
        if "Status" not in status:
            raise no_answer(peer, association, timeouts, time.monotonic() - begun)
        if status.Status != 0:
            raise TransientDeliveryError(
                f"{peer} answered the commitment report with {status.Status:04X}", status=status.Status
            )
