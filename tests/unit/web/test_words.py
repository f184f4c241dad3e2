"""The words of the pages."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.domain.study import CommitmentState, DeliveryState, GenerationState
from dicom_node.web.words import MEANINGS, STEPS, distance, duration, short_uid, status_hex, status_words, uid_name

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "shown", "said"),
    [
        (0x0000, "0x0000", "success"),
        (0xA700, "0xA700", "out of resources"),
        (0xA7FF, "0xA7FF", "out of resources"),
        (0xA900, "0xA900", "data set does not match"),
        (0xC123, "0xC123", "cannot understand the data set"),
        (0xB007, "0xB007", "accepted, but the data set does not match the SOP class"),
        (0x1234, "0x1234", "a status of the destination's own"),
        (None, "", "no answer"),
    ],
)
def test_a_status_in_hex_and_in_words(status: int | None, shown: str, said: str) -> None:
    assert (status_hex(status), status_words(status)) == (shown, said)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (90_000, "25 h"), (200_000, "2 days")],
)
def test_a_duration_has_one_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_distance_goes_both_ways() -> None:
    assert distance(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert distance(NOW + timedelta(seconds=20), NOW) == "in 20 s"


def test_a_long_uid_keeps_both_ends_and_a_private_one_is_its_own_name() -> None:
    uid = "1.2.826.0.1.3680043.8.498.12345678901234567890"
    assert short_uid(uid) == "1.2.826.0.…901234567890"
    assert short_uid("2.25.1") == "2.25.1"
    assert uid_name("1.2.840.10008.1.2") == "Implicit VR Little Endian"
    assert uid_name("1.2.3.4") == "1.2.3.4"


@pytest.mark.parametrize("state", [*GenerationState, *DeliveryState, *CommitmentState, *STEPS])
def test_every_state_has_a_meaning(state: str) -> None:
    assert str(state) in MEANINGS
