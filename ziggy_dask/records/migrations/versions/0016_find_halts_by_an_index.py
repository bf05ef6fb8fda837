"""Find tasks that are asked to halt by an index of nothing else

Revision ID: 0016
Revises: 0020
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | Sequence[str] | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    op.create_index(
        "ix_tasks_halting",
        "tasks",
        ["instance_id"],
        sqlite_where=sa.text("is_halting IS 1"),
        postgresql_where=sa.text("is_halting IS true"),
    )


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_index("ix_tasks_halting", "tasks")
