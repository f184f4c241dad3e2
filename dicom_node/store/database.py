"""Opening the database: SQLite (WAL, synchronous FULL) or PostgreSQL by URL, one pair of session makers for both."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from dicom_node.errors import ConfigError, SpoolFull
from dicom_node.store.turn import Turn

MIGRATIONS = Path(__file__).parent / "migrations"
_DISK_FULL = "53100"  # SQLSTATE of PostgreSQL
SECRET_WORDS = ("password", "secret", "token")


class Database:
    """The node's database. ``read`` never blocks a writer; ``write`` commits at its end or rolls back whole.

    On SQLite a writer waits its turn and takes the lock at once (``BEGIN IMMEDIATE``) instead of failing half-way.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _create_engine(url)
        self._writing = self.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        file = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self._turn = Turn(Path(file).parent) if file else None

    @property
    def is_in_demand(self) -> bool:
        """Tell whether our last write had to wait for another: then it should not be held longer than it must."""
        return self._turn is not None and self._turn.is_in_demand

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only looks."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block.

        :raises SpoolFull: when the disk of the database has no room.
        """
        with (
            self._our_turn(),
            _full_disk_told(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def write_rows(self) -> Iterator[Connection]:
        """Open a bare connection that commits at the end of the block.

        For the path of every image, where a session costs more than the rows it writes.

        :raises SpoolFull: when the disk of the database has no room.
        """
        with self._our_turn(), _full_disk_told(), self._writing.begin() as connection:
            yield connection

    def _our_turn(self) -> AbstractContextManager[None]:
        return self._turn.taken() if self._turn is not None else nullcontext()

    def upgrade(self) -> None:
        """Bring the schema to the newest migration; nothing happens when it is there already.

        :raises ConfigError: the schema is of a newer release.
        """
        from alembic import command  # noqa: PLC0415 - a third of a second that only an upgrade needs
        from alembic.config import Config as AlembicConfig  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        configuration = AlembicConfig()
        configuration.set_main_option("script_location", str(MIGRATIONS))
        with self._our_turn(), self._writing.begin() as connection:
            configuration.attributes["connection"] = connection
            try:
                command.upgrade(configuration, "head")
            except CommandError as error:
                raise ConfigError(
                    f"the database is of a newer release than this one, which cannot use it: {error}"
                ) from error

    def has_schema(self) -> bool:
        """Tell whether our tables are there, of whichever release."""
        return inspect(self.engine).has_table("studies")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def session_within(connection: Connection) -> Iterator[Session]:
    """Open a session that takes part in the transaction of a connection; that one commits, not the session."""
    with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
        yield session
        session.commit()


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or (
            getattr(error.orig, "sqlstate", None) == _DISK_FULL
        ):
            raise SpoolFull("the disk is full: the database cannot be written") from error
        raise


def mask_password(database_url: str) -> str:
    """Hide the password of a database URL, also one given as a parameter."""
    url = make_url(database_url)
    hidden = {name: "masked" for name in url.query if any(word in name.lower() for word in SECRET_WORDS)}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _create_engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        # A stale connection after a restart of the server must not fail a job.
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    file = make_url(url).database
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 60, "check_same_thread": False}, pool_size=10, max_overflow=20)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=60000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
