"""Count only the time of work by clocks, and keep why tasks failed

Revision ID: 0026
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | Sequence[str] | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STARTS = {"instances": "created", "tasks": "started"}


def upgrade() -> None:
    """Upgrade the database."""
    for table in _STARTS:
        op.add_column(
            table,
            sa.Column("clock_s", sa.Double(), nullable=False, server_default="0"),
        )
        op.add_column(table, sa.Column("clock_since_s", sa.Double(), nullable=True))
    op.add_column(
        "tasks", sa.Column("cause", sa.String(), nullable=False, server_default="")
    )
    op.execute(
        "UPDATE tasks SET cause = CASE WHEN message = 'halted by an operator' "
        "THEN 'halted' ELSE 'subtasks failed' END WHERE is_error"
    )
    # How long earlier ones stood still is not known: their clocks show all the time.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, start in _STARTS.items():
        took = (
            f"(julianday(finished) - julianday({start})) * 86400"
            if is_sqlite
            else f"extract(epoch FROM finished - {start})"
        )
        op.execute(
            f"UPDATE {table} SET clock_s = {took} "
            f"WHERE finished IS NOT NULL AND {start} IS NOT NULL"
        )


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_column("tasks", "cause")
    for table in _STARTS:
        op.drop_column(table, "clock_since_s")
        op.drop_column(table, "clock_s")
