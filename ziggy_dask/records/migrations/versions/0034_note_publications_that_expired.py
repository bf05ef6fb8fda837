"""Note which publications the datastore does not keep any more

Revision ID: 0034
Revises: 0033
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0034"
down_revision: str | Sequence[str] | None = "0033"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    op.add_column("publications", sa.Column("expired", sa.DateTime(), nullable=True))


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("publications") as table:
        table.drop_column("expired")
