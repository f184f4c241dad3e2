"""Step 5 and 6 of the walk: an answer is recorded with its deliveries, and each destination gets its objects.

The objects of one answer for one destination are a shipment (``store.deliveries``). Whenever one of them is pending,
exactly one numbered job stands for it; every run takes the number on by one, whatever it achieved.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dicom_node.audit.acts import entity
from dicom_node.config import Destination
from dicom_node.dimse.peer import peer_of
from dicom_node.dimse.storage_scu import Outcome, send_instances
from dicom_node.domain.delivery import GiveUp, retry_decision
from dicom_node.domain.study import DeliveryState, move_delivery
from dicom_node.engine.job import Job
from dicom_node.errors import IllegalTransition, PermanentDeliveryError
from dicom_node.pipeline import auditing, commitment, jobs
from dicom_node.pipeline.completion import analyse_once_more
from dicom_node.pipeline.services import Services
from dicom_node.store.deliveries import (
    Parcel,
    Shipment,
    ShipmentKey,
    held_by,
    load_shipment,
    named,
    to_be_sent_now,
)
from dicom_node.store.result_files import fault
from dicom_node.store.results import Answer, add_recipient, record_answer
from dicom_node.store.tables import DeliveryRow

logger = logging.getLogger(__name__)

LOOK_FOR_DESTINATION_EVERY = timedelta(minutes=1)


def store_answer(services: Services, answer: Answer) -> bool:
    """Record an answer and start its deliveries, in one transaction; False when it was not wanted any more.

    The same answer again changes nothing. When another generation took the version meanwhile, this generation is
    analysed once more under the next.
    """
    now = services.now()
    with services.database.write() as session:
        recipients = record_answer(session, answer, now)
        for destination in recipients or ():
            services.enqueue(session, jobs.deliver(answer.study_instance_uid, answer.version, destination, 0))
    if recipients is None:
        analyse_once_more(services, answer.study_instance_uid, answer.generation)
    return recipients is not None


def deliver(services: Services, study_instance_uid: str, version: int, destination_name: str, attempt: int) -> None:
    """Job: send what is pending of one answer to one destination, on one association, and record each outcome."""
    key = ShipmentKey(study_instance_uid, version, destination_name)
    with services.database.read() as session:
        shipment = load_shipment(session, key)
    pending = shipment.in_state(DeliveryState.PENDING)
    if not pending or shipment.number != attempt:
        return
    destination = services.config().destination(destination_name)
    outcomes = _send(services, destination, pending) if destination else None
    with services.database.write() as session:
        shipment = load_shipment(session, key, lock=True)
        if shipment.number != attempt:
            return
        if outcomes is None:
            _wait_for_destination(services, session, shipment)
        else:
            _record(services, session, shipment, outcomes)


def renew(services: Services, study_instance_uid: str, version: int, destination: str, attempt: int) -> None:
    """Give a shipment its next job, when job ``attempt`` died without a trace; that counts as a failure."""
    key = ShipmentKey(study_instance_uid, version, destination)
    with services.database.write() as session:
        shipment = load_shipment(session, key, lock=True)
        pending = shipment.in_state(DeliveryState.PENDING)
        if not pending or shipment.number != attempt:
            return
        now = services.now()
        # One that only waited for its time keeps waiting; what was due goes at once.
        due = max(now, min(parcel.row.next_attempt_at for parcel in pending))
        for parcel in pending:
            _failed(services, parcel.row, attempt, "the delivery died with its process", retryable=True)
            parcel.row.next_attempt_at = due
        _go_on(services, session, shipment, attempt + 1)


def retry(services: Services, ids: Sequence[int] | None = None) -> list[DeliveryRow]:
    """Send now, with fresh patience, what gave up or waits for a later time; gives the deliveries.

    :param ids: of deliveries; None: all of those. What was cancelled is never among them.
    :raises BadInput: a delivery does not exist.
    :raises IllegalTransition: a delivery was taken, or cancelled.
    """
    with services.database.write() as session:
        if ids is None:
            rows = to_be_sent_now(session, services.now())
        else:
            rows = named(session, ids)
            for row in rows:
                if row.state not in (DeliveryState.PENDING, DeliveryState.FAILED):
                    raise IllegalTransition(f"delivery {row.id} is {row.state}: it is not sent again")
        for key in held_by(rows):
            _send_now(services, session, key, frozenset(row.id for row in rows))
        return rows


def redeliver(services: Services, study_instance_uid: str, destination_name: str) -> int:
    """Give the newest answer to a study to a destination that was added since; says how many objects.

    :raises BadInput: the destination is unknown, or as :func:`~dicom_node.store.results.add_recipient`.
    :raises IllegalTransition: as there.
    """
    destination = services.config().known_destination(destination_name)
    with services.database.write() as session:
        added = add_recipient(session, study_instance_uid, destination, services.now())
        (key,) = held_by(added)
        _send_now(services, session, key, frozenset(row.id for row in added))
    logger.info("%d objects of study %s go to %s", len(added), study_instance_uid, destination_name)
    return len(added)


def _send_now(services: Services, session: Session, key: ShipmentKey, ids: frozenset[int]) -> None:
    shipment = load_shipment(session, key, lock=True)
    now = services.now()
    # A job that is due may be sending at this moment: its outcomes count, and the job after it takes the rest. One that
    # waits becomes stale by the next number, and everything pending travels with the new one.
    under_way = any(parcel.row.next_attempt_at <= now for parcel in shipment.in_state(DeliveryState.PENDING))
    number = shipment.number if under_way else shipment.number + 1
    for parcel in shipment.parcels:
        if parcel.row.id in ids:
            parcel.row.round_start = number
            if parcel.row.state == DeliveryState.FAILED:
                parcel.row.state = move_delivery(DeliveryState.FAILED, DeliveryState.PENDING)
    for parcel in shipment.in_state(DeliveryState.PENDING):
        parcel.row.attempts = number
        parcel.row.next_attempt_at = now
    if not under_way:
        services.enqueue(session, jobs.deliver(key.study_instance_uid, key.version, key.destination, number))


def _send(services: Services, destination: Destination, pending: Sequence[Parcel]) -> dict[int, Outcome]:
    """Send what is whole on the disk; gives the outcome by delivery id."""
    outcomes: dict[int, Outcome] = {}
    whole: list[Parcel] = []
    for parcel in pending:
        path = services.data_dir / parcel.path
        why = fault(services.data_dir, parcel.path, parcel.sha256)
        if why is None:
            whole.append(parcel)
        else:
            outcomes[parcel.row.id] = Outcome(path, error=PermanentDeliveryError(why))
    if whole:
        outcomes.update(_send_and_audit(services, destination, whole))
    return outcomes


def _send_and_audit(services: Services, destination: Destination, whole: Sequence[Parcel]) -> dict[int, Outcome]:
    to = entity(destination.ae_title, destination.host)
    services.audit.sending(to, auditing.sent(services.data_dir, whole))
    paths = [services.data_dir / parcel.path for parcel in whole]
    outcomes = send_instances(peer_of(services.config(), destination), services.config().node.ae_title, paths)
    taken = [parcel for parcel, outcome in zip(whole, outcomes, strict=True) if outcome.error is None]
    problems = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    services.audit.sent(to, auditing.sent(services.data_dir, whole, taken), problems)
    return {parcel.row.id: outcome for parcel, outcome in zip(whole, outcomes, strict=True)}


def _record(services: Services, session: Session, shipment: Shipment, outcomes: Mapping[int, Outcome]) -> None:
    now = services.now()
    number = shipment.number
    for parcel in shipment.in_state(DeliveryState.PENDING):
        outcome = outcomes.get(parcel.row.id)
        if outcome is None:
            continue  # it became pending while we were sending; the next job takes it
        parcel.row.status = outcome.status
        if outcome.error is None:
            _sent(parcel.row, number, outcome, now)
        else:
            _failed(services, parcel.row, number, str(outcome.error), retryable=outcome.error.retryable)
    for parcel in shipment.in_state(DeliveryState.CANCELLED):
        outcome = outcomes.get(parcel.row.id)
        if outcome is not None and outcome.error is None:  # too late: that it was taken is a fact
            _sent(parcel.row, number, outcome, now)
            parcel.row.error = "it was on its way when it was cancelled"
    _warn_of_failures(shipment, outcomes, now)
    _go_on(services, session, shipment, number + 1)


def _warn_of_failures(shipment: Shipment, outcomes: Mapping[int, Outcome], now: datetime) -> None:
    """Say once for all objects which destination did not take them; those that gave up have said so already."""
    waiting = [parcel.row for parcel in shipment.in_state(DeliveryState.PENDING) if parcel.row.id in outcomes]
    if waiting:
        logger.warning(
            "%s did not take %d of %d objects of study %s: %s; the next attempt is in %.0f s",
            shipment.key.destination,
            len(waiting),
            len(outcomes),
            shipment.key.study_instance_uid,
            "; ".join(dict.fromkeys(str(row.error) for row in waiting)),
            (min(row.next_attempt_at for row in waiting) - now).total_seconds(),
        )


def _go_on(services: Services, session: Session, shipment: Shipment, number: int) -> None:
    """Give a shipment its next job while something is pending, and ask for commitment when nothing is."""
    pending = shipment.in_state(DeliveryState.PENDING)
    if pending:
        now = services.now()
        due = min(parcel.row.next_attempt_at for parcel in pending)
        for parcel in pending:
            parcel.row.attempts = number
        services.enqueue(session, _job(shipment.key, number, due, now))
    elif shipment.commits and shipment.in_state(DeliveryState.SENT):
        commitment.begin(services, session, shipment.key)


def _sent(row: DeliveryRow, number: int, outcome: Outcome, now: datetime) -> None:
    row.attempts = number + 1
    row.state = move_delivery(DeliveryState(row.state), DeliveryState.SENT)
    row.sent_at = now
    row.error = outcome.comment


def _failed(services: Services, row: DeliveryRow, number: int, error: str, *, retryable: bool) -> None:
    row.attempts = number + 1
    row.error = error
    decision = retry_decision(
        services.patience.delivery,
        row.attempts - row.round_start,
        retryable=retryable,
        chance=random.random(),  # noqa: S311 - it spreads waits
    )
    if isinstance(decision, GiveUp):
        row.state = move_delivery(DeliveryState(row.state), DeliveryState.FAILED)
        logger.error("delivery %d to %s gave up: %s", row.id, row.destination, error)
    else:
        row.next_attempt_at = services.now() + decision.delay


def _wait_for_destination(services: Services, session: Session, shipment: Shipment) -> None:
    """Keep everything: a destination that was taken out of the configuration may come back."""
    now = services.now()
    due = now + LOOK_FOR_DESTINATION_EVERY
    number = shipment.number + 1
    for parcel in shipment.in_state(DeliveryState.PENDING):
        parcel.row.attempts = number
        parcel.row.round_start = number  # its patience starts when it is back
        parcel.row.next_attempt_at = due
        parcel.row.error = f"no destination named {shipment.key.destination} is in the configuration"
    services.enqueue(session, _job(shipment.key, number, due, now))


def _job(key: ShipmentKey, number: int, due: datetime, now: datetime) -> Job:
    delay = max(due - now, timedelta(0))
    return jobs.deliver(key.study_instance_uid, key.version, key.destination, number, delay)
