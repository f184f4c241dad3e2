"""The order of the lists of studies lies in an index whole, so that the last page is found as fast as the first."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE, NOW = "ix_studies_created_at", "ix_studies_created_at_study_instance_uid"


def upgrade() -> None:
    """Apply."""
    op.create_index(NOW, "studies", ["created_at", "study_instance_uid"])
    op.drop_index(BEFORE, "studies")


def downgrade() -> None:
    """Take back."""
    op.create_index(BEFORE, "studies", ["created_at"])
    op.drop_index(NOW, "studies")
