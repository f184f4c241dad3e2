"""The life of one study, as tables.

A study is received in generations: the first closes, and a late image opens the next. What a person is told about a
study (:func:`study_state`) is derived from the rows, so it can never disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from dicom_node.errors import IllegalTransition


class GenerationState(StrEnum):
    """Where a generation stands."""

    RECEIVING = "receiving"  #: instances may still come
    CLOSED = "closed"  #: complete, waits for analysis
    ANALYSED = "analysed"  #: result objects are stored
    FAILED = "failed"  #: analysis gave up, or an operator cancelled it


class DeliveryState(StrEnum):
    """Where one result object stands with one destination."""

    PENDING = "pending"  #: to be sent, now or later
    SENT = "sent"  #: the destination answered success
    COMMITTED = "committed"  #: the destination took responsibility (storage commitment)
    FAILED = "failed"  #: dead letter: gave up, an operator may retry
    CANCELLED = "cancelled"  #: an operator gave it up, or a newer answer replaced it: never sent


class CommitmentState(StrEnum):
    """Where one storage commitment transaction stands (PS3.4 Annex J)."""

    REQUESTED = "requested"  #: N-ACTION is due or was sent, no answer yet
    CONFIRMED = "confirmed"  #: N-EVENT-REPORT: all instances committed
    FAILED = "failed"  #: N-EVENT-REPORT: some instances are not
    UNCONFIRMED = "unconfirmed"  #: no answer in time; asked again under a new transaction


GENERATION_MOVES: dict[GenerationState, frozenset[GenerationState]] = {
    GenerationState.RECEIVING: frozenset({GenerationState.CLOSED, GenerationState.FAILED}),
    GenerationState.CLOSED: frozenset({GenerationState.ANALYSED, GenerationState.FAILED}),
    GenerationState.ANALYSED: frozenset({GenerationState.CLOSED}),  # an operator's re-run
    GenerationState.FAILED: frozenset({GenerationState.CLOSED}),  # an operator's retry
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.CANCELLED}),
    # the PACS lost it, and it is sent again unless it is not wanted any more
    DeliveryState.SENT: frozenset({DeliveryState.COMMITTED, DeliveryState.PENDING, DeliveryState.CANCELLED}),
    DeliveryState.COMMITTED: frozenset(),
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING, DeliveryState.CANCELLED}),  # pending: an operator's retry
    DeliveryState.CANCELLED: frozenset({DeliveryState.SENT}),  # it was on its way already
}


def move_generation(now: GenerationState, to: GenerationState) -> GenerationState:
    """Check a move of a generation against the table."""
    if to not in GENERATION_MOVES[now]:
        raise IllegalTransition(f"a generation cannot go from {now} to {to}")
    return to


def move_delivery(now: DeliveryState, to: DeliveryState) -> DeliveryState:
    """Check a move of a delivery against the table."""
    if to not in DELIVERY_MOVES[now]:
        raise IllegalTransition(f"a delivery cannot go from {now} to {to}")
    return to


def study_state(
    generation: GenerationState, deliveries: Iterable[tuple[DeliveryState, bool]], *, held_back: bool = False
) -> str:
    """Give the one word for a study: receiving, closed, analysed, delivered, committed or failed.

    :param deliveries: of the generation's current version, each with whether its destination is asked to commit.
        "committed" means that every object of every committing destination is; destinations that are not asked only
        need to have accepted theirs.
    :param held_back: whether the conformance gate quarantined a report or a capture of that version, which so reaches
        nobody; the optional kinds only repeat what those say.
    """
    rows = list(deliveries)
    if generation is not GenerationState.ANALYSED:
        return generation.value
    if held_back or any(state in (DeliveryState.FAILED, DeliveryState.CANCELLED) for state, _ in rows):
        return "failed"
    if not rows:
        return generation.value
    if any(state is DeliveryState.PENDING for state, _ in rows):
        return "analysed"
    asked = [state for state, commits in rows if commits]
    return "committed" if asked and all(state is DeliveryState.COMMITTED for state in asked) else "delivered"


def close_in(
    now: datetime,
    last_received_at: datetime,
    opened_at: datetime,
    *,
    quiet: timedelta,
    cap: timedelta,
    association_open: bool,
    asked_to_close: bool,
) -> timedelta:
    """Say how long to wait before a study may close; zero or less: now.

    A study never closes while an association that delivers to it is open. Otherwise it closes when the scanner said
    that it is complete (MPPS COMPLETED or a storage commitment request), when nothing came for ``quiet``, or ``cap``
    after its first instance, whichever is first.
    """
    if association_open:
        return max(timedelta(seconds=1), min(quiet, timedelta(seconds=5)))
    if asked_to_close:
        return timedelta(0)
    return min(last_received_at + quiet, opened_at + cap) - now
