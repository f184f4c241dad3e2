"""An association tells which study a long transfer belongs to, before its first instance is there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("incoming_study_uid", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.drop_column("incoming_study_uid")
