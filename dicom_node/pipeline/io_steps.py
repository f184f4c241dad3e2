"""Which function runs which job of the ``io`` queue, and what an I/O worker does at intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from dicom_node.engine.worker import Periodic
from dicom_node.pipeline import commitment, completion, delivery
from dicom_node.pipeline.reconciliation import reconcile
from dicom_node.pipeline.retention import clean_up
from dicom_node.pipeline.services import Services

RECONCILE_EVERY_S = 60.0
CLEAN_UP_EVERY_S = 3600.0


def io_steps(services: Services) -> Mapping[str, Callable[..., None]]:
    """Give the functions of the ``io`` queue by the names of their jobs (``pipeline.jobs``)."""
    return {
        "close_study": partial(completion.close_study, services),
        "deliver": partial(delivery.deliver, services),
        "request_commitment": partial(commitment.request, services),
        "check_commitment": partial(commitment.check, services),
        "answer_commitment": partial(commitment.answer_request, services),
    }


def io_rounds(services: Services, reconcile_every_s: float = RECONCILE_EVERY_S) -> tuple[Periodic, ...]:
    """Give what is done at intervals beside the jobs."""
    return (
        Periodic("reconciler", reconcile_every_s, lambda: reconcile(services)),
        Periodic("retention", CLEAN_UP_EVERY_S, lambda: clean_up(services)),
    )
