"""Keep a journal of how tasks stood, for replays

Revision ID: 0025
Revises: 0008
"""

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the database; what it knows of earlier tasks becomes their journal."""
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("time_s", sa.Double(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("is_error", sa.Boolean(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_journal_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
    )
    op.create_table(
        "earlier_subtasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("started_s", sa.Double(), nullable=False),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_earlier_subtasks_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_earlier_subtasks")),
    )
    op.create_index(
        op.f("ix_earlier_subtasks_task_id"), "earlier_subtasks", ["task_id"]
    )
    _fill()
    op.create_index(op.f("ix_journal_task_id_time_s"), "journal", ["task_id", "time_s"])


def downgrade() -> None:
    """Downgrade the database."""
    op.drop_table("earlier_subtasks")
    op.drop_table("journal")


def _fill() -> None:
    """Note when tasks were made, when they began, and how they ended."""
    names = ["task_id", "time_s", "step", "is_error", "total", "complete", "failed"]
    tasks, instances, journal = (
        sa.table(
            "tasks",
            *map(sa.column, ("id", "instance_id", *names[2:])),
            sa.column("started"),
            sa.column("finished"),
        ),
        sa.table("instances", sa.column("id"), sa.column("created")),
        sa.table("journal", *map(sa.column, names)),
    )
    counts = (tasks.c.total, tasks.c.complete, tasks.c.failed)
    fresh = (tasks.c.total, sa.literal(0), sa.literal(0))
    stands = (tasks.c.step, tasks.c.is_error, *counts)
    created, started, finished = (
        _seconds(one)
        for one in (instances.c.created, tasks.c.started, tasks.c.finished)
    )
    now = sa.literal(time.time())
    moments = [
        (created, sa.true(), sa.literal("WAITING_TO_RUN"), sa.false(), *fresh),
        (started, started.is_not(None), sa.literal("EXECUTING"), sa.false(), *fresh),
        (finished, finished.is_not(None), *stands),
        (now, finished.is_(None), *stands),
    ]
    for moment, is_known, *columns in moments:
        query = (
            sa.select(tasks.c.id, moment, *columns)
            .join(instances, instances.c.id == tasks.c.instance_id)
            .where(is_known)
        )
        op.execute(journal.insert().from_select(names, query))


def _seconds(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a time as seconds since 1970, in the words of either database."""
    if op.get_bind().dialect.name == "sqlite":
        return (sa.func.julianday(moment) - 2440587.5) * 86400.0
    return sa.extract("epoch", moment)
