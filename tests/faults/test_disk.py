"""A disk that is full, or damages what it holds: no promise is false, and everything goes on by itself."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import synthetic as s
from brain_examiner import EXAMINER
from conftest import free_port, wait_until
from fake_pacs import FakePacs
from pydicom.uid import ExplicitVRLittleEndian
from receiver import running_receiver, scanner
from receiver_process import ReceiverProcess, receiver_process
from sending_process import sending_process
from small_disk import KIB, MIB, SmallDisk, database_of, postgresql_on_a_small_disk
from sqlalchemy import select
from world import STUDY, World

from dicom_node.pipeline.analysis import analyse_study
from dicom_node.store.part10 import file_meta
from dicom_node.store.result_files import fault
from dicom_node.store.spool import Spool, is_intact
from dicom_node.store.tables import AnalysisRow, InstanceRow, ResultRow

US = (s.US_IMAGE, ExplicitVRLittleEndian)
FULL = 0xA700


# While it receives


@contextmanager
def node_on_a_disk(folder: Path, disk_mib: int, min_free_mib: int = 0) -> Iterator[tuple[ReceiverProcess, SmallDisk]]:
    (folder / "var").mkdir()
    with receiver_process(folder / "var", disk_mib=disk_mib, min_free_mib=min_free_mib) as node:
        yield node, SmallDisk(node.pid, folder / "var")


def stored(node: ReceiverProcess) -> dict[str, bool]:
    """Give the instances that rows speak of, and whether their files are whole."""
    with database_of(node.folder) as session:
        rows = list(session.scalars(select(InstanceRow)))
    return {row.sop_instance_uid: is_intact(node.folder, row.path, row.sha256) for row in rows}


def test_an_instance_larger_than_the_disk_is_told_before_the_floor(tmp_path: Path) -> None:
    cine = s.image([s.picture(1000, 1000)] * 30, number=1)  # 90 MB
    with (
        node_on_a_disk(tmp_path, 64, min_free_mib=24) as (node, disk),
        scanner(node, US, (s.US_MULTI_FRAME, US[1])) as wire,
    ):
        least, over = [disk.free()], threading.Event()

        def watch() -> None:
            while not over.wait(0.002):
                least.append(disk.free())

        watching = threading.Thread(target=watch)
        watching.start()
        status = wire.send_c_store(cine).Status
        over.set()
        watching.join()
        assert status == FULL
        assert min(least) > 4 * MIB  # it is looked every 16 MB: the rest of the floor is for rows and results
        assert wire.send_c_store(s.image(number=2)).Status == 0
        disk.fill(but=23 * MIB)
        assert wire.send_c_store(s.image(number=3)).Status == FULL
        disk.clear()
        assert wire.send_c_store(s.image(number=3)).Status == 0
        assert list(stored(node).values()) == [True, True]
        assert node.half_files() == 0


def test_a_disk_that_is_really_full_makes_no_false_promise(tmp_path: Path) -> None:
    """Fill the disk of spool and database to each of several points: one or the other finds no room."""
    acknowledged: list[str] = []
    refused = 0
    number = 0
    with node_on_a_disk(tmp_path, 16) as (node, disk):
        files = node.other_files()
        for left in (0, 8 * KIB, 40 * KIB, 70 * KIB, 100 * KIB, 200 * KIB):
            with scanner(node, US) as wire:
                assert wire.is_established
                disk.fill(but=left)
                for _ in range(6):
                    number += 1
                    ds = s.image(number=number)
                    status = wire.send_c_store(ds).Status
                    assert status in (0, FULL)
                    refused += status == FULL
                    if status == 0:
                        acknowledged.append(str(ds.SOPInstanceUID))
                disk.clear()
                ds = s.image(number=1000 + number)
                assert wire.send_c_store(ds).Status == 0
                acknowledged.append(str(ds.SOPInstanceUID))
        wait_until(lambda: node.open_associations() == 0, 60, "the end of every association in the log")
        kept = stored(node)
        assert refused > 6
        assert node.other_files() == files
        assert all(kept.values())
        assert set(acknowledged) <= set(kept)
        assert node.half_files() == 0


def test_a_database_server_without_room_makes_no_false_promise(tmp_path: Path) -> None:
    """Fill the disk of PostgreSQL, while that of the images has room: what has no row is not acknowledged."""
    (tmp_path / "pg").mkdir()
    with (
        postgresql_on_a_small_disk(tmp_path / "pg", 96) as (url, disk),
        running_receiver(tmp_path / "var", url) as receiver,
    ):
        statuses: dict[str, int] = {}

        def send(number: int) -> int:
            ds = s.image(number=number)
            statuses[str(ds.SOPInstanceUID)] = status = wire.send_c_store(ds).Status
            return status

        with scanner(receiver, US) as wire:
            assert send(0) == 0
            disk.fill()
            # Pages that were begun have room for some rows; after them each new one finds none.
            refused = next(number for number in range(1, 400) if send(number) == FULL)
            assert {send(number) for number in range(refused + 1, refused + 6)} == {FULL}
            disk.clear()
            assert send(1000) == 0
            assert send(refused) == 0
        kept = {row.sop_instance_uid: row for row in receiver.instances()}
    assert set(statuses.values()) == {0, FULL}
    assert set(kept) == {uid for uid, status in statuses.items() if status == 0}
    assert all(is_intact(receiver.data_dir, row.path, row.sha256) for row in kept.values())
    assert not [it for it in (receiver.data_dir / "spool").rglob("*") if it.is_file()]


# While it delivers


def test_deliveries_wait_for_a_full_disk_and_go_on(tmp_path: Path) -> None:
    pacs = FakePacs(port=free_port())
    to = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    (tmp_path / "var").mkdir()
    with sending_process(tmp_path / "var", to, disk_mib=16) as node:
        disk = SmallDisk(node.process.pid, tmp_path / "var")
        pacs.reports_to = ("127.0.0.1", node.port)
        answers = dict(node.answer() for _ in range(2))
        disk.fill()
        with pacs:
            time.sleep(4)  # it is sent to, but no row can say so
            disk.clear()
            for study in answers:
                wait_until(lambda study=study: node.state(study) == "committed", 60, f"the commitment of {study}")
            assert sorted(pacs.held) == sorted(uid for uids in answers.values() for uid in uids)


# While it analyses


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """Give a node with one closed study of one large image, its file as reception writes it."""
    world = World(tmp_path, database_url)
    world.release(world.receive())
    world.close()
    ds = s.image([s.picture(1000, 1000)], StudyInstanceUID=STUDY, SOPInstanceUID=f"{STUDY}.0")
    whole = s.write(ds, tmp_path / "image.dcm").read_bytes()
    data_set = whole[144 + int.from_bytes(whole[140:144], "little") :]
    meta = file_meta(s.US_IMAGE, f"{STUDY}.0", str(ExplicitVRLittleEndian), "SCANNER")
    with Spool(tmp_path, "r", min_free_bytes=lambda: 0).begin(meta, world.time) as part:
        part.write(data_set)
        file = part.finish()
    with world.database.write() as session:
        row = session.scalars(select(InstanceRow)).one()
        row.path, row.sha256, row.sop_class_uid = file.path, file.sha256, s.US_IMAGE
    yield world
    world.database.close()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond this size fail, as on a full disk (RLIMIT_FSIZE, EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_answer_that_finds_no_room_is_made_again_however_long_it_takes(world: World) -> None:
    patience = world.services.patience.analysis.limit
    with no_file_larger_than(2 * MIB):  # room for rows, but not for the pictures
        for attempt in range(patience + 2):
            analyse_study(world.services, EXAMINER, STUDY, 1, attempt)
            row = world.generation()
            assert (row.state, row.attempt) == ("closed", attempt + 1)
            assert row.error == "its answer waits for room: the disk is full: File too large"
            (job,) = [job for job, _ in world.desk.live.values() if job.key == f"analyse:{STUDY}:1:{attempt + 1}"]
            assert job.delay.total_seconds() == 60
        assert not list((world.services.data_dir / "results").rglob("*.part"))
    analyse_study(world.services, EXAMINER, STUDY, 1, patience + 2)
    assert world.generation().state == "analysed"
    with world.database.read() as session:
        results = list(session.scalars(select(ResultRow)))
    assert {row.state for row in results} == {"ready"}
    assert {fault(world.services.data_dir, row.path, row.sha256) for row in results} == {None}


# At rest


def test_an_image_damaged_at_rest_is_found_before_it_is_looked_at_and_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with world.database.read() as session:
        path = world.services.data_dir / session.scalars(select(InstanceRow.path)).one()
    damage(path)
    analyse_study(world.services, EXAMINER, STUDY, 1, 0)
    reason = "the stored file is missing or damaged: its digest has changed"
    assert f"instance {STUDY}.0: {reason}" in caplog.text
    with world.database.read() as session:
        assert reason in str(session.scalars(select(AnalysisRow.summary)).one())


def damage(path: Path) -> None:
    """Turn one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_sent_again_heals_a_file_that_was_damaged(tmp_path: Path, sqlite_url: str) -> None:
    with running_receiver(tmp_path / "var", sqlite_url) as receiver, scanner(receiver, US) as wire:
        assert wire.send_c_store(s.image()).Status == 0
        (row,) = receiver.instances()
        damage(receiver.data_dir / row.path)
        assert wire.send_c_store(s.image()).Status == 0
        (row,) = receiver.instances()
        assert is_intact(receiver.data_dir, row.path, row.sha256)
