"""Say which task made a version of a product, by which recipes; name states by tags

Revision ID: 0032
Revises: 0031
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | Sequence[str] | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STORED = """
    INSERT INTO makings (recipe_id, task_id, attempt)
    SELECT DISTINCT parts.recipe_id, tasks.id, tasks.attempt
    FROM tasks
    JOIN subtasks ON subtasks.task_id = tasks.id
    JOIN parts ON parts.id = subtasks.part_id
    WHERE tasks.step = 'COMPLETE' AND subtasks.state = 'COMPLETE'
      AND parts.recipe_id IS NOT NULL
"""


def upgrade() -> None:
    """Upgrade the database."""
    op.create_table(
        "makings",
        sa.Column("recipe_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, autoincrement=False),
        sa.ForeignKeyConstraint(
            ["recipe_id"], ["recipes.id"], name="fk_makings_recipe_id_recipes"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name="fk_makings_task_id_tasks"
        ),
        sa.PrimaryKeyConstraint("recipe_id", "task_id", "attempt", name="pk_makings"),
    )
    op.create_index("ix_makings_task_id", "makings", ["task_id"])
    op.create_table(
        "tags",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tags"),
    )
    op.create_index("ix_tags_snapshot", "tags", ["snapshot"])
    op.add_column("versions", sa.Column("task", sa.Integer(), nullable=True))
    op.add_column("versions", sa.Column("attempt", sa.Integer(), nullable=True))
    op.create_index("ix_versions_task", "versions", ["task"])
    op.create_index("ix_delivered_name", "delivered", ["name"])
    op.execute(_STORED)


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_index("ix_delivered_name", "delivered")
    op.drop_index("ix_versions_task", "versions")
    with op.batch_alter_table("versions") as table:
        table.drop_column("attempt")
        table.drop_column("task")
    op.drop_table("tags")
    op.drop_table("makings")
