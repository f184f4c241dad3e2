"""Step 7 of the walk: a destination is asked to take responsibility, and a scanner's own question is answered.

A report may come at once, late, twice or never. What it says of an instance is a fact and is recorded whenever it
comes; what stays unsaid is asked again, under a new transaction, a limited number of times.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from dicom_node.dimse.commitment import report_commitment, request_commitment
from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.dimse.peer import Peer, peer_of
from dicom_node.domain.delivery import GiveUp, retry_decision
from dicom_node.domain.result import SopReference
from dicom_node.domain.study import CommitmentState, DeliveryState, move_delivery
from dicom_node.errors import DeliveryError
from dicom_node.pipeline import jobs
from dicom_node.pipeline.services import Services
from dicom_node.store import commitment_requests
from dicom_node.store.commitments import add_transaction, has_open_transaction, key_of
from dicom_node.store.deliveries import Parcel, ShipmentKey, load_shipment
from dicom_node.store.results import replaced_by, replacement
from dicom_node.store.tables import CommitmentRequestRow, CommitmentRow

logger = logging.getLogger(__name__)

DICOM_PORT = 104  #: well-known; reports go there when the scanner is no longer in the configuration
_REASONS = {  # Failure Reason (0008,1197), PS3.3 C.14.1.1
    0x0110: "it failed while processing",
    0x0112: "it has no such object",
    0x0119: "class and instance do not agree",
    0x0122: "it does not support the SOP class",
    0x0131: "it knows this transaction already",
    0x0213: "it is limited in resources",
}
_SOP_CLASS_NOT_SUPPORTED = 0x0122


def begin(
    services: Services, session: Session, key: ShipmentKey, *, attempt: int = 0, delay: timedelta = jobs.NOW
) -> None:
    """Start a transaction for what a destination has taken, unless the answer to one is still awaited."""
    if has_open_transaction(session, key):
        return
    now = services.now()
    uid = f"2.25.{uuid.uuid4().int}"  # PS3.5 B.2
    due_at = now + delay + services.patience.commitment_answer
    add_transaction(session, uid, key, attempt=attempt, now=now, due_at=due_at)
    services.enqueue(session, jobs.request_commitment(uid, key.destination, delay))


def request(services: Services, transaction_uid: str, destination_name: str) -> None:
    """Job: send the request of one transaction."""
    with services.database.read() as session:
        row = session.get(CommitmentRow, transaction_uid)
        if row is None or row.state != CommitmentState.REQUESTED:
            return
        sent = load_shipment(session, key_of(row)).in_state(DeliveryState.SENT)
    if not sent:  # a late report to an earlier request settled everything
        _unconfirmed(services, transaction_uid, "nothing was left to ask for", retryable=False)
        return
    destination = services.config().destination(destination_name)
    if destination is None:
        error = f"no destination named {destination_name} is in the configuration"
        _unconfirmed(services, transaction_uid, error, retryable=True)
        return
    try:
        request_commitment(
            peer_of(services.config(), destination),
            services.config().node.ae_title,
            transaction_uid,
            [parcel.reference for parcel in sent],
            lambda uid, committed, failed: on_report(services, uid, committed, failed),
            settled=lambda: _is_settled(services, transaction_uid),
            linger_s=services.patience.commitment_linger_s,
        )
    except DeliveryError as error:
        _unconfirmed(services, transaction_uid, str(error), retryable=error.retryable)
        return
    with services.database.write() as session:
        row = session.get(CommitmentRow, transaction_uid, with_for_update=True)
        if row is not None and row.state == CommitmentState.REQUESTED:
            row.due_at = services.now() + services.patience.commitment_answer
            wait = services.patience.commitment_answer
            services.enqueue(session, jobs.check_commitment(transaction_uid, destination_name, wait))


def check(services: Services, transaction_uid: str, _destination: str) -> None:
    """Job: look whether the answer came in time."""
    _unconfirmed(services, transaction_uid, "no commitment report came in time", retryable=True)


def on_report(
    services: Services, transaction_uid: str, committed: Sequence[str], failed: Sequence[tuple[str, int]]
) -> bool:
    """Record an N-EVENT-REPORT, on whichever association it came; False when no such transaction is ours.

    Recording it twice changes nothing, and one that comes after we stopped waiting counts all the same. An instance
    that the destination has not kept is sent again, within the patience of deliveries.
    """
    now = services.now()
    with services.database.write() as session:
        row = session.get(CommitmentRow, transaction_uid, with_for_update=True)
        if row is None:
            logger.warning("a commitment report for the unknown transaction %s was dropped", transaction_uid)
            return False
        first = row.answered_at is None
        shipment = load_shipment(session, key_of(row), lock=True)
        sent = {p.reference.sop_instance_uid: p for p in shipment.in_state(DeliveryState.SENT)}
        for sop_instance_uid in committed:
            if parcel := sent.pop(sop_instance_uid, None):
                parcel.row.state = move_delivery(DeliveryState(parcel.row.state), DeliveryState.COMMITTED)
                parcel.row.committed_at = now
                parcel.row.error = None
        if not first:
            return True  # what it once called lost was sent again since
        number = shipment.number
        for sop_instance_uid, reason in failed:
            if parcel := sent.pop(sop_instance_uid, None):
                _not_committed(services, session, parcel, number, reason)
        row.state = CommitmentState.FAILED if failed else CommitmentState.CONFIRMED
        row.answered_at = now
        row.error = _in_words(failed)
        if failed:
            logger.warning("%s did not commit everything it took: %s", row.destination, row.error)
        pending = shipment.in_state(DeliveryState.PENDING)
        if pending:
            due = min(parcel.row.next_attempt_at for parcel in pending)
            wait = max(due - now, timedelta(0))
            job = jobs.deliver(row.study_instance_uid, row.version, row.destination, number, wait)
            services.enqueue(session, job)
        elif any(parcel.row.commitment for parcel in sent.values()):
            _ask_again(services, session, row, "the report says nothing of it", retryable=True)
    return True


def answer_request(services: Services, request_id: int, attempt: int) -> None:
    """Job: tell a scanner on a new association which of its instances the node really keeps.

    The row is claimed, and the next try enqueued, before the instances are read back: nobody else reports meanwhile,
    and a process that dies over it is made good by the next try.
    """
    with services.database.write() as session:
        row = session.get(CommitmentRequestRow, request_id, with_for_update=True)
        if row is None or row.state != commitment_requests.PENDING or row.attempts != attempt:
            return
        _next_try(services, session, row, "the report died with its process")
        claimed = row.attempts
    with services.database.read() as session:
        found = commitment_requests.assess(session, services.data_dir, commitment_requests.references_of(row))
    with services.database.read() as session:
        if _claimed(session, request_id, claimed) is None:
            return
    report = CommitmentReport(
        row.transaction_uid,
        tuple(SopReference(*reference) for reference in found.committed),
        tuple((SopReference(sop_class, uid), reason) for sop_class, uid, reason in found.failed),
    )
    failure: DeliveryError | None = None
    try:
        report_commitment(_scanner(services, row), services.config().node.ae_title, report)
    except DeliveryError as error:
        failure = error  # it may have been set up wrongly: every failure is worth another try
    with services.database.write() as session:
        row = _claimed(session, request_id, claimed)
        if row is None:
            return
        if failure is None:
            commitment_requests.mark_answered(row, services.now())
        else:
            row.error = f"{failure}; it is given up" if row.state == commitment_requests.FAILED else str(failure)


def renew_answer(services: Services, request_id: int, attempt: int) -> None:
    """Give a scanner's request its next job, when job ``attempt`` died without a trace."""
    with services.database.write() as session:
        row = session.get(CommitmentRequestRow, request_id, with_for_update=True)
        if row is not None and row.state == commitment_requests.PENDING and row.attempts == attempt:
            _next_try(services, session, row, "the report died with its process")


def _claimed(session: Session, request_id: int, claimed: int) -> CommitmentRequestRow | None:
    """Give a request while it is still claimed under this number and not answered."""
    row = session.get(CommitmentRequestRow, request_id, with_for_update=True)
    if row is None or row.state == commitment_requests.ANSWERED or row.attempts != claimed:
        return None
    return row


def _is_settled(services: Services, transaction_uid: str) -> bool:
    with services.database.read() as session:
        row = session.get(CommitmentRow, transaction_uid)
        return row is None or row.answered_at is not None


def _not_committed(services: Services, session: Session, parcel: Parcel, number: int, reason: int) -> None:
    """Send an object again, unless that cannot help or a newer answer has taken its place."""
    row = parcel.row
    row.status = reason
    row.error = f"the destination did not commit it: {_REASONS.get(reason, f'reason {reason:04X}')}"
    newer = replacement(session, row.study_instance_uid, row.version, row.destination)
    if newer is not None:
        row.state = move_delivery(DeliveryState(row.state), DeliveryState.CANCELLED)
        row.error += f"; {replaced_by(newer)}"
        return
    row.state = move_delivery(DeliveryState(row.state), DeliveryState.PENDING)
    decision = retry_decision(
        services.patience.delivery,
        number - row.round_start,
        retryable=reason != _SOP_CLASS_NOT_SUPPORTED,
        chance=random.random(),  # noqa: S311 - it spreads waits
    )
    if isinstance(decision, GiveUp):
        row.state = move_delivery(DeliveryState(row.state), DeliveryState.FAILED)
    else:
        row.attempts = number
        row.next_attempt_at = services.now() + decision.delay


def _unconfirmed(services: Services, transaction_uid: str, error: str, *, retryable: bool) -> None:
    with services.database.write() as session:
        row = session.get(CommitmentRow, transaction_uid, with_for_update=True)
        if row is None or row.state != CommitmentState.REQUESTED:
            return
        row.state = CommitmentState.UNCONFIRMED
        row.error = error
        logger.warning("%s did not confirm its commitment: %s", row.destination, error)
        session.flush()
        _ask_again(services, session, row, error, retryable=retryable)


def _ask_again(services: Services, session: Session, row: CommitmentRow, error: str, *, retryable: bool) -> None:
    """Start the next transaction for what is still only sent, or say that nobody will ask again."""
    key = key_of(row)
    sent = load_shipment(session, key, lock=True).in_state(DeliveryState.SENT)
    if not sent:
        return
    decision = retry_decision(
        services.patience.commitment,
        row.attempt + 1,
        retryable=retryable,
        chance=random.random(),  # noqa: S311 - it spreads waits
    )
    if isinstance(decision, GiveUp):
        for parcel in sent:
            parcel.row.error = f"commitment not confirmed: {error}; {decision.reason}"
        return
    for parcel in sent:
        parcel.row.error = f"commitment not confirmed yet: {error}"
    begin(services, session, key, attempt=row.attempt + 1, delay=decision.delay)


def _next_try(services: Services, session: Session, row: CommitmentRequestRow, error: str) -> None:
    """Count the try that begins and enqueue the one after it; the last is ``failed`` unless it succeeds."""
    row.attempts += 1
    row.error = error
    decision = retry_decision(
        services.patience.commitment,
        row.attempts,
        retryable=True,
        chance=random.random(),  # noqa: S311 - it spreads waits
    )
    if isinstance(decision, GiveUp):
        row.state = commitment_requests.FAILED
        row.error = f"{error}; {decision.reason}"
        return
    delay = max(decision.delay, commitment_requests.LONGEST_ASSESSMENT)
    row.next_attempt_at = services.now() + delay
    services.enqueue(session, jobs.answer_commitment(row.id, row.calling_ae_title, row.attempts, delay))


def _scanner(services: Services, row: CommitmentRequestRow) -> Peer:
    """Say where a scanner takes reports: where a destination of that AE title listens, else at its entry's port."""
    config = services.config()
    for destination in config.destinations:
        if destination.ae_title == row.calling_ae_title:
            return peer_of(config, destination)
    scanner = config.scanner(row.calling_ae_title)
    return Peer(row.calling_ae_title, row.host, scanner.port if scanner else DICOM_PORT)


def _in_words(failed: Sequence[tuple[str, int]]) -> str | None:
    reasons = sorted({_REASONS.get(reason, f"reason {reason:04X}") for _, reason in failed})
    return f"{len(failed)} not committed: {', '.join(reasons)}" if failed else None
