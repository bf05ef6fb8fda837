"""Who reads a product: what tasks have made of it, and what they are about to make."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.states import InstanceState, TaskStep
from ziggy_dask.records.tables import FeedRow, InstanceRow, PipelineRow, TaskRow


@patiently
def has_stored(database: Database, pipeline: str, before: int | None = None) -> bool:
    """Tell whether a pipeline has stored tasks; see `stored_readers`."""
    query = _stored(select(TaskRow.id), pipeline, before).limit(1)
    with database.reading() as connection:
        return connection.execute(query).first() is not None


@patiently
def stored_readers(
    database: Database, pipeline: str, node: str, path: str, before: int | None = None
) -> list[tuple[int, int]]:
    """Return number and attempt of the stored tasks of a node that read a product.

    Parameters
    ----------
    database
        The records.
    pipeline
        Name of the pipeline.
    node
        Name of the node.
    path
        The product.
    before
        Only of instances before this one; None: of all.
    """
    query = (
        _stored(select(TaskRow.id, TaskRow.attempt), pipeline, before)
        .join(FeedRow, FeedRow.task_id == TaskRow.id)
        .where(FeedRow.path == path, TaskRow.node == node)
        .order_by(TaskRow.id)
    )
    with database.reading() as connection:
        return [(row.id, row.attempt) for row in connection.execute(query)]


def _stored(query: Any, pipeline: str, before: int | None) -> Any:
    stored = _of_pipeline(query, pipeline).where(
        TaskRow.step == TaskStep.COMPLETE.value
    )
    return stored if before is None else stored.where(TaskRow.instance_id < before)


@patiently
def plans_in_flight(database: Database, pipeline: str) -> list[dict[str, Any]]:
    """Return the plans of tasks that have neither been stored nor failed, and still can."""
    final = [state.value for state in InstanceState if state.is_final]
    query = _of_pipeline(select(TaskRow.plan), pipeline).where(
        InstanceRow.state.not_in(final),
        TaskRow.position >= 0,
        TaskRow.step != TaskStep.COMPLETE.value,
        TaskRow.is_error.is_(False),
    )
    with database.reading() as connection:
        return [dict(row.plan) for row in connection.execute(query)]


def _of_pipeline(query: Any, pipeline: str) -> Any:
    return (
        query.join(InstanceRow, InstanceRow.id == TaskRow.instance_id)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .where(PipelineRow.name == pipeline)
    )
