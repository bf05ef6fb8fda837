"""Keep why jobs ended and with which exit code

Revision ID: 0020
Revises: 0025
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | Sequence[str] | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    with op.batch_alter_table("jobs") as table:
        table.add_column(
            sa.Column("cause", sa.String(), nullable=False, server_default="")
        )
        table.add_column(sa.Column("exit_code", sa.Integer(), nullable=True))
    with op.batch_alter_table("jobs") as table:
        table.alter_column("cause", server_default=None)


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("jobs") as table:
        table.drop_column("exit_code")
        table.drop_column("cause")
