"""From a stored answer to a committed one, over real sockets: worker, listener, database, a PACS that misbehaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port, wait_until
from fake_pacs import FakePacs
from sending_node import SendingNode
from sqlalchemy import text

from dicom_node.domain.delivery import RetryPolicy
from dicom_node.pipeline import delivery

Start = Callable[..., SendingNode]


def destination(pacs: FakePacs, name: str = "main-pacs", **changes: Any) -> dict[str, Any]:
    return {"name": name, "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, **changes}


@pytest.fixture
def start(tmp_path: Path, sqlite_url: str) -> Iterator[Start]:
    """Start a node with these PACS as destinations; their reports go to it."""
    with ExitStack() as stack:

        def start(*pacs: FakePacs, url: str = sqlite_url, commitment: bool = True, **patience: Any) -> SendingNode:
            wanted = [destination(one, f"pacs-{n}", commitment=commitment) for n, one in enumerate(pacs)]
            node = SendingNode(tmp_path, url, wanted)
            for one in pacs:
                one.reports_to = ("127.0.0.1", node.port)
            node.patience(**patience)
            return stack.enter_context(node)

        yield start


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


def test_an_answer_is_delivered_then_committed(start: Start, pacs: FakePacs, database_url: str) -> None:
    node = start(pacs, url=database_url)
    study, uids = node.answer(3)
    found = node.wait_for(study, "committed")
    assert sorted(pacs.held) == sorted(uids)
    assert pacs.received == uids
    assert {result["state"] for result in found["results"]} == {"committed"}
    assert [row.state for row in node.transactions()] == ["confirmed"]


def test_a_report_on_the_same_association_is_taken(start: Start, pacs: FakePacs) -> None:
    pacs.commits = "same association"
    node = start(pacs)
    study, _ = node.answer()
    node.wait_for(study, "committed")


def test_a_report_that_comes_twice_changes_nothing(start: Start, pacs: FakePacs) -> None:
    pacs.commits = "twice"
    node = start(pacs)
    study, uids = node.answer()
    node.wait_for(study, "committed")
    time.sleep(0.5)
    assert pacs.received == uids
    assert node.study(study)["state"] == "committed"


def test_a_late_report_is_taken(start: Start, pacs: FakePacs) -> None:
    pacs.commits = "late"
    pacs.late_s = 1.5
    node = start(pacs, commitment_linger_s=0.1)
    study, _ = node.answer()
    node.wait_for(study, "delivered")
    node.wait_for(study, "committed")


def test_a_report_that_never_comes_is_asked_for_again_then_left(start: Start, pacs: FakePacs) -> None:
    pacs.commits = "never"
    node = start(pacs, commitment_linger_s=0.1, commitment_answer=timedelta(seconds=0.5))
    study, _ = node.answer()
    wait_until(lambda: len(node.transactions()) == 3 and not node.queue.live_keys(), 30)
    assert {row.state for row in node.transactions()} == {"unconfirmed"}
    assert len({request.TransactionUID for request in pacs.transactions}) == 3
    results = node.wait_for(study, "delivered")["results"]
    assert "commitment not confirmed: no commitment report came in time" in results[0]["error"]


def test_what_the_destination_did_not_keep_is_sent_again(start: Start, pacs: FakePacs) -> None:
    node = start(pacs)
    pacs.stall_s = 0.3  # time to name the one that is lost
    study, (first, second) = node.answer()
    pacs.loses = {second}
    wait_until(lambda: any(row.state == "failed" for row in node.transactions()))
    pacs.loses = set()
    node.wait_for(study, "committed")
    assert pacs.received == [first, second, second]


def test_a_destination_without_commitment_is_delivered_and_says_why(start: Start) -> None:
    with FakePacs(offers_commitment=False) as pacs:
        node = start(pacs)
        study, _ = node.answer(1)
        wait_until(lambda: [row.state for row in node.transactions()] == ["unconfirmed"])
        (result,) = node.wait_for(study, "delivered")["results"]
        assert "offers no storage commitment" in result["error"]
        assert "commitment: false" in result["error"]


def test_a_destination_that_is_not_asked_to_commit(start: Start, pacs: FakePacs) -> None:
    node = start(pacs, commitment=False)
    study, _ = node.answer(1)
    node.wait_for(study, "delivered")
    assert not node.transactions()


def test_a_full_destination_gets_it_when_it_has_room(start: Start, pacs: FakePacs) -> None:
    pacs.statuses = [(0xA700, "no space"), 0x0000]
    node = start(pacs)
    study, uids = node.answer(2)
    node.wait_for(study, "committed")
    assert pacs.received == [uids[0], uids[1], uids[0]]


def test_a_final_refusal_is_a_dead_letter_until_an_operator_retries(start: Start, pacs: FakePacs) -> None:
    pacs.statuses = [(0xA900, "bad data set")]
    node = start(pacs)
    study, uids = node.answer(1)
    (result,) = node.wait_for(study, "failed")["results"]
    assert "A900: the data set does not match its SOP class (bad data set)" in result["error"]
    assert len(delivery.retry(node.services)) == 1
    node.wait_for(study, "committed")
    assert pacs.received == uids * 2


def test_an_abort_in_mid_object_is_made_good(start: Start, pacs: FakePacs) -> None:
    pacs.abort_at = 2
    node = start(pacs)
    study, uids = node.answer(3)
    node.wait_for(study, "committed")
    assert sorted(pacs.held) == sorted(uids)
    assert pacs.received.count(uids[0]) == 1


def test_an_absent_destination_delays_no_other(start: Start, pacs: FakePacs) -> None:
    absent = FakePacs(port=free_port())
    node = start(absent, pacs)
    study, uids = node.answer(1)
    wait_until(lambda: [row.state for row in node.deliveries()][1] == "committed")
    wait_until(lambda: node.deliveries()[0].state == "failed")
    assert "could not be reached" in str(node.deliveries()[0].error)
    assert pacs.received == uids
    with absent:  # the PACS is back, and an operator says so
        absent.reports_to = ("127.0.0.1", node.port)
        delivery.retry(node.services)
        node.wait_for(study, "committed")


def test_a_stalling_destination_delays_no_other(start: Start, pacs: FakePacs) -> None:
    with FakePacs(stall_s=30) as stalling:
        node = start(stalling, pacs)
        studies = [node.answer(1)[0] for _ in range(3)]
        wait_until(lambda: len(pacs.held) == len(studies))
        assert len(stalling.received) == 1


def test_an_emptied_engine_table_loses_nothing(start: Start, pacs: FakePacs) -> None:
    pacs.statuses = [0xA700]
    node = start(pacs, delivery=RetryPolicy(base=timedelta(seconds=1), limit=9, jitter=0))
    study, _ = node.answer(1)
    wait_until(lambda: len(pacs.received) == 1)
    wait_until(lambda: node.deliveries()[0].attempts == 1)
    with node.database.write() as session:
        session.execute(text("DELETE FROM workflow_status"))
    node.wait_for(study, "committed")
