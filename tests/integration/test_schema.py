"""The schema is the sum of the migrations, and the engine's tables beside it disturb nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, insert, select, text, types

from dicom_node.engine.queue import JobQueue
from dicom_node.errors import ConfigError
from dicom_node.store.database import MIGRATIONS, Database
from dicom_node.store.tables import Base

SCRIPTS = Config()
SCRIPTS.set_main_option("script_location", str(MIGRATIONS))
#: Every schema that a node out there may have, the newest left out.
EARLIER = [script.revision for script in ScriptDirectory.from_config(SCRIPTS).walk_revisions()][:0:-1]


def at_revision(database: Database, revision: str) -> None:
    """Make the tables as a release of that revision left them."""
    with database.engine.begin() as connection:
        SCRIPTS.attributes["connection"] = connection
        command.upgrade(SCRIPTS, revision)


def tables_of(connection: Connection) -> list[Table]:
    """Read what tables there are, each after those that it refers to."""
    there = MetaData()
    there.reflect(connection, only=lambda name, _: name in Base.metadata.tables)
    return there.sorted_tables


def something(column: Column[Any]) -> Any:
    """Give a value for a column; keys are the same everywhere, so that every reference finds its row."""
    match column.type:
        case types.DateTime():
            return datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
        case types.JSON():
            return [{"id": 1}]
        case types.Boolean():
            return True
        case types.Integer():
            return 1
        case types.LargeBinary():
            return b"1"
        case _:
            return "1.2.3"


def test_the_tables_are_what_the_migrations_make(database_url: str) -> None:
    database, queue = Database(database_url), JobQueue(database_url)
    queue.migrate()
    database.upgrade()
    database.upgrade()  # once more changes nothing
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _o, name, kind, _r, _c: kind != "table" or name in Base.metadata.tables,
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    queue.close()
    database.close()


def test_there_are_earlier_schemas() -> None:
    assert EARLIER[0] == "0001"


@pytest.mark.parametrize("revision", EARLIER)
def test_rows_of_an_earlier_release_are_all_there_after_the_upgrade(database_url: str, revision: str) -> None:
    database = Database(database_url)
    at_revision(database, revision)
    with database.engine.begin() as connection:
        for table in tables_of(connection):
            connection.execute(insert(table).values({column.name: something(column) for column in table.columns}))
        before = {
            table.name: dict(connection.execute(select(table)).mappings().one()) for table in tables_of(connection)
        }
    database.upgrade()
    with database.engine.connect() as connection:
        after = {
            table.name: dict(connection.execute(select(table)).mappings().one()) for table in tables_of(connection)
        }
    assert set(after) == set(Base.metadata.tables)
    for name, row in before.items():
        assert after[name] | row == after[name]
    with database.read() as session:  # and today's code can read them
        for mapper in Base.registry.mappers:
            assert session.scalars(select(mapper.class_)).one()
    database.close()


def test_a_database_of_a_newer_release_is_a_sentence(database_url: str) -> None:
    database = Database(database_url)
    database.upgrade()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="of a newer release than this one"):
        database.upgrade()
    database.close()
