"""Keep the names that algorithms give to items

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


def upgrade() -> None:
    """Upgrade the database."""
    op.add_column("subtasks", sa.Column("named", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("subtasks") as table:
        table.drop_column("named")
