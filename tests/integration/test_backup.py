"""A backup of a running node, and a node made of it, on both databases: nothing that was acknowledged is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import synthetic
from conftest import run_postgresql, wait_until
from fake_pacs import FakePacs
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from sending_node import SendingNode
from sqlalchemy import make_url, select
from typer.testing import CliRunner
from world import STUDY, World

from dicom_node import admin, bootstrap
from dicom_node.audit.reading import newest
from dicom_node.cli import app
from dicom_node.config import Config
from dicom_node.domain.delivery import RetryPolicy
from dicom_node.engine.executors import hold, open_locks
from dicom_node.errors import BackupFailed
from dicom_node.pipeline.retention import clean_up
from dicom_node.store import backup
from dicom_node.store.database import Database
from dicom_node.store.spool import is_intact
from dicom_node.store.tables import DeliveryRow, InstanceRow


def config_of(data_dir: Path, url: str) -> Config:
    return Config.model_validate({"node": {"data_dir": data_dir}, "database": {"url": url}})


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Name two empty databases of one kind: of the node, and of the one that is made of its backup."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'node' / 'node.sqlite'}", f"sqlite:///{tmp_path / 'restored' / 'node.sqlite'}"
    url: str = request.getfixturevalue("postgresql_url")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {url.rpartition('/')[2]}_restored")
    return url, f"{url}_restored"


@contextmanager
def pushing(port: int) -> Iterator[list[str]]:
    """Push images for as long as the block takes; gives the UIDs that were acknowledged so far."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def push() -> None:
        entity = AE("SCANNER1")
        entity.add_requested_context(synthetic.US_IMAGE, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", port, ae_title="DICOM_NODE")
        image = synthetic.image()
        while not stop.is_set():
            if len(acknowledged) % 5 == 0:
                image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            if association.send_c_store(image).Status == 0:
                acknowledged.append(str(image.SOPInstanceUID))
        association.release()

    thread = threading.Thread(target=push)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def test_a_restored_node_has_all_that_was_acknowledged_and_goes_on_with_its_jobs(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    url, new_url = urls
    data_dir, new_dir, folder = tmp_path / "node", tmp_path / "restored", tmp_path / "backup"
    data_dir.mkdir()
    pacs = FakePacs()
    wanted = [{"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, "commitment": False}]
    node = SendingNode(data_dir, url, wanted)
    node.patience(delivery=RetryPolicy(base=timedelta(seconds=8), jitter=0))
    with node:
        study, results = node.answer(2)
        wait_until(lambda: node.deliveries()[0].attempts == 1, what="a delivery that has to wait")
        with pushing(node.port) as acknowledged:
            wait_until(lambda: len(acknowledged) >= 12, what="images")
            before = list(acknowledged)
            copied = admin.back_up(config_of(data_dir, url), folder)
            count = len(acknowledged)
            wait_until(lambda: len(acknowledged) > count, what="images after the backup")
    assert copied.problems == ()
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=folder, check=True)

    restored = config_of(new_dir, new_url)
    assert admin.restore(restored, folder).files == copied.files
    assert newest(data_dir, 1)[0]["type"] == "backup"
    database = Database(new_url)
    with database.read() as session:
        rows = {row.sop_instance_uid: row for row in session.scalars(select(InstanceRow))}
        waiting = list(session.scalars(select(DeliveryRow.state)))
    database.close()
    assert set(before) <= set(rows)
    assert all(is_intact(new_dir, row.path, row.sha256) for row in rows.values())
    assert waiting == ["pending", "pending"]

    with pacs, SendingNode(new_dir, new_url, wanted) as again:
        again.wait_for(study, "delivered", 40)
        known = {row.path for row in rows.values()}
        clean_up(again.services)
        assert all((new_dir / path).exists() for path in known)
    assert sorted(pacs.received) == sorted(results)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A node that does not run, with one study and its answer."""
    (tmp_path / "node").mkdir()
    (tmp_path / "config.yaml").write_text("node: {data_dir: node}\n")
    (tmp_path / "new.yaml").write_text("node: {data_dir: new}\n")
    world = World(tmp_path / "node")
    world.deliverable()
    with world.database.write() as session:
        for row in session.scalars(select(InstanceRow)):
            row.state = "removed"  # the rows of this world have no bytes
    return world


def call(tmp_path: Path, command: str, config: str = "config.yaml") -> tuple[int, str]:
    arguments = [command, str(tmp_path / "backup"), "--config", str(tmp_path / config)]
    outcome = CliRunner().invoke(app, arguments, env={"COLUMNS": "250"})  # wide enough to break no sentence
    return outcome.exit_code, f"{outcome.output}{outcome.exception or ''}"


def result_file(folder: Path) -> Path:
    return next(folder.rglob("results/*/1/*.dcm"))


def test_the_commands_make_a_node_of_a_copy(world: World, tmp_path: Path) -> None:
    code, said = call(tmp_path, "backup")
    assert code == 0, said
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0  # it is as confidential as the images
    code, said = call(tmp_path, "restore", "new.yaml")
    assert code == 0, said
    assert (tmp_path / "new").stat().st_mode & 0o007 == 0
    assert result_file(tmp_path / "new").read_bytes() == result_file(tmp_path / "node").read_bytes()
    outcome = CliRunner().invoke(app, ["study", "list", "--config", str(tmp_path / "new.yaml")])
    assert STUDY in outcome.output


def test_what_is_damaged_on_the_node_is_told_and_the_rest_copied(world: World, tmp_path: Path) -> None:
    files = sorted((tmp_path / "node" / "results").rglob("*.dcm"))
    files[0].write_bytes(b"other bytes")
    files[1].unlink()
    code, said = call(tmp_path, "backup")
    assert code == 1
    assert "damaged, its digest has changed" in said
    assert "missing on the disk" in said
    assert call(tmp_path, "restore", "new.yaml")[0] == 0


def test_nothing_is_written_over(world: World, tmp_path: Path) -> None:
    assert call(tmp_path, "backup")[0] == 0
    code, said = call(tmp_path, "backup")
    assert code == 1
    assert "must be empty or new" in said
    code, said = call(tmp_path, "restore")
    assert code == 1
    assert "node.data_dir must be empty or new" in said
    elsewhere = Config.model_validate({"node": {"data_dir": tmp_path / "new"}, "database": {"url": world.database.url}})
    with pytest.raises(BackupFailed, match="the database must be new"):
        admin.restore(elsewhere, tmp_path / "backup")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fault", ["changed", "missing", "no sums", "outside", "other database"])
def test_a_backup_with_a_fault_is_not_restored(world: World, tmp_path: Path, fault: str) -> None:
    assert call(tmp_path, "backup")[0] == 0
    file, sums = result_file(tmp_path / "backup"), tmp_path / "backup" / backup.SUMS
    if fault == "changed":
        file.write_bytes(file.read_bytes() + b".")
    elif fault == "missing":
        file.unlink()
    elif fault == "no sums":  # the backup was cut off before its end
        sums.unlink()
    elif fault == "outside":
        sums.write_text(f"{'0' * 64}  data/../../elsewhere\n")
    else:
        (tmp_path / "new.yaml").write_text(
            "{node: {data_dir: new}, database: {url: 'postgresql+psycopg://node@127.0.0.1:1/x'}}\n"
        )
    code, said = call(tmp_path, "restore", "new.yaml")
    assert code == 1
    assert {
        "changed": "damaged, its digest is not the one in SHA256SUMS",
        "missing": "No such file",
        "no sums": "no finished backup",
        "outside": "which lies elsewhere",
        "other database": "its database is sqlite, that of the configuration postgresql",
    }[fault] in said
    assert not (tmp_path / "new").exists()


def test_while_retention_removes_files_there_is_no_backup(world: World, tmp_path: Path) -> None:
    config = config_of(tmp_path / "node", world.database.url)
    with (
        hold(open_locks(config.database_url, config.node.data_dir), bootstrap.RETENTION),
        pytest.raises(BackupFailed, match="retention is removing files"),
    ):
        admin.back_up(config, tmp_path / "backup")


def test_while_a_backup_is_made_retention_waits(world: World, tmp_path: Path) -> None:
    locks = open_locks(world.database.url, tmp_path / "node")
    ran: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap.retention, "clean_up", lambda _services: ran.append(True))
        with hold(locks, bootstrap.RETENTION):
            bootstrap._clean_up(world.services, locks)
        assert ran == []
        bootstrap._clean_up(world.services, locks)
        assert ran == [True]


def test_a_node_that_never_started_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="there is no node to copy"):
        admin.back_up(config_of(tmp_path, f"sqlite:///{tmp_path / 'node.sqlite'}"), tmp_path / "backup")


def test_what_a_dead_process_left_beside_a_database_is_not_played_into_the_restored_one(
    world: World, tmp_path: Path
) -> None:
    assert call(tmp_path, "backup")[0] == 0
    (tmp_path / "new.sqlite-wal").write_bytes(b"what was not written down")
    outside = (tmp_path / "new.yaml").read_text(encoding="utf-8")
    (tmp_path / "outside.yaml").write_text(
        f"{outside}\ndatabase: {{url: 'sqlite:///{tmp_path}/new.sqlite'}}\n", encoding="utf-8"
    )
    code, said = call(tmp_path, "restore", "outside.yaml")
    assert code != 0
    assert "new.sqlite-wal exists" in said.replace("\n", "")


PASSWORD = "sec ret%/@: "


@pytest.fixture
def guarded_server() -> Iterator[str]:
    """Run a PostgreSQL that asks for a password; gives the URL of a database with it."""
    with run_postgresql() as url:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"ALTER USER node PASSWORD '{PASSWORD}'")
            for name in ("guarded", "guarded_restored"):
                connection.execute(f"CREATE DATABASE {name}")
            (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
            Path(hba).write_text("host all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
            connection.execute("SELECT pg_reload_conf()")
        yield make_url(url).set(password=PASSWORD, database="guarded").render_as_string(hide_password=False)


def test_a_password_gets_to_postgresql_and_on_no_command_line(
    guarded_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, seen = tmp_path / "bin", tmp_path / "seen"
    programs.mkdir()
    for program in ("pg_dump", "pg_restore"):
        wrapper = programs / program
        wrapper.write_text(
            f'#!/bin/sh\necho "$0" "$@" >> {seen}\nexec {shutil.which(program)} "$@"\n', encoding="utf-8"
        )
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    url = f"{guarded_server}?application_name=told"
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(guarded_server.replace("+psycopg", "").replace(quote(PASSWORD, safe=" "), "wrong"))
    config = config_of(tmp_path / "node", url)
    bootstrap.prepare_database(config)
    admin.back_up(config, tmp_path / "backup")
    restored = config_of(tmp_path / "restored", url.replace("/guarded?", "/guarded_restored?"))
    admin.restore(restored, tmp_path / "backup")
    commands = seen.read_text(encoding="utf-8")
    assert commands.count("--dbname=service=") == 2
    assert "sec" not in commands.replace(str(tmp_path), "")
    assert "told" not in commands


def test_a_service_of_postgresql_is_passed_on(
    guarded_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = make_url(guarded_server)
    services = tmp_path / "services"
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    services.write_text(f"[here]\nhost=127.0.0.1\nport={where.port}\nuser=node\n", encoding="utf-8")
    config = config_of(tmp_path / "node", "postgresql+psycopg:///guarded?service=here")
    bootstrap.prepare_database(config)
    assert admin.back_up(config, tmp_path / "backup").problems == ()
    assert (tmp_path / "backup" / "node.pgdump").stat().st_size > 1000
    config = config_of(tmp_path / "node", "postgresql+psycopg:///guarded?service=here&sslmode=prefer")
    with pytest.raises(BackupFailed, match="put the rest into it"):
        admin.back_up(config, tmp_path / "other")
