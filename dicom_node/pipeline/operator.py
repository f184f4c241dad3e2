"""What a person may tell the node about a study: try again, or give it up."""

from __future__ import annotations

import logging

from sqlalchemy import select

from dicom_node.domain.study import DeliveryState, GenerationState, move_delivery, move_generation
from dicom_node.errors import BadInput, IllegalTransition
from dicom_node.pipeline import delivery, jobs
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


retry_deliveries = delivery.retry
redeliver = delivery.redeliver
