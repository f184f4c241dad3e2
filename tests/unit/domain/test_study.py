"""The life of a study, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.domain.study import (
    DELIVERY_MOVES,
    GENERATION_MOVES,
    DeliveryState,
    GenerationState,
    close_in,
    move_delivery,
    move_generation,
    study_state,
)
from dicom_node.errors import IllegalTransition

G, D = GenerationState, DeliveryState


@pytest.mark.parametrize(
    ("generation", "deliveries", "word"),
    [
        (G.RECEIVING, [], "receiving"),
        (G.CLOSED, [], "closed"),
        (G.FAILED, [], "failed"),
        (G.ANALYSED, [], "analysed"),
        (G.ANALYSED, [(D.PENDING, True)], "analysed"),
        (G.ANALYSED, [(D.SENT, True), (D.PENDING, True)], "analysed"),
        (G.ANALYSED, [(D.SENT, True), (D.COMMITTED, True)], "delivered"),
        (G.ANALYSED, [(D.SENT, False), (D.COMMITTED, True)], "committed"),
        (G.ANALYSED, [(D.SENT, False)], "delivered"),
        (G.ANALYSED, [(D.FAILED, True), (D.COMMITTED, True)], "failed"),
        (G.ANALYSED, [(D.CANCELLED, True), (D.COMMITTED, True)], "failed"),
        (G.CLOSED, [(D.COMMITTED, True)], "closed"),  # a late image: the old answer is not the new one
    ],
)
def test_one_word_for_a_study(generation: G, deliveries: list[tuple[D, bool]], word: str) -> None:
    assert study_state(generation, deliveries) == word


def test_an_object_that_was_held_back_is_a_failure() -> None:
    assert study_state(G.ANALYSED, [(D.COMMITTED, True)], held_back=True) == "failed"
    assert study_state(G.ANALYSED, [], held_back=True) == "failed"
    assert study_state(G.CLOSED, [], held_back=True) == "closed"  # a new answer is on its way


def test_illegal_moves_raise() -> None:
    for state in G:
        for to in set(G) - GENERATION_MOVES[state]:
            with pytest.raises(IllegalTransition):
                move_generation(state, to)
    for was in D:
        for then in set(D) - DELIVERY_MOVES[was]:
            with pytest.raises(IllegalTransition):
                move_delivery(was, then)


def test_what_was_cancelled_is_never_to_be_sent_again() -> None:
    assert D.PENDING not in DELIVERY_MOVES[D.CANCELLED]
    assert D.CANCELLED in DELIVERY_MOVES[D.PENDING] & DELIVERY_MOVES[D.FAILED]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("quiet_for_s", "open_for_s", "association_open", "asked", "waits"),
    [
        (0, 0, False, False, True),
        (10, 10, False, False, False),
        (9, 900, False, False, False),  # the cap
        (0, 1, False, True, False),  # the scanner said it is complete
        (60, 60, True, False, True),  # still delivering: never
        (60, 1000, True, True, True),  # not even when asked, not even past the cap
    ],
)
def test_when_a_study_closes(
    quiet_for_s: int, open_for_s: int, *, association_open: bool, asked: bool, waits: bool
) -> None:
    wait = close_in(
        NOON,
        NOON - timedelta(seconds=quiet_for_s),
        NOON - timedelta(seconds=open_for_s),
        quiet=timedelta(seconds=10),
        cap=timedelta(seconds=900),
        association_open=association_open,
        asked_to_close=asked,
    )
    assert (wait > timedelta(0)) is waits
