"""The jobs of the walk, in its order. Each is named by the row it looks at and its attempt number."""

from __future__ import annotations

from datetime import timedelta

from dicom_node.engine.job import Job

NOW = timedelta(0)


def close_study(study_instance_uid: str, generation: int, tick: int, delay: timedelta) -> Job:
    """Look whether a generation is complete. One timer lives per generation, not per image; ``tick`` numbers it."""
    return Job(
        "close_study",
        "io",
        f"close:{study_instance_uid}:{generation}:{tick}",
        (study_instance_uid, generation, tick),
        delay,
    )


def analyse_study(study_instance_uid: str, generation: int, attempt: int, delay: timedelta = NOW) -> Job:
    """Analyse a closed generation and store the answer."""
    return Job(
        "analyse_study",
        "analysis",
        f"analyse:{study_instance_uid}:{generation}:{attempt}",
        (study_instance_uid, generation, attempt),
        delay,
    )


def deliver(study_instance_uid: str, version: int, destination: str, attempt: int, delay: timedelta = NOW) -> Job:
    """Send every pending object of one answer to one destination, on one association."""
    return Job(
        "deliver",
        "io",
        f"deliver:{study_instance_uid}:{version}:{destination}:{attempt}",
        (study_instance_uid, version, destination, attempt),
        delay,
        lane=destination,
    )


def request_commitment(transaction_uid: str, destination: str, delay: timedelta = NOW) -> Job:
    """Ask a destination to commit what it took. Asking again is a new transaction."""
    return Job(
        "request_commitment", "io", f"commit:{transaction_uid}", (transaction_uid, destination), delay, lane=destination
    )


def check_commitment(transaction_uid: str, destination: str, delay: timedelta) -> Job:
    """Look whether the answer to a commitment request came in time."""
    return Job(
        "check_commitment", "io", f"check:{transaction_uid}", (transaction_uid, destination), delay, lane=destination
    )


def answer_commitment(request_id: int, calling_ae_title: str, attempt: int, delay: timedelta = NOW) -> Job:
    """Tell a scanner, on a new association, which of its instances the node keeps."""
    return Job(
        "answer_commitment",
        "io",
        f"answer:{request_id}:{attempt}",
        (request_id, attempt),
        delay,
        lane=calling_ae_title,
    )
