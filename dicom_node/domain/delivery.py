"""Whether and when something that failed is tried again: pure decisions, made elsewhere into rows and jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient the node is.

    The wait doubles from ``base`` to ``cap``; ``jitter`` spreads it by that fraction to both sides, so that a hundred
    objects do not return to a recovering PACS at the same instant. After ``limit`` failures it gives up.
    """

    base: timedelta = timedelta(seconds=30)
    cap: timedelta = timedelta(hours=6)
    limit: int = 20  # with the default waits: about three days, so a PACS may be away for a weekend
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after this time."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again by itself; a person may."""

    reason: str


def retry_decision(policy: RetryPolicy, failures: int, *, retryable: bool, chance: float) -> RetryAfter | GiveUp:
    """Decide what follows a failure.

    :param failures: how many there were in this round, this one included.
    :param retryable: whether another try can help at all.
    :param chance: a random number, 0 to 1.
    """
    if not retryable:
        return GiveUp("it cannot succeed as it is")
    if failures >= policy.limit:
        return GiveUp(f"gave up after {failures} attempts")
    doublings = min(max(failures - 1, 0), 32)  # a larger power would overflow, far above any cap
    wait = min(policy.base * 2**doublings, policy.cap)
    return RetryAfter(wait * (1 + policy.jitter * (2 * chance - 1)))
