"""Count equal alerts on one line, and clear those whose cause has gone

Revision ID: 0030
Revises: 0029
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0030"
down_revision: str | Sequence[str] | None = "0029"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    with op.batch_alter_table("alerts") as table:
        table.add_column(
            sa.Column("cause", sa.String(), server_default="", nullable=False)
        )
        table.add_column(
            sa.Column("count", sa.Integer(), server_default="1", nullable=False)
        )
        table.add_column(sa.Column("latest", sa.DateTime(), nullable=True))
        table.add_column(sa.Column("sent", sa.DateTime(), nullable=True))
    op.create_index("ix_alerts_cause_id", "alerts", ["cause", "id"])


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_index("ix_alerts_cause_id", "alerts")
    with op.batch_alter_table("alerts") as table:
        for name in ("sent", "latest", "count", "cause"):
            table.drop_column(name)
