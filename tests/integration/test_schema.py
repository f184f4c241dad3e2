"""The schema is the sum of the migrations, and the engine's tables beside it disturb nothing."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dicom_node.engine.queue import JobQueue
from dicom_node.store.database import Database
from dicom_node.store.tables import Base


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
