"""Alembic's environment: migrations run on the connection that ``Database.upgrade`` gives."""

from typing import Any, Literal

from alembic import context

from dicom_node.store.tables import Base, UtcDateTime


def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001
    """Leave the engine's own tables, which on SQLite share the file, out of every comparison."""
    return kind != "table" or name in Base.metadata.tables


def frozen_types(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Write plain types into migrations: they must not change when our classes do."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_object=ours,
    render_as_batch=True,  # SQLite cannot alter a column in place
    compare_type=True,
    render_item=frozen_types,
)
with context.begin_transaction():
    context.run_migrations()
