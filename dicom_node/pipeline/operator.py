"""What a person may tell the node about a study: try again, send again, or give it up. Each order is audited."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_node.audit.acts import operator
from dicom_node.domain.study import DeliveryState, GenerationState, move_delivery, move_generation
from dicom_node.errors import BadInput, IllegalTransition
from dicom_node.pipeline import auditing, delivery, jobs
from dicom_node.pipeline.services import Services
from dicom_node.store.generations import lock_study
from dicom_node.store.instances import InstanceState
from dicom_node.store.tables import DeliveryRow, GenerationRow, InstanceRow

logger = logging.getLogger(__name__)

CANCELLED = "cancelled: "  #: begins the error of a generation that a person gave up
_UNSENT = (DeliveryState.PENDING, DeliveryState.FAILED)


def retry_study(services: Services, study_instance_uid: str) -> None:
    """Analyse the current generation of a study again: after a failure, or for a new version of its answer.

    :raises BadInput: the study is unknown, or retention removed its images.
    :raises IllegalTransition: it is still receiving, or waits for its analysis already.
    """
    with services.database.write() as session:
        study = lock_study(session, study_instance_uid)
        if study is None:
            raise BadInput(f"there is no study {study_instance_uid}")
        row = session.get_one(GenerationRow, (study_instance_uid, study.generation), with_for_update=True)
        if row.state not in (GenerationState.ANALYSED, GenerationState.FAILED):
            raise IllegalTransition(f"the study is {row.state}: it will be analysed without being asked")
        states = set(session.scalars(select(InstanceRow.state).filter_by(study_instance_uid=study_instance_uid)))
        if InstanceState.REMOVED in states and InstanceState.STORED not in states:
            raise BadInput("no image of the study is left to analyse: retention removed them; send them again first")
        row.state = move_generation(GenerationState(row.state), GenerationState.CLOSED)
        row.attempt += 1
        row.round_start = row.attempt
        row.error = None
        row.closed_at = services.now()  # the date of the new answer
        services.enqueue(session, jobs.analyse_study(study_instance_uid, row.number, row.attempt))
    _audit(services, study_instance_uid, "study retry")


def cancel_study(services: Services, study_instance_uid: str, reason: str) -> None:
    """Give a study up: what is not analysed stays so, what is not sent is not sent. Its instances are kept.

    :raises BadInput: the study is unknown.
    :raises IllegalTransition: there is nothing left to cancel.
    """
    with services.database.write() as session:
        study = lock_study(session, study_instance_uid)
        if study is None:
            raise BadInput(f"there is no study {study_instance_uid}")
        row = session.get_one(GenerationRow, (study_instance_uid, study.generation), with_for_update=True)
        deliveries = select(DeliveryRow).filter_by(study_instance_uid=study_instance_uid)
        unsent = list(session.scalars(deliveries.where(DeliveryRow.state.in_(_UNSENT)).with_for_update()))
        waits = row.state in (GenerationState.RECEIVING, GenerationState.CLOSED)
        if not waits and not unsent:
            raise IllegalTransition("everything of this study is done: there is nothing to cancel")
        if waits:
            row.state = move_generation(GenerationState(row.state), GenerationState.FAILED)
            row.error = f"{CANCELLED}{reason}"
        for item in unsent:
            item.state = move_delivery(DeliveryState(item.state), DeliveryState.CANCELLED)
            item.error = reason
    logger.info("study %s was cancelled: %s", study_instance_uid, reason)
    _audit(services, study_instance_uid, "study cancel", reason)


def redeliver(services: Services, study_instance_uid: str, destination: str) -> int:
    """Give a destination the newest answer, as :func:`dicom_node.pipeline.delivery.redeliver`."""
    count = delivery.redeliver(services, study_instance_uid, destination)
    _audit(services, study_instance_uid, "study redeliver", f"to {destination}")
    return count


def retry_deliveries(services: Services, ids: Sequence[int] | None = None) -> int:
    """Send now what failed or waits, as :func:`dicom_node.pipeline.delivery.retry`."""
    rows = delivery.retry(services, ids)
    for study in dict.fromkeys(row.study_instance_uid for row in rows):
        _audit(services, study, "delivery retry")
    return len(rows)


def view_study(services: Services, session: Session, study_instance_uid: str) -> None:
    """Take down that a person looked at a study."""
    services.audit.viewed(operator(), auditing.known(session, services.data_dir, study_instance_uid))


def _audit(services: Services, study_instance_uid: str, order: str, reason: str = "") -> None:
    with services.database.read() as session:
        subject = auditing.known(session, services.data_dir, study_instance_uid)
    services.audit.ordered(operator(), subject, order, reason)
