"""Find failed subtasks by an index of nothing else

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | Sequence[str] | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FAILED = sa.text("state = 'FAILED'")


def upgrade() -> None:
    """Upgrade the database."""
    op.create_index(
        "ix_subtasks_failed",
        "subtasks",
        ["task_id", "number", "fingerprint", "cause"],
        sqlite_where=_FAILED,
        postgresql_where=_FAILED,
    )


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_index("ix_subtasks_failed", "subtasks")
