"""Count tasks by an index, which holds all that a scoreboard needs

Revision ID: 0011
Revises: 0003
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COUNTED = [
    "instance_id",
    "node",
    "step",
    "is_error",
    "total",
    "complete",
    "failed",
    "started",
    "finished",
]


def upgrade() -> None:
    """Upgrade the database."""
    op.create_index("ix_tasks_counted", "tasks", _COUNTED)


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_index("ix_tasks_counted", "tasks")
