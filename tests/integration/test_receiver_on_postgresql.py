"""What only several processes on one server can do to a receiver."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import synthetic
import yaml
from conftest import free_port, wait_until
from pydicom.uid import ExplicitVRLittleEndian
from receiver import running_receiver, scanner
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.exc import OperationalError
from world import STUDY, World

from dicom_node.bootstrap import prepare_database
from dicom_node.config import load_config
from dicom_node.engine.executors import open_locks
from dicom_node.pipeline.completion import close_study
from dicom_node.pipeline.retention import clean_up
from dicom_node.store.database import Database
from dicom_node.store.generations import still_receiving
from dicom_node.store.instances import Arrival, InstanceLog
from dicom_node.store.overview import gauges
from dicom_node.store.spool import StoredFile
from dicom_node.store.tables import GenerationRow, InstanceRow, StudyRow

US = (synthetic.US_IMAGE, ExplicitVRLittleEndian)


def test_a_receiver_whose_connection_to_the_server_broke_counts_as_alive(tmp_path: Path, postgresql_url: str) -> None:
    settings = {
        "node": {"data_dir": str(tmp_path / "var")},
        "dicom": {"port": free_port()},
        "database": {"url": postgresql_url},
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    prepare_database(load_config(file))
    locks = open_locks(postgresql_url, tmp_path)
    command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(file), "--only", "receiver", "--name", "r"]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: locks.is_alive("r"))
            engine = create_engine(postgresql_url)
            with engine.connect() as connection:
                connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
                )
            engine.dispose()
            # Taken for dead, its open associations would be buried, and their studies closed while they deliver.
            wait_until(lambda: locks.is_alive("r"), 15)
        finally:
            process.terminate()
    assert process.returncode == 0


def test_a_late_image_and_the_closing_that_want_each_others_rows_both_get_on(
    tmp_path: Path, postgresql_url: str
) -> None:
    with running_receiver(tmp_path, postgresql_url) as receiver, scanner(receiver, US) as association:
        first = synthetic.image()
        assert association.send_c_store(first).Status == 0
        second = synthetic.image(number=2)
        assert second.StudyInstanceUID == first.StudyInstanceUID
        statuses: list[int] = []
        sender = threading.Thread(target=lambda: statuses.append(association.send_c_store(second).Status))
        # As the closing does: the study first, then its generation. The server ends the receiver's transaction, which
        # waited first, or on a slow machine this one: a closing is a job, and has its next turn.
        with contextlib.suppress(OperationalError), receiver.database.write() as session:
            session.get(StudyRow, first.StudyInstanceUID, with_for_update=True)
            sender.start()
            time.sleep(0.3)  # by now the receiver holds the generation, and waits for the study
            session.get(GenerationRow, (first.StudyInstanceUID, 1), with_for_update=True)
        sender.join(20)
        assert statuses == [0]
        assert len(receiver.instances()) == 2


@pytest.fixture
def world(tmp_path: Path, postgresql_url: str) -> Iterator[World]:
    world = World(tmp_path, postgresql_url)
    yield world
    world.database.close()


def arrival(world: World, study: str, number: int) -> Arrival:
    file = StoredFile(f"instances/{study}.{number}.dcm", str(number) * 64, 1)
    uid = f"{study}.{number}"
    return Arrival(uid, "1.2", study, "1.2.3.9", "1.2.840", file, 1, "VOLUSON1", None, world.time)


def waits_for_a_lock(database: Database) -> bool:
    with database.read() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")))


def test_an_image_under_way_and_the_closing_wait_for_each_other_in_no_circle(world: World) -> None:
    world.release(world.receive())
    log = InstanceLog(lambda *_: True)
    with world.database.write_rows() as connection:
        log.record(connection, [arrival(world, STUDY, 7)])
    closing = threading.Thread(target=close_study, args=(world.services, STUDY, 1, 0))
    world.later(seconds=60)
    with world.database.write_rows() as connection:
        assert still_receiving(connection, STUDY, 1, world.time)  # as an image does first
        closing.start()
        wait_until(lambda: waits_for_a_lock(world.database), what="the closing")
        log.record(connection, [arrival(world, STUDY, 8)])
    closing.join(20)
    assert (world.generation().state, world.generation().tick) == ("receiving", 1)  # it had its turn and saw the image
    with world.database.read() as session:
        assert gauges(session).studies == {"receiving": 1}


def test_receivers_that_take_the_same_studies_in_another_order_all_get_on(world: World) -> None:
    world.receive()
    world.receive(study="1.2.4")
    meet = threading.Barrier(2)
    faults: list[Exception] = []

    def meet_after_the_first(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE generations"):
            with contextlib.suppress(threading.BrokenBarrierError):
                meet.wait(0.5)

    def deliver(number: int, studies: Sequence[str]) -> None:
        try:
            with world.database.write_rows() as connection:
                event.listen(connection, "after_cursor_execute", meet_after_the_first)
                arrivals = [arrival(world, study, number) for study in studies]
                outcomes = InstanceLog(lambda *_: True).record(connection, arrivals)
                assert [outcome.is_kept for outcome in outcomes] == [True, True]
        except Exception as error:  # noqa: BLE001 - raised in a thread, told below
            faults.append(error)

    world.later(seconds=1)
    threads = [
        threading.Thread(target=deliver, args=(number, studies))
        for number, studies in ((7, (STUDY, "1.2.4")), (8, ("1.2.4", STUDY)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert faults == []


def test_an_image_that_opens_a_generation_is_not_removed_by_a_clean_up_under_way(world: World) -> None:
    world.deliverable(1)
    with world.database.write() as session:
        session.execute(text("UPDATE deliveries SET state = 'sent'"))
    world.later(days=400)
    cleaning = threading.Thread(target=clean_up, args=(world.services,))
    with world.database.write_rows() as connection:
        (outcome,) = InstanceLog(lambda *_: True).record(connection, [arrival(world, STUDY, 7)])
        assert outcome.timer is not None
        cleaning.start()
        wait_until(lambda: waits_for_a_lock(world.database), what="the clean-up")
    cleaning.join(20)
    with world.database.read() as session:
        assert list(session.scalars(select(InstanceRow.state).order_by(InstanceRow.id))) == ["stored", "stored"]
        assert session.get(StudyRow, STUDY) is not None
