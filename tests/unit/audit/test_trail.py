"""The trail holds what it was told, in order, whoever writes at once; and tells when somebody changed it."""

import errno
import fcntl
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.audit import trail as trail_module
from dicom_node.audit.acts import Audit, Subject, entity, this_process
from dicom_node.audit.message import Source
from dicom_node.audit.reading import faults, newest
from dicom_node.audit.trail import Trail, days

NODE = this_process("DICOM_NODE", "receiver-0")
SCANNER = entity("VOLUSON1", "10.0.0.7")


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def audit_of(folder: Path, clock: Clock) -> Audit:
    return Audit(NODE, Trail(folder, Source("DICOM_NODE@node1"), NODE, clock).record)


@pytest.fixture
def audit(tmp_path: Path, clock: Clock) -> Audit:
    return audit_of(tmp_path, clock)


def test_what_is_told_can_be_read_newest_first(tmp_path: Path, audit: Audit, clock: Clock) -> None:
    audit.started()
    clock.time += timedelta(hours=2)
    audit.received(SCANNER, Subject("1.2.3", "Påtient 1", {"1.2.840.10008.5.1.4.1.1.6.1": 3}), "it aborted")
    assert [file.name for file in days(tmp_path)] == ["2026-11-21.jsonl", "2026-11-22.jsonl"]
    transfer, start = newest(tmp_path, 10)
    assert (start["event"], start["type"]) == ("Application Activity", "Application Start")
    assert transfer["time"] == "2026-11-22T01:00:00.000+00:00"
    assert (transfer["study_instance_uid"], transfer["patient_id"], transfer["instances"]) == ("1.2.3", "Påtient 1", 3)
    assert transfer["who"][0] == "VOLUSON1 at 10.0.0.7"
    assert (transfer["outcome"], transfer["said"]) == ("minor failure", "it aborted")
    assert newest(tmp_path, 1) == [transfer]
    assert newest(tmp_path, 10, "1.2.3") == [transfer]
    assert newest(tmp_path, 10, "9.9") == []
    assert faults(tmp_path) == []


def test_threads_and_processes_share_one_chain(tmp_path: Path, clock: Clock) -> None:
    def tell(number: int) -> None:
        audit = audit_of(tmp_path, clock)  # a trail of its own, as another process has
        for _ in range(20):
            audit.rejected(SCANNER, f"by {number}")

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(newest(tmp_path, 1000)) == 80
    assert faults(tmp_path) == []


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "edit the day before"])
def test_a_changed_line_is_found(tmp_path: Path, audit: Audit, clock: Clock, change: str) -> None:
    for number in range(4):
        audit.rejected(SCANNER, f"reason {number}")
    clock.time += timedelta(days=1)
    audit.rejected(SCANNER, "the day after")
    file = days(tmp_path)[0]
    lines = file.read_bytes().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace(b"reason 1", b"reason 9")
    elif change == "remove":
        del lines[1]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[3] = lines[3].replace(b"reason 3", b"reason 9")
    file.write_bytes(b"".join(lines))
    assert any("the line before it is not the one" in fault for fault in faults(tmp_path))


def test_a_line_without_its_end_is_told_and_the_trail_goes_on(tmp_path: Path, audit: Audit) -> None:
    audit.started()
    file = days(tmp_path)[0]
    with file.open("ab") as stream:  # what a power cut leaves
        stream.write(b'{"previous": "12')
    audit.stopped()
    assert [entry["type"] for entry in newest(tmp_path, 10)] == ["Application Stop", None, "Application Start"]
    assert faults(tmp_path) == ["2026-11-21.jsonl, line 2: not a message: its end is missing, or it was changed"]


def test_a_line_that_no_reader_of_json_survives_is_told(tmp_path: Path, audit: Audit) -> None:
    audit.started()
    with days(tmp_path)[0].open("ab") as stream:
        stream.write(b"[" * 200_000 + b"\n")
    assert faults(tmp_path) == ["2026-11-21.jsonl, line 2: not a message: its end is missing, or it was changed"]


def test_a_full_disk_stops_nobody_and_is_told_afterwards(
    tmp_path: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit.started()
    real = os.write

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trail_module.os, "write", full)
    audit.rejected(SCANNER, "one")
    audit.rejected(SCANNER, "two")
    monkeypatch.setattr(trail_module.os, "write", real)
    audit.stopped()
    stop, gap, _ = newest(tmp_path, 10)
    assert stop["type"] == "Application Stop"
    assert (gap["type"], gap["said"]) == ("Audit Recording Stopped", "2 messages could not be written")
    assert caplog.text.count("the audit trail cannot be written") == 2
    assert faults(tmp_path) == []


def test_each_line_is_flushed_before_the_act_goes_on(
    tmp_path: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[bytes] = []

    def note(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").read_bytes())

    monkeypatch.setattr(trail_module.os, "fdatasync", note)
    audit.receiving(SCANNER, Subject("1.2.3", "P"))
    assert flushed == []  # a scanner's first image waits for no trail
    audit.received(SCANNER, Subject("1.2.3", "P"))
    assert flushed == [days(tmp_path)[0].read_bytes()]


def test_only_the_node_and_its_group_may_read_it(tmp_path: Path, audit: Audit) -> None:
    audit.started()
    assert days(tmp_path)[0].stat().st_mode & 0o007 == 0
    assert (tmp_path / "audit").stat().st_mode & 0o007 == 0


def test_a_line_holds_the_message_and_the_digest_before_it(tmp_path: Path, audit: Audit) -> None:
    audit.started()
    entry = json.loads(days(tmp_path)[0].read_bytes())
    assert entry["previous"] == "0" * 64
    assert entry["message"].startswith("<AuditMessage>")


def test_a_process_that_was_stopped_in_the_middle_stops_nobody_else(
    tmp_path: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "TURN_WITHIN_S", 0.05)
    audit.started()
    stopped = os.open(tmp_path / "audit", os.O_RDONLY)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    audit.rejected(SCANNER, "not written")
    os.close(stopped)
    audit.stopped()
    assert newest(tmp_path, 2)[1]["said"] == "1 messages could not be written"
