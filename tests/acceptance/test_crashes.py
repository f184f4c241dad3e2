"""kill -9 at every row of the walk: what was acknowledged is answered once, and the PACS has every object once."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import listens, wait_until
from fake_pacs import FakePacs
from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from running import SCANNER, Node, evidence_of, new_study, phantom_studies, processes_below, push, sop_uid_of

from dicom_node.engine.queue import JobQueue

pytestmark = pytest.mark.slow

_numbers = count()


class PatientPacs(FakePacs):
    """A PACS that may take its time over a commitment request, and reports when there is somebody to report to."""

    action_stall_s = 0.0
    asked = False

    def _commit(self, event: Any) -> tuple[int, None]:
        self.asked = True
        if self.action_stall_s:
            self._released.wait(self.action_stall_s)
        return super()._commit(event)

    def _report(self, association: Any, request: Dataset) -> None:
        wait_until(lambda: listens(self.reports_to[1]), 90, "the return of the node")
        super()._report(association, request)

    def be_well(self) -> None:
        """Forget every mood."""
        self.stall_s, self.action_stall_s, self.commits, self.asked = 0, 0.0, "new association", False
        self.transactions.clear()

    def report(self) -> None:
        """Send the report that was held back."""
        self.commits = "new association"
        self._report(None, self.transactions[-1])


@dataclass
class Place:
    """A node, a PACS with moods, and studies to send."""

    node: Node
    pacs: PatientPacs
    phantoms: list[list[Path]]
    folder: Path

    def study(self) -> tuple[str, list[Path]]:
        """Make a study that the node does not know yet: three stills and a cine."""
        number = next(_numbers)
        return new_study(self.phantoms[1], self.folder / f"study-{number}", f"crash {number}")

    def crash(self, victim: str) -> None:
        """Kill one role, the supervisor or everything, and see to it that the node comes back."""
        if victim == "everything":
            self.node.kill_everything()
            self.node.start()
        elif victim == "supervisor":
            assert self.node.process is not None
            self.node.process.kill()
            self.node.process.wait()
            self.node.start()  # while the roles of the old one may still be finishing
        else:
            old = self.node.pid_of(victim)
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: self.runs_again(victim, old), 60, f"the restart of {victim}")

    def runs_again(self, victim: str, old: int) -> bool:
        pids = [pid for pid, command in processes_below(self.node.supervisor_pid) if command[-1] == victim]
        return bool(pids) and pids != [old]

    def check(self, uid: str, acknowledged: list[str]) -> None:
        """Look that everything acknowledged was answered exactly once, and everything of the answer delivered once."""
        study = self.node.wait_for(uid)
        assert study["instances"] == len(acknowledged)
        versions = self.node.ask("SELECT generation, version FROM analyses WHERE study_instance_uid = ?", uid)
        assert versions == [(1, 1)]
        evidence = [evidence_of(report) for report in self.node.reports(uid, 1)]
        assert evidence
        for named in evidence:
            assert len(named) == len(set(named))
        assert {name for named in evidence for name in named} == set(acknowledged)
        made = [result["sop_instance_uid"] for result in study["results"]]
        assert len(made) == len(set(made))
        assert {held for held, ds in self.pacs.held.items() if ds.StudyInstanceUID == uid} == set(made)
        assert not self.jobs_of(uid)

    def jobs_of(self, uid: str) -> list[str]:
        """List the jobs that still wait or run for a study."""
        queue = JobQueue(f"sqlite:///{self.node.folder / 'var' / 'node.sqlite'}")
        try:
            wait_until(lambda: not [key for key in queue.live_keys() if uid in key], 10, "the end of all jobs")
            return [key for key in queue.live_keys() if uid in key]
        finally:
            queue.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("crashes")
    phantoms = phantom_studies(tmp_path_factory.mktemp("phantoms"))
    with PatientPacs() as pacs:
        to = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
        with Node(folder / "node", [to]) as node:
            pacs.reports_to = ("127.0.0.1", node.port)
            yield Place(node, pacs, phantoms, folder)


@pytest.fixture(autouse=True)
def well(place: Place) -> None:
    """Begin each test with a PACS that behaves and a node that runs."""
    place.pacs.be_well()
    if place.node.process is None or place.node.process.poll() is not None:
        place.node.start()


def timer_waits(place: Place, uid: str) -> None:
    place.node.wait_for_change(uid, "receiving", 1, time.monotonic() + 10)


def analyses(place: Place, uid: str) -> None:
    place.node.wait_for_change(uid, "closed", 1, time.monotonic() + 30)
    time.sleep(0.4)  # the job is taken over within its polling time


def delivers(place: Place, uid: str) -> None:
    before = len(place.pacs.received)
    wait_until(lambda: len(place.pacs.received) > before, 60, f"the delivery of {uid}")


def asks_for_commitment(place: Place, uid: str) -> None:
    place.node.wait_for_change(uid, "delivered", 1, time.monotonic() + 60)
    wait_until(lambda: place.pacs.asked, 20, "the commitment request")


def waits_for_the_report(place: Place, uid: str) -> None:
    place.node.wait_for_change(uid, "delivered", 1, time.monotonic() + 60)
    wait_until(lambda: place.pacs.transactions, 20, "the commitment request")


#: Who dies when. A role that has nothing to do at a row is left out there.
DEATHS: list[tuple[str, Callable[[Place, str], None]]] = [
    ("io-0", timer_waits),
    ("web-0", timer_waits),
    ("receiver-0", timer_waits),
    ("everything", timer_waits),
    ("analysis-0", analyses),
    ("supervisor", analyses),
    ("everything", analyses),
    ("io-0", delivers),
    ("everything", delivers),
    ("io-0", asks_for_commitment),
    ("io-0", waits_for_the_report),
    ("receiver-0", waits_for_the_report),
    ("everything", waits_for_the_report),
]


@pytest.mark.parametrize(("victim", "moment"), DEATHS, ids=[f"{who}-{when.__name__}" for who, when in DEATHS])
def test_a_death_loses_nothing_and_doubles_nothing(
    place: Place, victim: str, moment: Callable[[Place, str], None]
) -> None:
    if moment is delivers:
        place.pacs.stall_s = 2
    if moment is asks_for_commitment:
        place.pacs.action_stall_s = 4
    if moment is waits_for_the_report:
        place.pacs.commits = "never"
    uid, files = place.study()
    push(place.node.port, files)
    moment(place, uid)
    place.crash(victim)
    place.pacs.stall_s, place.pacs.action_stall_s = 0, 0
    if moment is waits_for_the_report:
        place.pacs.report()
    place.check(uid, [sop_uid_of(file) for file in files])


@pytest.mark.parametrize("victim", ["receiver-0", "everything"])
def test_a_death_in_the_middle_of_an_instance_keeps_those_before(place: Place, victim: str) -> None:
    uid, files = place.study()
    association = associate(place.node.port, files)
    acknowledged = [store(association, file) for file in files[:2]]
    send_half(association, files[2])
    place.crash(victim)
    association.abort()
    place.check(uid, acknowledged)


def test_web_comes_back(place: Place) -> None:
    place.crash("web-0")
    url = f"http://127.0.0.1:{place.node.web_port}/metrics"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    wait_until(answers, 30, "an answer of the pages")


def test_sigterm_lets_an_association_finish(place: Place) -> None:
    uid, files = place.study()
    association = associate(place.node.port, files)
    acknowledged = [store(association, files[0])]
    assert place.node.process is not None
    place.node.process.terminate()
    time.sleep(1)
    acknowledged += [store(association, file) for file in files[1:]]
    association.release()
    assert place.node.process.wait(60) == 0
    place.node.start()
    place.check(uid, acknowledged)


def test_sigterm_lets_an_analysis_finish(place: Place) -> None:
    uid, files = place.study()
    push(place.node.port, files)
    analyses(place, uid)
    assert place.node.stop() == 0
    # It was not thrown away: the answer was stored before the process ended.
    assert place.node.ask("SELECT state FROM generations WHERE study_instance_uid = ?", uid) == [("analysed",)]
    place.node.start()
    place.check(uid, [sop_uid_of(file) for file in files])


def associate(port: int, files: list[Path]) -> Association:
    """Open an association as a scanner does, proposing what the files are."""
    ae = AE(SCANNER)
    for file in files:
        ds = dcmread(file, stop_before_pixels=True)
        ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title="DICOM_NODE")
    assert association.is_established
    return association


def store(association: Association, file: Path) -> str:
    """Send one instance, which must be acknowledged; gives its UID."""
    ds = dcmread(file)
    assert association.send_c_store(ds).Status == 0x0000
    return str(ds.SOPInstanceUID)


def send_half(association: Association, file: Path) -> None:
    """Send the request and some of the data set, and then no more."""
    ds = dcmread(file)
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == ds.SOPClassUID)
    request = C_STORE()
    request.MessageID = 99
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    request.Priority = 2
    syntax = ds.file_meta.TransferSyntaxUID
    data = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    assert data is not None
    request.DataSet = io.BytesIO(data)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    pieces = list(message.encode_msg(context.context_id, 16382))
    assert len(pieces) > 4
    for piece in pieces[: len(pieces) // 2]:
        association.dul.send_pdu(piece)
    time.sleep(0.5)


def test_a_death_between_the_objects_files_and_their_rows(place: Place) -> None:
    uid, files = place.study()
    folder = place.node.folder / "var" / "results" / hashlib.sha256(uid.encode()).hexdigest()[:16]
    push(place.node.port, files)
    analyses(place, uid)
    with closing(sqlite3.connect(place.node.folder / "var" / "node.sqlite", timeout=30, isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")  # the files may be written, the rows may not
        wait_until(lambda: list(folder.rglob("*.dcm")), 45, "the first file of an answer")
        os.kill(place.node.pid_of("analysis-0"), signal.SIGKILL)
        assert place.node.ask("SELECT count(*) FROM analyses WHERE study_instance_uid = ?", uid) == [(0,)]
        held.execute("ROLLBACK")
    place.check(uid, [sop_uid_of(file) for file in files])
    named = place.node.ask("SELECT path FROM results WHERE path LIKE ?", f"results/{folder.name}/%")
    assert {f"results/{file.relative_to(folder.parent)}" for file in folder.rglob("*.dcm")} == {row[0] for row in named}


def test_a_death_before_a_late_generation_closes(place: Place) -> None:
    uid, files = place.study()
    push(place.node.port, files[:-1])
    place.check(uid, [sop_uid_of(file) for file in files[:-1]])
    push(place.node.port, files[-1:])
    place.node.wait_for_change(uid, "receiving", 2, time.monotonic() + 10)
    place.crash("everything")
    study = place.node.wait_for(uid, generation=2)
    assert study["instances"] == len(files)
    versions = place.node.ask("SELECT generation, version FROM analyses WHERE study_instance_uid = ?", uid)
    assert sorted(versions) == [(1, 1), (2, 2)]
    new = place.node.reports(uid, 2)
    assert {name for report in new for name in evidence_of(report)} == {sop_uid_of(file) for file in files}
    made = {result["sop_instance_uid"] for result in study["results"]}
    assert made <= {held for held, ds in place.pacs.held.items() if ds.StudyInstanceUID == uid}
