"""A copy of everything while the node runs, and a node made of a copy.

The order is what makes it whole: first the database in one consistent look, then every file that its rows speak of.
A file is on the disk before its row and goes only by retention, which the caller holds off meanwhile; so none that the
copied rows speak of can be missing. What came after the look has files without rows in the copy: the janitor of the
restored node removes them. ``SHA256SUMS`` is written last, and names every file: without it a folder is no backup.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg.conninfo import make_conninfo
from sqlalchemy import func, make_url, select

from dicom_node.errors import BackupFailed
from dicom_node.store.database import Database
from dicom_node.store.instances import InstanceState
from dicom_node.store.part10 import data_set_offset
from dicom_node.store.spool import flush_folder
from dicom_node.store.tables import InstanceRow, ResultRow

SUMS, ABOUT, FILES = "SHA256SUMS", "backup.json", "data"
FORMAT = 1
_DUMPS = {"sqlite": "node.sqlite", "postgresql": "node.pgdump"}  # by kind of database
_CHUNK = 1 << 20
_SERVICE = "dicom-node"  # our section of the file that tells PostgreSQL's programs where to connect
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds.

    :ivar problems: files that rows speak of and that are damaged or gone on the disk of the node already.
    """

    files: int
    bytes: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that a row speaks of; of an instance the digest is that of the data set alone."""

    path: str
    sha256: str
    is_instance: bool


def back_up(database: Database, data_dir: Path, extra: list[str], folder: Path, now: datetime) -> Copied:
    """Copy everything into a new or empty folder; retention must not run meanwhile.

    :param extra: other files to take along as they are, relative to ``data_dir``.
    :raises BackupFailed: the folder is not empty, or something cannot be written or read.
    """
    _require_empty(folder, "the folder of the backup")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = make_url(database.url).get_backend_name()
        _DUMP[kind](database.url, folder / _DUMPS[kind])
        about = {"format": FORMAT, "database": kind, "made_at": now.isoformat()}
        (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        sums = {name: _digest(folder / name) for name in (_DUMPS[kind], ABOUT)}
        problems = []
        size = 0
        for wanted in _wanted(database):
            try:
                digest, is_whole = _copy_wanted(data_dir, wanted, folder / FILES)
            except FileNotFoundError:
                problems.append(f"{wanted.path}: missing on the disk")
                continue
            if not is_whole:
                problems.append(f"{wanted.path}: damaged, its digest has changed")
            sums[f"{FILES}/{wanted.path}"] = digest
            size += (folder / FILES / wanted.path).stat().st_size
        for path in extra:
            sums[f"{FILES}/{path}"] = _copy(data_dir / path, folder / FILES / path)
        os.sync()
        _write_sums(folder, sums)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"the backup could not be made: {error}") from error
    return Copied(len(sums), size, tuple(problems))


def restore(url: str, data_dir: Path, folder: Path) -> Copied:
    """Make a node of a backup: files first, the database last, so that half of it is no node.

    :param url: of the database; it must hold nothing yet, and be of the same kind.
    :raises BackupFailed: it is no whole backup, the node is not empty, or something cannot be written.
    """
    _require_empty(data_dir, "node.data_dir")
    try:
        sums = check(folder)
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        kind = make_url(url).get_backend_name()
        if about["format"] != FORMAT:
            raise BackupFailed(f"{folder}: a newer release made it")
        if about["database"] != kind:
            raise BackupFailed(f"{folder}: its database is {about['database']}, that of the configuration {kind}")
        _require_empty_database(url, kind)
        data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        size = 0
        for name in sums:
            if name.startswith(f"{FILES}/"):
                path = data_dir / name.removeprefix(f"{FILES}/")
                if _copy(folder / name, path) != sums[name]:
                    raise BackupFailed(f"{folder / name}: it changed while it was copied")
                size += path.stat().st_size
        os.sync()
        _LOAD[kind](folder / _DUMPS[kind], url)
    except (OSError, sqlite3.Error, KeyError, ValueError) as error:
        raise BackupFailed(f"the backup could not be restored: {error}") from error
    return Copied(len(sums), size)


def check(folder: Path) -> dict[str, str]:
    """Read a backup whole and compare every digest; gives them by name.

    :raises BackupFailed: it has no sums (it was never finished), or a file is missing, damaged or named strangely.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BackupFailed(f"{folder}: no finished backup: {SUMS} cannot be read: {error.strerror}") from error
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name, digest in sums.items():
        if name.startswith("/") or ".." in Path(name).parts:
            raise BackupFailed(f"{folder}: {SUMS} names {name!r}, which lies elsewhere")
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise BackupFailed(f"{folder / name}: {error.strerror}") from error
        if found != digest:
            raise BackupFailed(f"{folder / name}: damaged, its digest is not the one in {SUMS}")
    return sums


def _wanted(database: Database) -> Iterator[_Wanted]:
    """List the files that rows speak of now: those of the copied rows, and of what came since.

    They are asked for a thousand at a time: a look that lasted as long as the copy would keep SQLite from ever taking
    its log in.
    """
    instances = select(InstanceRow.id, InstanceRow.path, InstanceRow.sha256).order_by(InstanceRow.id)
    instances = instances.where(InstanceRow.state != InstanceState.REMOVED)
    results = select(ResultRow.id, ResultRow.path, ResultRow.sha256).order_by(ResultRow.id)
    for table, query in ((InstanceRow, instances), (ResultRow, results)):
        with database.read() as session:
            newest = session.scalar(select(func.max(table.id))) or 0
        last = 0
        while last < newest:
            with database.read() as session:
                rows = session.execute(query.where(table.id > last, table.id <= newest).limit(_ROWS_AT_ONCE)).all()
            for _, path, sha256 in rows:
                yield _Wanted(path, sha256, table is InstanceRow)
            last = rows[-1].id if rows else newest


def _copy_wanted(data_dir: Path, wanted: _Wanted, to: Path) -> tuple[str, bool]:
    """Copy a file; gives its digest, and whether it is what its row says."""
    digest = _copy(data_dir / wanted.path, to / wanted.path)
    if not wanted.is_instance:
        return digest, digest == wanted.sha256
    of_data_set = hashlib.sha256()
    with (to / wanted.path).open("rb") as stream:
        head = stream.read(_CHUNK)
        try:
            of_data_set.update(head[data_set_offset(head) :])
        except struct.error:
            return digest, False
        while chunk := stream.read(_CHUNK):
            of_data_set.update(chunk)
    return digest, of_data_set.hexdigest() == wanted.sha256


def _copy(source: Path, target: Path) -> str:
    """Copy a file with the folders above it; gives the SHA-256 of what was written."""
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        os.fchmod(writing.fileno(), 0o640)
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    beside = folder / f"{SUMS}.new"
    with beside.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{digest}  {name}\n" for name, digest in sums.items())
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(folder / SUMS)
    flush_folder(folder)


def _require_empty(folder: Path, what: str) -> None:
    try:
        is_empty = not folder.exists() or not any(folder.iterdir())
    except OSError as error:
        raise BackupFailed(f"{what}: {folder}: {error.strerror}") from error
    if not is_empty:
        raise BackupFailed(f"{what} must be empty or new, and {folder} is not")


def _require_empty_database(url: str, kind: str) -> None:
    file = make_url(url).database
    if kind == "sqlite":
        # What a dead process left beside a database would be played into the one that is restored.
        beside = [f"{file}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")] if file else []
        for name in beside:
            if Path(name).exists():
                raise BackupFailed(f"the database must be new, and {name} exists")
        return
    database = Database(url)
    try:
        if database.has_schema():
            raise BackupFailed("the database must be empty, and holds a node already")
    finally:
        database.close()


def _dump_sqlite(url: str, target: Path) -> None:
    """Copy a database that is being written, as it is at one moment (SQLite's online backup)."""
    source = make_url(url).database or ""
    with closing(sqlite3.connect(source, timeout=60)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise BackupFailed(f"the database is damaged: {verdict}")


def _load_sqlite(source: Path, url: str) -> None:
    target = Path(make_url(url).database or "")
    beside = target.with_name(f"{target.name}.new")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, beside)
    with beside.open("rb") as stream:
        os.fsync(stream.fileno())
    beside.replace(target)
    flush_folder(target.parent)


def _dump_postgresql(url: str, target: Path) -> None:
    _run_client(url, "pg_dump", "--format=custom", f"--file={target}")


def _load_postgresql(source: Path, url: str) -> None:
    _run_client(url, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", str(source))


def _run_client(url: str, program: str, *options: str) -> None:
    """Run a program of PostgreSQL. Where it connects is told by a file and its environment: all read command lines."""
    found = shutil.which(program)
    if found is None:
        raise BackupFailed(f"{program} is not installed here; Debian has it in postgresql-client")
    where = make_url(url)
    _, parameters = where.get_dialect()().create_connect_args(where)  # as libpq names them, those after "?" too
    environment = dict(os.environ)
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    with tempfile.NamedTemporaryFile("w", prefix="dicom-node-", encoding="utf-8") as services:  # readable by us alone
        target = {"service": _SERVICE}
        if "service" in parameters:  # of the administrator's own file, which a file of ours would hide
            target = {name: parameters.pop(name) for name in ("service", "dbname") if name in parameters}
            if parameters:
                raise BackupFailed("beside a service, database.url may name the database only: put the rest into it")
        else:
            services.write(f"[{_SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in parameters.items()))
            services.flush()
            environment["PGSERVICEFILE"] = services.name
        command = [found, "--no-password", f"--dbname={make_conninfo(**target)}", *options]
        outcome = subprocess.run(command, env=environment, capture_output=True, check=False)
    if outcome.returncode != 0:
        raise BackupFailed(f"{program} failed: {outcome.stderr.decode(errors='replace').strip()}")


_DUMP = {"sqlite": _dump_sqlite, "postgresql": _dump_postgresql}
_LOAD = {"sqlite": _load_sqlite, "postgresql": _load_postgresql}
