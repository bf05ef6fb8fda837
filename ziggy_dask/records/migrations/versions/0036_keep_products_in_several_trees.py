"""Keep products in several trees

Revision ID: 0036
Revises: 0035
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0036"
down_revision: str | Sequence[str] | None = "0035"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database: all that is there is in the first tree."""
    op.create_table(
        "trees",
        sa.Column("publication", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tree", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("is_gone", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("publication", "tree", name="pk_trees"),
    )
    op.execute(
        "INSERT INTO trees (publication, tree, snapshot, is_gone) "
        "SELECT number, 0, snapshot, expired IS NOT NULL FROM publications"
    )
    op.add_column(
        "versions", sa.Column("tree", sa.Integer(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    """Downgrade the database."""
    with op.batch_alter_table("versions") as table:
        table.drop_column("tree")
    op.drop_table("trees")
