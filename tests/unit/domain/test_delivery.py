from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.delivery import GiveUp, RetryAfter, RetryPolicy, retry_decision

STEADY = RetryPolicy(jitter=0)


def waits(policy: RetryPolicy) -> list[timedelta]:
    decisions = (retry_decision(policy, n, retryable=True, chance=0.5) for n in range(1, policy.limit))
    return [decision.delay for decision in decisions if isinstance(decision, RetryAfter)]


def test_waits_double_up_to_the_cap() -> None:
    assert [wait.total_seconds() for wait in waits(STEADY)[:4]] == [30, 60, 120, 240]
    assert waits(STEADY)[-1] == timedelta(hours=6)


def test_a_destination_may_be_away_for_a_weekend() -> None:
    assert sum(waits(STEADY), timedelta()) > timedelta(hours=60)


def test_it_ends() -> None:
    assert retry_decision(STEADY, STEADY.limit, retryable=True, chance=0) == GiveUp("gave up after 20 attempts")


def test_what_cannot_succeed_is_not_tried_again() -> None:
    assert isinstance(retry_decision(STEADY, 1, retryable=False, chance=0), GiveUp)


@given(failures=st.integers(0, 10_000), chance=st.floats(0, 1))
def test_every_wait_is_positive_and_near_its_cap_at_most(failures: int, chance: float) -> None:
    decision = retry_decision(RetryPolicy(limit=100_000), failures, retryable=True, chance=chance)
    assert isinstance(decision, RetryAfter)
    assert timedelta(seconds=24) <= decision.delay <= timedelta(hours=6) * 1.2
