"""The report on an instance as one HTML page.

Every number on it is a ``data`` element that holds the value in full.
"""

from __future__ import annotations

from ziggy_dask.compute.formatting import price
from ziggy_dask.definitions.drawing import lineage_svg
from ziggy_dask.display import (
    STYLE,
    Html,
    bar,
    markup,
    number,
    seconds,
    size,
    state,
    table,
)
from ziggy_dask.interface.objects import Instance
from ziggy_dask.interface.report.drawings import durations_svg, timeline_svg
from ziggy_dask.receipt import model_path
from ziggy_dask.records.items import shown_items
from ziggy_dask.records.jobs import JobRecord
from ziggy_dask.records.outcomes import FailureGroup
from ziggy_dask.records.statistics import PERCENTILES, Breakdown, NodeStatistics

_TIMES = ("sum", "min", "max", "mean", "std", *(f"p{p}" for p in PERCENTILES))
_PAGE_STYLE = """
body { margin: 0; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; }
h2 { font-size: 16px; margin: 30px 0 8px; padding-bottom: 3px;
  border-bottom: 2px solid var(--zg-blue); break-after: avoid; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 16px 0; }
.facts div { background: var(--zg-shade); border-radius: 6px; padding: 8px 14px; }
.facts b { display: block; font-size: 18px; }
tr, svg { break-inside: avoid; }
@page { size: A4 landscape; margin: 14mm;
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 9px; } }
"""


def report_html(instance: Instance, cluster: str) -> str:
    """Return the report on an instance.

    Parameters
    ----------
    instance
        The instance.
    cluster
        Name of the cluster that it belongs to.
    """
    record = instance.record
    found = instance.statistics
    title = f"{record.pipeline}, instance {record.id}"
    parts = [
        _heading(instance, cluster),
        _facts(instance, found),
        _part(
            "Where products come from", lineage_svg(instance.pipeline, _notes(found))
        ),
        _part("Scoreboard", table([_score(one) for one in found], "scoreboard")),
        _part("Timeline", timeline_svg(instance.timeline, [one.node for one in found])),
        _part(
            "Times of complete subtasks",
            Html(
                durations_svg(found)
                + '<p class="zg-soft">Line: smallest to largest. Mark: median. Box: '
                "from there to the 90th percentile.</p>"
                + table([_times(one) for one in found], "statistics")
            ),
        ),
        _part("Processors and memory", table([_used(one) for one in found], "used")),
        _part("Slowest subtasks", table(_slowest(found), "slowest")),
        _part(
            "Where the time of tasks went",
            table([_broken(one.node, one.breakdown) for one in found], "breakdown"),
        ),
        _part("Cost", table(_costs(instance.jobs), "cost")),
        _part("Failures by cause", table(_failures(instance.failures), "failures")),
        _part("Parameters", table(_parameters(instance), "parameters")),
        _part("Models", table(_models(instance), "models")),
        _part("Versions", table(_versions(instance), "versions")),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{markup(title)}</title><style>{STYLE}{_PAGE_STYLE}</style></head>\n"
        f'<body class="zg"><main>{"".join(parts)}</main></body></html>\n'
    )


def _part(title: str, body: Html) -> Html:
    return Html(f"<section><h2>{markup(title)}</h2>{body}</section>\n")


def _heading(instance: Instance, cluster: str) -> Html:
    record = instance.record
    name = f" “{record.name}”" if record.name else ""
    why = f"<p>{markup(record.message)}</p>" if record.message else ""
    return Html(
        f"<h1>{markup(record.pipeline)}{markup(name)}</h1>"
        f'<p class="zg-soft">Instance {number(record.id)} of cluster '
        f"<code>{markup(cluster)}</code>, made {markup(record.created)}. "
        f"{markup(instance.pipeline.description)}</p>{why}"
    )


def _facts(instance: Instance, found: list[NodeStatistics]) -> Html:
    record = instance.record
    facts: dict[str, object] = {
        "state": state(record.state.value),
        "tasks": sum(one.tasks.total for one in found),
        "subtasks": sum(one.subtasks for one in found),
        "subtasks failed": sum(one.failed for one in found),
        "processor time": seconds(sum(one.cpu_s for one in found)),
    }
    jobs = instance.jobs
    if jobs:
        cost = sum(one.cost for one in jobs)
        facts["cost of jobs"] = number(cost, price(cost))
        had_s = sum(one.seconds for one in jobs)
        if had_s:
            share = sum(instance.worked_seconds.get(one.name, 0.0) for one in jobs)
            facts["jobs worked"] = f"{share / had_s:.0%} of their time"
    if record.finished:
        facts["took"] = seconds(record.seconds)
    boxes = "".join(
        f"<div><b>{markup(value)}</b>{markup(name)}</div>"
        for name, value in facts.items()
    )
    return Html(f'<div class="facts" id="facts">{boxes}</div>')


def _notes(found: list[NodeStatistics]) -> dict[str, str]:
    return {
        one.node: f"{one.tasks.complete} of {one.tasks.total} tasks complete"
        for one in found
    }


def _score(one: NodeStatistics) -> dict[str, object]:
    return {
        "node": one.node,
        "waiting": one.tasks.waiting,
        "processing": one.tasks.processing,
        "completed": one.tasks.complete,
        "failed": one.tasks.failed,
        "total": one.tasks.total,
        "subtasks": one.subtasks,
        "subtasks complete": one.complete,
        "subtasks failed": one.failed,
        "progress": bar(one.complete, one.failed, one.subtasks),
    }


def _times(one: NodeStatistics) -> dict[str, object]:
    times = one.times
    row: dict[str, object] = {"node": one.node, "status": state(one.status)}
    if times is None:
        return row | dict.fromkeys(("count", *_TIMES), number(0, "–"))
    values = (
        times.total,
        times.smallest,
        times.largest,
        times.mean,
        times.deviation,
        *times.percentiles.values(),
    )
    row["count"] = times.count
    return row | {k: seconds(v) for k, v in zip(_TIMES, values, strict=True)}


def _used(one: NodeStatistics) -> dict[str, object]:
    return {
        "node": one.node,
        "start": one.started,
        "processor time": seconds(one.cpu_s),
        "memory mean": size(one.memory_mean_bytes),
        "memory max": size(one.memory_max_bytes),
    }


def _slowest(found: list[NodeStatistics]) -> list[dict[str, object]]:
    return [
        {
            "node": one.node,
            "task": slow.task,
            "subtask": slow.number,
            "time": seconds(slow.wall_s),
        }
        for one in found
        for slow in one.slowest
    ]


def _broken(node: str, parts: Breakdown) -> dict[str, object]:
    return {
        "node": node,
        "total": seconds(parts.total_s),
        "waiting": seconds(parts.waiting_s),
        "executing": seconds(parts.executing_s),
        "storing": seconds(parts.storing_s),
    }


def _costs(jobs: list[JobRecord]) -> list[dict[str, object]]:
    """Return what jobs of batch systems cost, by where they ran; all of them last."""
    places: dict[tuple[str, str, str], list[JobRecord]] = {}
    for job in jobs:
        place = (job.environment, job.architecture, job.queue)
        places.setdefault(place, []).append(job)
    rows = [_cost(*place, some) for place, some in places.items()]
    return [*rows, _cost("all", "", "", jobs)] if len(rows) > 1 else rows


def _cost(
    environment: str, architecture: str, queue: str, jobs: list[JobRecord]
) -> dict[str, object]:
    hours, cost = sum(one.hours for one in jobs), sum(one.cost for one in jobs)
    return {
        "environment": environment,
        "architecture": architecture,
        "queue": queue,
        "jobs": len(jobs),
        "hours": number(hours),
        "cost": number(cost, price(cost)),
    }


def _failures(found: list[FailureGroup]) -> list[dict[str, object]]:
    return [
        {
            "subtasks": one.count,
            "cause": one.cause,
            "nodes": ", ".join(one.nodes),
            "tasks": len(one.tasks),
            "example": Html(
                f"task {number(one.example[0])}, subtask {number(one.example[1])} "
                f"{markup(shown_items(one.items))}"
            ),
            "message": Html(f"<code>{markup(one.message)}</code>"),
        }
        for one in found
    ]


def _parameters(instance: Instance) -> list[dict[str, object]]:
    changed = instance.record.parameters
    return [
        {
            "set": name,
            "version": changed[name]["version"],
            "parameter": key,
            "value": Html(f"<code>{markup(str(value))}</code>"),
            "changed for this instance": "yes"
            if key in changed[name]["changed"]
            else "",
        }
        for name, values in instance.parameters.items()
        for key, value in values.items()
    ]


def _models(instance: Instance) -> list[dict[str, object]]:
    """Return the models that tasks read, with the snapshot that holds them."""
    types = {f"{model_path(name)}/": name for name in instance.pipeline.models}
    if not types:
        return []
    used: dict[tuple[str, str, str], int] = {}
    for task in instance.tasks:
        for path, snapshot in task.record.inputs.items():
            for place, name in types.items():
                if path.startswith(place):
                    key = (name, path.removeprefix(place), snapshot)
                    used[key] = used.get(key, 0) + 1
    return [
        {
            "type": name,
            "file": Html(f"<code>{markup(file)}</code>"),
            "snapshot": Html(f"<code>{markup(snapshot)}</code>"),
            "tasks": count,
        }
        for (name, file, snapshot), count in sorted(used.items())
    ]


def _versions(instance: Instance) -> list[dict[str, object]]:
    record = instance.record
    versions = {
        f"pipeline {record.pipeline}": f"version {record.version}",
        "algorithms": record.code_version,
        "snapshot read": record.base_snapshot,
        **record.software,
    }
    return [
        {"what": name, "version": Html(f"<code>{markup(value)}</code>")}
        for name, value in versions.items()
    ]
