"""Start the instance of an event once, and keep what becomes of handlers

Revision ID: 0004
Revises: 0012
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    with op.batch_alter_table("events") as batch:
        batch.add_column(sa.Column("due", sa.DateTime(), nullable=True))
        batch.add_column(
            sa.Column("files", sa.JSON(), nullable=False, server_default="[]")
        )
        batch.add_column(
            sa.Column(
                "is_settled", sa.Boolean(), nullable=False, server_default=sa.true()
            )
        )
        batch.create_unique_constraint(
            op.f("uq_events_pipeline_handler_due"), ["pipeline", "handler", "due"]
        )
    op.create_table(
        "handlers",
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=True),
        sa.Column("fault", sa.String(), nullable=False),
        sa.Column("schedule", sa.String(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("pipeline", "name", name=op.f("pk_handlers")),
    )


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_table("handlers")
    with op.batch_alter_table("events") as batch:
        batch.drop_constraint(op.f("uq_events_pipeline_handler_due"), type_="unique")
        batch.drop_column("is_settled")
        batch.drop_column("files")
        batch.drop_column("due")
