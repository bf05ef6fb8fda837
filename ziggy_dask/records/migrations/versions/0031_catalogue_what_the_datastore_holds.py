"""Catalogue what the datastore holds, and what tasks read

Revision ID: 0031
Revises: 0030
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | Sequence[str] | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = ("settled", "feeds", "places", "versions", "publications")
_TASKS = sa.table("tasks", sa.column("id"), sa.column("plan", sa.JSON()))
_ROWS = 500


def upgrade() -> None:
    """Upgrade the database."""
    op.create_table(
        "publications",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("instance", sa.Integer(), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.Column("is_counted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_publications"),
        sa.UniqueConstraint("snapshot", name="uq_publications_snapshot"),
    )
    op.create_index(
        "ix_publications_instance_number", "publications", ["instance", "number"]
    )
    op.create_table(
        "versions",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("publication", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("path", "publication", name="pk_versions"),
    )
    op.create_index("ix_versions_publication", "versions", ["publication"])
    op.create_table(
        "places",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("dimension", sa.String(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_places"),
    )
    op.create_index("ix_places_parent", "places", ["parent"])
    op.create_table(
        "feeds",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("path", "task_id", name="pk_feeds"),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name="fk_feeds_task_id_tasks"
        ),
    )
    op.create_table(
        "settled",
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("inputs", sa.String(), nullable=False),
        sa.Column("publication", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "node", "inputs", name="pk_settled"),
    )
    _fill_feeds()


def downgrade() -> None:
    """Downgrade the database."""
    for name in _TABLES:
        op.drop_table(name)


def _fill_feeds() -> None:
    """Note what the tasks on record read."""
    connection = op.get_bind()
    feeds = sa.table("feeds", sa.column("path"), sa.column("task_id"))
    last = 0
    while True:
        query = sa.select(_TASKS).where(_TASKS.c.id > last).order_by(_TASKS.c.id)
        tasks = connection.execute(query.limit(_ROWS)).all()
        if not tasks:
            return
        last = tasks[-1].id
        rows = [
            {"path": path, "task_id": task.id}
            for task in tasks
            for path in sorted(set(_paths(task.plan)))
        ]
        if rows:
            connection.execute(feeds.insert(), rows)


def _paths(plan: Any) -> Iterator[str]:
    content = json.loads(plan) if isinstance(plan, str) else plan
    for feed in (content or {}).get("feeds", ()):
        yield feed["path"]
