"""Names that are on record, for completion: few columns, newest first, not too many."""

from __future__ import annotations

import yaml
from sqlalchemy import func, select

from ziggy_dask.records.database import Database
from ziggy_dask.records.tables import (
    InstanceRow,
    ParameterSetRow,
    PipelineRow,
    SubtaskRow,
    TaskRow,
)

MOST = 200
"""So many names at most are offered."""


def pipeline_names(database: Database) -> list[tuple[str, str]]:
    """Return the names of pipelines, each with what to say of it."""
    newest = select(PipelineRow.name, func.max(PipelineRow.version))
    with database.reading() as connection:
        rows = connection.execute(newest.group_by(PipelineRow.name).limit(MOST)).all()
    return [(name, f"version {version}") for name, version in rows]


def node_names(database: Database, pipeline: str) -> list[tuple[str, str]]:
    """Return the nodes of the newest version of a pipeline."""
    query = (
        select(PipelineRow.text)
        .where(PipelineRow.name == pipeline)
        .order_by(PipelineRow.version.desc())
    )
    with database.reading() as connection:
        text = connection.execute(query.limit(1)).scalar()
    return [(name, "") for name in yaml.safe_load(text)["nodes"]] if text else []


def parameter_set_names(database: Database, pipeline: str) -> list[tuple[str, str]]:
    """Return ``Set.parameter=`` for all parameters of a pipeline, or of all."""
    query = select(ParameterSetRow.name, ParameterSetRow.content).order_by(
        ParameterSetRow.version.desc()
    )
    if pipeline:
        query = query.where(ParameterSetRow.pipeline == pipeline)
    found: dict[str, str] = {}
    with database.reading() as connection:
        for name, content in connection.execute(query.limit(MOST)):
            for parameter, _, value in content["parameters"]:
                found.setdefault(f"{name}.{parameter}=", str(value))
    return list(found.items())


def instance_numbers(database: Database) -> list[tuple[str, str]]:
    """Return the newest instances, with pipeline and state."""
    query = (
        select(InstanceRow.id, PipelineRow.name, InstanceRow.state)
        .join(PipelineRow, PipelineRow.id == InstanceRow.pipeline_id)
        .order_by(InstanceRow.id.desc())
        .limit(MOST)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    return [(str(number), f"{name} {state}") for number, name, state in rows]


def task_numbers(
    database: Database, *, only_failed: bool = False
) -> list[tuple[str, str]]:
    """Return the newest tasks, with node and unit of work."""
    query = select(TaskRow.id, TaskRow.node, TaskRow.unit)
    if only_failed:
        query = query.where(TaskRow.is_error.is_(True))
    with database.reading() as connection:
        rows = connection.execute(query.order_by(TaskRow.id.desc()).limit(MOST)).all()
    return [(str(number), f"{node} {unit}") for number, node, unit in rows]


def cause_names(database: Database) -> list[tuple[str, str]]:
    """Return the fingerprints of failures of failed tasks, with the cause of each."""
    failed = (
        select(TaskRow.id)
        .where(TaskRow.is_error.is_(True))
        .order_by(TaskRow.id.desc())
        .limit(MOST)
    )
    query = (
        select(SubtaskRow.fingerprint, func.min(SubtaskRow.cause))
        .where(SubtaskRow.task_id.in_(failed), SubtaskRow.fingerprint != "")
        .group_by(SubtaskRow.fingerprint)
    )
    with database.reading() as connection:
        return [(name, cause) for name, cause in connection.execute(query.limit(MOST))]
