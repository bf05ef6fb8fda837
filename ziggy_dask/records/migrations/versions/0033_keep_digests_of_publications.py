"""Keep digests of the files that publications added to the datastore

Revision ID: 0033
Revises: 0032
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0033"
down_revision: str | Sequence[str] | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    op.add_column(
        "publications",
        sa.Column("root", sa.String(), server_default="", nullable=False),
    )
    op.create_table(
        "stored_files",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("publication", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_stored_files"),
    )
    op.create_index("ix_stored_files_publication", "stored_files", ["publication"])


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_table("stored_files")
    with op.batch_alter_table("publications") as table:
        table.drop_column("root")
