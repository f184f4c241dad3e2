"""Whose images a study holds, and whether they are all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def of_another(names: Sequence[str]) -> frozenset[int]:
    """Say which instances (0-based, in order of arrival) name another patient, or another study, than the rest.

    The rest is the Patient ID (0010,0020), or the Study Instance UID (0020,000D), that most instances name; of several
    equally frequent ones the first that arrived. An instance that names none contradicts nobody.
    """
    named = [name.strip() for name in names]
    counts = Counter(name for name in named if name)
    if not counts:
        return frozenset()
    most_named = max(counts, key=counts.__getitem__)  # the first of several: a Counter keeps the order of arrival
    return frozenset(number for number, name in enumerate(named) if name not in ("", most_named))
