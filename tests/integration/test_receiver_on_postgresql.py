"""What only several processes on one server can do to a receiver."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import synthetic
import yaml
from conftest import free_port, wait_until
from pydicom.uid import ExplicitVRLittleEndian
from receiver import running_receiver, scanner
from sqlalchemy import create_engine, text

from dicom_node.bootstrap import prepare_database
from dicom_node.config import load_config
from dicom_node.engine.executors import open_locks
from dicom_node.store.tables import GenerationRow, StudyRow

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
            wait_until(lambda: locks.is_alive("r"), 5)
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
        with receiver.database.write() as session:  # as the closing does: the study first, then its generation
            session.get(StudyRow, first.StudyInstanceUID, with_for_update=True)
            sender.start()
            time.sleep(0.3)  # by now the receiver holds the generation, and waits for the study
            session.get(GenerationRow, (first.StudyInstanceUID, 1), with_for_update=True)
        sender.join(20)
        assert statuses == [0]
        assert len(receiver.instances()) == 2
