"""Keep the names that algorithms give to items, and why earlier attempts failed

Revision ID: 0028
Revises: 0027
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0028"
down_revision: str | Sequence[str] | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


_TEXTS = ("cause", "message", "fingerprint", "log", "traceback")


def upgrade() -> None:
    """Upgrade the database."""
    op.add_column("subtasks", sa.Column("named", sa.JSON(), nullable=True))
    with op.batch_alter_table("earlier_subtasks") as table:
        table.add_column(
            sa.Column("attempt", sa.Integer(), nullable=False, server_default="0")
        )
        for name in _TEXTS:
            table.add_column(
                sa.Column(name, sa.String(), nullable=False, server_default="")
            )


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("earlier_subtasks") as table:
        for name in ("attempt", *_TEXTS):
            table.drop_column(name)
    with op.batch_alter_table("subtasks") as table:
        table.drop_column("named")
