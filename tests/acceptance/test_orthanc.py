"""A real PACS: Orthanc takes a stored answer and commits it, and says so when it has lost something."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from conftest import Orthanc, wait_until

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from sending_node import SendingNode

from dicom_node.domain.study import DeliveryState
from dicom_node.pipeline import commitment
from dicom_node.store.deliveries import key_of
from dicom_node.store.tables import DeliveryRow


def ask(orthanc: Orthanc, path: str, method: str = "GET", body: str | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{orthanc.http_port}{path}", method=method, data=body.encode() if body else None
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def node_for(orthanc: Orthanc, folder: Path, url: str) -> SendingNode:
    destination = {
        "name": "orthanc",
        "ae_title": orthanc.ae_title,
        "host": orthanc.host,
        "port": orthanc.port,
    }
    return SendingNode(folder, url, [destination], orthanc.node_port)


def test_orthanc_holds_and_commits_an_answer(orthanc: Orthanc, tmp_path: Path, sqlite_url: str) -> None:
    with node_for(orthanc, tmp_path, sqlite_url) as node:
        study, uids = node.answer(2)
        node.wait_for(study, "committed", 30)
    for uid in uids:
        assert ask(orthanc, "/tools/lookup", "POST", uid)
    assert [row.state for row in node.transactions()] == ["confirmed"]


def test_orthanc_refuses_to_commit_what_it_lost_and_gets_it_again(
    orthanc: Orthanc, tmp_path: Path, sqlite_url: str
) -> None:
    with node_for(orthanc, tmp_path, sqlite_url) as node:
        study, (uid,) = node.answer(1)
        node.wait_for(study, "committed", 30)
        (found,) = ask(orthanc, "/tools/lookup", "POST", uid)
        ask(orthanc, found["Path"], "DELETE")
        row = node.deliveries()[0]
        with node.database.write() as session:  # as if its first report had been lost on the way
            session.get_one(DeliveryRow, row.id).state = DeliveryState.SENT
            commitment.begin(node.services, session, key_of(row))
        wait_until(lambda: any(row.state == "failed" for row in node.transactions()), 30)
        node.wait_for(study, "committed", 30)
    assert [row.error for row in node.transactions()] == [None, "1 not committed: it has no such object", None]
    assert ask(orthanc, "/tools/lookup", "POST", uid)
