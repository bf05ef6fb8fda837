"""Keep what values are made of: code by content, recipes of parts, files of deliveries

Revision ID: 0027
Revises: 0026
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | Sequence[str] | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database."""
    op.create_table(
        "ingredients",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingredients")),
        sa.UniqueConstraint("kind", "digest", name=op.f("uq_ingredients_kind_digest")),
    )
    op.create_table(
        "recipes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipes")),
        sa.UniqueConstraint("digest", name=op.f("uq_recipes_digest")),
    )
    op.create_table(
        "recipe_uses",
        sa.Column("recipe_id", sa.Integer(), nullable=False),
        sa.Column("ingredient_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recipe_id"], ["recipes.id"], name=op.f("fk_recipe_uses_recipe_id_recipes")
        ),
        sa.ForeignKeyConstraint(
            ["ingredient_id"],
            ["ingredients.id"],
            name=op.f("fk_recipe_uses_ingredient_id_ingredients"),
        ),
        sa.PrimaryKeyConstraint(
            "recipe_id", "ingredient_id", name=op.f("pk_recipe_uses")
        ),
    )
    op.create_index("ix_recipe_uses_ingredient_id", "recipe_uses", ["ingredient_id"])
    op.create_table(
        "delivered",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("item", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_delivered_delivery_id_deliveries"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivered")),
    )
    op.create_index("ix_delivered_delivery_id", "delivered", ["delivery_id"])
    op.create_index("ix_delivered_path_item", "delivered", ["path", "item"])
    op.add_column("parts", sa.Column("recipe_id", sa.Integer(), nullable=True))
    op.add_column(
        "parts", sa.Column("attempt", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("earlier_subtasks", sa.Column("part_id", sa.Integer(), nullable=True))
    op.add_column(
        "instances", sa.Column("code", sa.String(), nullable=False, server_default="")
    )
    op.add_column(
        "pipelines", sa.Column("place", sa.String(), nullable=False, server_default="")
    )


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_column("pipelines", "place")
    op.drop_column("instances", "code")
    op.drop_column("earlier_subtasks", "part_id")
    op.drop_column("parts", "attempt")
    op.drop_column("parts", "recipe_id")
    for table in ("delivered", "recipe_uses", "recipes", "ingredients"):
        op.drop_table(table)
