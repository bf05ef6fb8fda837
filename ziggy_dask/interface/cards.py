"""What notebooks show of clusters, instances and tasks, in parts that can be folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ziggy_dask.display import Html, bar, card, markup, seconds, section, state, table
from ziggy_dask.records import Database, instances, outcomes
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.outcomes import SubtaskRecord
from ziggy_dask.records.statistics import NodeStatistics, statistics

_MOST = 50
"""So many rows of a table are shown."""


def cluster_card(
    name: str,
    places: Mapping[str, str],
    pipelines: Mapping[str, str],
    known: Sequence[InstanceRecord],
) -> str:
    """Return a cluster: its places, pipelines with descriptions, and instances."""
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "pipeline": one.pipeline,
            "state": state(one.state.value),
            "made": one.created,
        }
        for one in reversed(known[-_MOST:])
    ]
    where = [
        {"what": key, "where": Html(f"<code>{markup(value)}</code>")}
        for key, value in places.items()
    ]
    about = [{"pipeline": key, "description": one} for key, one in pipelines.items()]
    return card(
        "Cluster",
        name,
        Html(""),
        [
            section("Places", table(where)),
            section("Pipelines", table(about), f"({len(about)})", is_open=True),
            section("Instances", _limited(rows, len(known)), f"({len(known)})"),
        ],
    )


def instance_card(database: Database, instance: int) -> str:
    """Return an instance: its nodes with bars, failures, parameters, versions."""
    record = instances.instance(database, instance)
    failures = outcomes.failures(database, instance)
    causes = [
        {"subtasks": one.count, "cause": one.cause, "message": one.message}
        for one in failures[:_MOST]
    ]
    _, sets = instances.instance_pipeline(database, instance)
    values = [
        {"set": name, "parameter": key, "value": str(value)}
        for name, some in sets.items()
        for key, value in some.values.items()
    ]
    nodes = _node_rows(statistics(database, instance))
    why = Html(f"<p>{markup(record.message)}</p>") if record.message else Html("")
    title = f"{record.id} {record.name}".strip()
    return card(
        "Instance",
        title,
        Html(f"{markup(record.pipeline)} {state(record.state.value)}"),
        [
            why,
            section("Nodes", table(nodes), f"({len(nodes)})", is_open=True),
            section(
                "Failures",
                _limited(causes, len(failures)),
                f"({len(failures)})",
                is_open=bool(failures),
            ),
            section("Parameters", table(values), f"({len(values)})"),
            section("Versions", table(_version_rows(record))),
        ],
    )


def _node_rows(found: Sequence[NodeStatistics]) -> list[dict[str, object]]:
    return [
        {
            "node": one.node,
            "progress": bar(one.complete, one.failed, one.subtasks),
            "complete": one.complete,
            "failed": one.failed,
            "subtasks": one.subtasks,
            "tasks": one.tasks.total,
            "median": seconds(one.times.percentiles[50]) if one.times else "",
            "slowest": seconds(one.times.largest) if one.times else "",
        }
        for one in found
    ]


def _version_rows(record: InstanceRecord) -> list[dict[str, object]]:
    versions = {
        f"pipeline {record.pipeline}": f"version {record.version}",
        "algorithms": record.code_version,
        "snapshot read": record.base_snapshot,
        **record.software,
    }
    return [{"what": k, "version": v} for k, v in versions.items()]


def task_card(record: TaskRecord, subtasks: Sequence[SubtaskRecord]) -> str:
    """Return a task: its subtasks, those that failed first, and what it read."""
    failed_first = sorted(subtasks, key=lambda one: (not one.cause.value, one.number))
    rows = [
        {
            "subtask": one.number,
            "state": state(one.state.value),
            "time": seconds(one.wall_s),
            "worker": f"{one.host}:{one.worker}",
            "message": one.message,
        }
        for one in failed_first[:_MOST]
    ]
    inputs = [{"read": k, "snapshot": str(v)} for k, v in record.inputs.items()]
    return card(
        "Task",
        record.id,
        Html(
            f"{markup(record.node)} {markup(record.unit)} {state(record.state)} "
            f"{bar(record.complete, record.failed, record.total)}"
        ),
        [
            Html(f"<p>{markup(record.message)}</p>") if record.message else Html(""),
            section(
                "Subtasks",
                _limited(rows, len(subtasks)),
                f"({record.complete} of {record.total} complete)",
                is_open=True,
            ),
            section("Inputs", table(inputs), f"({len(inputs)})"),
        ],
    )


def _limited(rows: Sequence[Mapping[str, object]], count: int) -> Html:
    more = count - len(rows)
    tail = f'<p class="zg-soft">and {more} more</p>' if more > 0 else ""
    return Html(table(rows) + tail)
