"""Whose images a study holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def of_another_patient(patient_ids: Sequence[str]) -> frozenset[int]:
    """Say which instances (0-based, in order of arrival) name another patient than the rest of their study.

    The rest is the Patient ID (0010,0020) that most instances name; of several equally frequent ones the first that
    arrived. An instance without a Patient ID contradicts nobody.
    """
    named = [patient_id.strip() for patient_id in patient_ids]
    counts = Counter(patient_id for patient_id in named if patient_id)
    if not counts:
        return frozenset()
    most_named = max(counts, key=counts.__getitem__)  # the first of several: a Counter keeps the order of arrival
    return frozenset(number for number, patient_id in enumerate(named) if patient_id not in ("", most_named))
