"""After the first answer: late images, an operator's orders, and destinations that are not all well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import free_port, wait_until
from fake_pacs import FakePacs
from running import (
    Node,
    cli,
    done,
    evidence_of,
    new_study,
    phantom_studies,
    predecessors_of,
    push,
    sop_uid_of,
)

pytestmark = pytest.mark.slow


@dataclass
class Place:
    """A node, a PACS that is well, and the place of one that is away."""

    node: Node
    pacs: FakePacs
    phantoms: list[list[Path]]
    folder: Path

    def study(self, key: str) -> tuple[str, list[Path]]:
        """Make a study of two stills and a cine that the node does not know yet."""
        return new_study(self.phantoms[0], self.folder / key, key)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("late")
    phantoms = phantom_studies(tmp_path_factory.mktemp("phantoms"))
    with ExitStack() as stack:
        pacs = stack.enter_context(FakePacs())
        to = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
        node = stack.enter_context(Node(folder / "node", [to]))
        pacs.reports_to = ("127.0.0.1", node.port)
        yield Place(node, pacs, phantoms, folder)


def test_a_late_image_makes_a_new_version_that_names_the_old_one(place: Place) -> None:
    uid, files = place.study("late")
    push(place.node.port, files[:2])
    first = place.node.wait_for(uid)
    assert (first["generation"], first["instances"]) == (1, 2)
    push(place.node.port, files[2:])
    second = place.node.wait_for(uid, generation=2)
    assert second["instances"] == 3
    old, new = place.node.reports(uid, 1), place.node.reports(uid, 2)
    assert {name for report in new for name in evidence_of(report)} == {sop_uid_of(file) for file in files}
    for report in new:
        assert set(predecessors_of(report)) == {before.SOPInstanceUID for before in old}
    assert not any(predecessors_of(report) for report in old)
    kept = {result["sop_instance_uid"] for result in first["results"]}
    assert kept.isdisjoint(result["sop_instance_uid"] for result in second["results"])
    # The scanner sends everything once more: the node knows it all.
    push(place.node.port, files)
    assert place.node.study(uid) == second


def test_retry_analyses_again_and_names_the_old_answer(place: Place) -> None:
    uid, files = place.study("retry")
    push(place.node.port, files[:1])
    place.node.wait_for(uid)
    done("study", "retry", uid, "--config", place.node.config)
    wait_until(lambda: place.node.json("study", "show", uid)["version"] == 2, 60, "the second version")
    again = place.node.wait_for(uid)
    assert (again["generation"], again["instances"]) == (1, 1)
    (old,), (new,) = place.node.reports(uid, 1), place.node.reports(uid, 2)
    assert predecessors_of(new) == [old.SOPInstanceUID]
    assert evidence_of(new) == evidence_of(old)


def test_cancel_keeps_the_images_and_analyses_nothing(place: Place) -> None:
    uid, files = place.study("cancel")
    begun = place.node.config.read_text(encoding="utf-8")
    place.node.config.write_text(begun.replace("quiet_seconds: 1.5", "quiet_seconds: 60"), encoding="utf-8")
    try:
        push(place.node.port, files)
        done("study", "cancel", uid, "--reason", "wrong patient", "--config", place.node.config)
        study = place.node.study(uid)
        assert (study["state"], study["instances"], study["results"]) == ("failed", 3, [])
        assert "wrong patient" in place.node.json("study", "show", uid)["error"]
    finally:
        place.node.config.write_text(begun, encoding="utf-8")
    again = cli("study", "cancel", uid, "--reason", "twice", "--config", place.node.config)
    assert again.returncode == 1
    assert "nothing to cancel" in again.stderr
    # A person may change their mind.
    done("study", "retry", uid, "--config", place.node.config)
    assert place.node.wait_for(uid)["instances"] == 3


def test_an_unknown_study_is_a_sentence(place: Place) -> None:
    for command in (["show", "1.2.3"], ["retry", "1.2.3"], ["cancel", "1.2.3", "--reason", "none"]):
        outcome = cli("study", *command, "--config", place.node.config)
        assert outcome.returncode == 1
        assert "there is no study 1.2.3" in outcome.stderr
        assert "Traceback" not in outcome.stderr


@pytest.fixture
def dead_destination(place: Place) -> Iterator[int]:
    """Add a destination to the running node where nobody listens; gives its port."""
    port = free_port()
    away = f"AWAY@127.0.0.1:{port}"
    done("ae", "add", away, "--destination", "second", "--no-commitment", "--config", place.node.config)
    yield port
    done("ae", "remove", "second", "--config", place.node.config)


def test_a_dead_destination_delays_nobody_else_and_gets_everything_when_it_is_back(
    place: Place, dead_destination: int
) -> None:
    uid, files = place.study("two destinations")
    begun = datetime.now(UTC)
    push(place.node.port, files[:2])
    place.node.wait_for_change(uid, "analysed", 1, time.monotonic() + 60)

    def lane(name: str) -> list[dict[str, object]]:
        listed = place.node.json("delivery", "list")
        return [d for d in listed if d["study_instance_uid"] == uid and d["destination"] == name]

    wait_until(lambda: all(d["state"] == "committed" for d in lane("pacs")), 30, "the commitment of the first")
    wait_until(lambda: all(d["attempts"] for d in lane("second")), 30, "an attempt at the second")
    waiting = lane("second")
    assert waiting
    assert len(waiting) == len(lane("pacs"))
    for delivery in waiting:
        assert delivery["state"] == "pending"
        assert "AWAY" in str(delivery["error"])
        assert "nobody listens there" in str(delivery["error"])
        assert datetime.fromisoformat(str(delivery["next_attempt_at"])) > begun
    assert place.node.study(uid)["state"] == "analysed"  # not delivered: one destination has nothing yet
    # The destination comes back, hours before its turn: the operator brings the next attempt forward.
    with FakePacs(ae_title="AWAY", port=dead_destination) as second:
        said = done("delivery", "retry", "--config", place.node.config)
        assert f"{len(waiting)} deliveries" in said
        place.node.wait_for(uid)
        assert set(second.held) == {str(d["sop_instance_uid"]) for d in waiting}
        assert not second.transactions
    assert {d["state"] for d in lane("second")} == {"sent"}


def test_what_a_person_gave_up_is_not_sent_when_its_destination_is_back(place: Place, dead_destination: int) -> None:
    uid, files = place.study("given up")
    push(place.node.port, files[:1])
    place.node.wait_for_change(uid, "analysed", 1, time.monotonic() + 60)

    def of_second() -> list[dict[str, object]]:
        listed = place.node.json("delivery", "list")
        return [d for d in listed if d["study_instance_uid"] == uid and d["destination"] == "second"]

    wait_until(lambda: of_second() and all(d["attempts"] for d in of_second()), 30, "an attempt at the second")
    done("study", "cancel", uid, "--reason", "its PACS is away", "--config", place.node.config)
    assert {d["state"] for d in of_second()} == {"cancelled"}
    assert place.node.study(uid)["state"] == "failed"
    with FakePacs(ae_title="AWAY", port=dead_destination) as second:
        assert "0 deliveries" in done("delivery", "retry", "--config", place.node.config)
        time.sleep(2)
        assert not second.held


def test_what_a_destination_refuses_for_good_is_a_dead_letter_with_its_words(place: Place) -> None:
    uid, files = place.study("refused")
    place.pacs.statuses = [(0xA900, "Patient ID unknown")]
    push(place.node.port, files[:1])
    study = place.node.wait_for(uid, "failed")
    (letter, *_) = [d for d in place.node.json("delivery", "list", "--state", "failed") if d["destination"] == "pacs"]
    assert letter["status"] == "A900"
    assert "Patient ID unknown" in letter["error"]
    assert [result["error"] for result in study["results"] if result["state"] == "failed"] == [letter["error"]]
    done("delivery", "retry", letter["id"], "--config", place.node.config)
    place.node.wait_for(uid)
