"""Keep when jobs were last seen to run, and for how long before they were requeued

Revision ID: 0029
Revises: 0028
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | Sequence[str] | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("seen", sa.DateTime(), nullable=True))
        table.add_column(
            sa.Column("earlier_s", sa.Double(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("jobs") as table:
        table.drop_column("earlier_s")
        table.drop_column("seen")
