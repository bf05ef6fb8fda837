"""Panels: what the records say, as HTML. All text of users is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape

from ziggy_dask.engine.restart import is_restartable
from ziggy_dask.interface.page import parts
from ziggy_dask.interface.page.lights import light_colours, lights
from ziggy_dask.interface.page.view import PAGE, View
from ziggy_dask.interface.page.workers_and_jobs import jobs_panel
from ziggy_dask.records import Database, alerts, deliveries, instances, jobs, outcomes
from ziggy_dask.records.alerts import Alert
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.items import shown_items
from ziggy_dask.records.lease import current_lease
from ziggy_dask.records.overview import (
    NodeScore,
    Order,
    TaskQuery,
    newest_instance,
    scoreboard,
    task_page,
)
from ziggy_dask.records.replay import span
from ziggy_dask.records.states import Counts, InstanceState, TaskStep
from ziggy_dask.records.workers import workers_now

_MOST = 50
"""Rows of a list that is not paged."""
_LOGS = 20
"""Logs that are shown of a task."""


def panels(database: Database, view: View, *, may_act: bool) -> dict[str, str]:
    """Return the HTML of all panels by name."""
    listed = alerts.alerts(database, limit=_MOST)
    number = chosen_instance(database, view)
    at = chosen_moment(database, view)
    return {
        "moment": _moment(database, number, view),
        "lights": lights(
            light_colours(
                instances.current_instances(database),
                workers_now(database),
                current_lease(database),
                listed,
            )
        ),
        "instances": _instances(database, view, number, may_act=may_act),
        "scoreboard": _scoreboard(scoreboard(database, number, at=at)),
        "tasks": _tasks(database, view, number, at, may_act=may_act),
        "log": _log(database, view.log),
        "failures": _failures(database, number),
        "alerts": _alerts(listed, may_act=may_act),
        "jobs": jobs_panel(jobs.jobs(database, number)),
        "deliveries": _deliveries(database, view),
    }


def chosen_instance(database: Database, view: View) -> int:
    """Return the number of the instance that is looked at; 0: there is none."""
    return view.instance or newest_instance(database)


def chosen_moment(database: Database, view: View) -> datetime | None:
    """Return the moment at which the instance is looked at; None: now."""
    number = chosen_instance(database, view)
    if view.at_s is None or not number:
        return None
    return span(database, number)[0] + timedelta(seconds=view.at_s)


def _instances(database: Database, view: View, chosen: int, *, may_act: bool) -> str:
    total, records = instances.instance_page(database, view.instances * PAGE, PAGE)
    rows = [
        [
            parts.button("instance", one.id, str(one.id), pressed=one.id == chosen),
            escape(one.name),
            f"{escape(one.pipeline)} v{one.version}",
            parts.state(one.state.value),
            f"{one.created:%Y-%m-%d %H:%M:%S}",
            parts.clock(one.seconds),
            _instance_action(one) if may_act else "",
        ]
        for one in records
    ]
    heads = ["number", "name", "pipeline", "state", "made (UTC)", "seconds", ""]
    listed = parts.table(
        heads, rows, "No pipeline has been run yet: ziggy run PIPELINE"
    )
    return listed + parts.pages("instances", view.instances, total)


def _instance_action(record: InstanceRecord) -> str:
    """Return a button for what can be done with an instance."""
    if not record.state.is_final:
        return parts.button("halt", record.id, "halt")
    if record.state is InstanceState.ERRORS_STALLED:
        return parts.button("restart", record.id, "restart")
    return ""


def _task_action(record: TaskRecord) -> str:
    """Return a button for what can be done with a task."""
    if is_restartable(record):
        return parts.button("restart task", record.id, "restart")
    if record.step is not TaskStep.COMPLETE:
        return parts.button("halt task", record.id, "halt")
    return ""


def _moment(database: Database, number: int, view: View) -> str:
    """Say which moment is shown, of how many seconds."""
    if not number:
        return ""
    start, end = span(database, number)
    length = (end - start).total_seconds()
    shown = "as it is now"
    if view.at_s is not None:
        at = start + timedelta(seconds=view.at_s)
        shown = f"as of {at:%Y-%m-%d %H:%M:%S} UTC, after {view.at_s:.1f} s"
    return f'instance {number} {shown}, of <data value="{length}">{length:.1f} s</data>'


def _scoreboard(scores: Sequence[NodeScore]) -> str:
    rows = []
    for one in (*scores, *([_whole(scores)] if len(scores) > 1 else [])):
        some = one.tasks
        counts = (some.waiting, some.processing, some.complete, some.failed, some.total)
        failed = f" ({one.failed})" if one.failed else ""
        rows.append(
            [
                escape(one.node),
                *(parts.number(count) for count in counts),
                f'<span class="number">{one.complete}/{one.subtasks}{failed}</span>',
                _bar(one),
            ]
        )
    heads = ["node", "waiting", "processing", "completed", "failed", "total"]
    return parts.table([*heads, "subtasks", ""], rows, "This instance has no tasks.")


def _whole(scores: Sequence[NodeScore]) -> NodeScore:
    """Return the sum of all nodes, whose name is empty."""
    return NodeScore(
        node="",
        tasks=Counts(
            waiting=sum(one.tasks.waiting for one in scores),
            processing=sum(one.tasks.processing for one in scores),
            complete=sum(one.tasks.complete for one in scores),
            failed=sum(one.tasks.failed for one in scores),
        ),
        subtasks=sum(one.subtasks for one in scores),
        complete=sum(one.complete for one in scores),
        failed=sum(one.failed for one in scores),
    )


def _bar(score: NodeScore) -> str:
    return (
        f'<progress max="{score.subtasks or 1}" value="{score.complete}" '
        f'aria-label="{escape(score.node or "all nodes")}"></progress>'
    )


def _tasks(
    database: Database, view: View, number: int, at: datetime | None, *, may_act: bool
) -> str:
    query = TaskQuery(
        instance=number,
        node=view.node,
        doing=view.doing,
        text=view.text,
        order=view.order,
        is_descending=view.is_descending,
        offset=view.page * PAGE,
        limit=PAGE,
        at=at,
    )
    found = task_page(database, query)
    arrow = " ↓" if view.is_descending else " ↑"
    heads = [
        parts.button(
            "sort", one.value, one.value + (arrow if one is view.order else "")
        )
        for one in Order
    ]
    rows = [
        [
            str(one.id),
            escape(one.node),
            escape(one.unit),
            parts.state(one.state),
            f'<span class="number">{one.complete}/{one.total}</span>',
            parts.number(one.failed),
            f"{one.started:%H:%M:%S}" if one.started else "",
            parts.seconds(one.started, one.finished or at)
            if at
            else parts.clock(one.seconds),
            escape(one.worker),
            parts.button("log", one.id, "log"),
            _task_action(one) if may_act and at is None else "",
        ]
        for one in found.tasks
    ]
    listed = parts.table(
        [*heads, "seconds", "worker", "", ""], rows, "No task is like that."
    )
    return listed + parts.pages("page", view.page, found.total)


def _log(database: Database, task: int | None) -> str:
    if task is None:
        return "<p>Choose the log of a task.</p>"
    entries = outcomes.logs(database, task)[:_LOGS]
    text = "\n".join(
        f"── subtask {one.number} {shown_items(one.items)}\n{one.log}{one.traceback}"
        for one in entries
    )
    message = instances.task(database, task).message
    shown = escape(f"{message}\n{text}".strip() or "It printed nothing.")
    return f'<h3>Task {task}</h3><pre tabindex="0">{shown}</pre>'


def _failures(database: Database, number: int) -> str:
    rows = [
        [
            str(one.count),
            one.cause.value,
            escape(", ".join(one.nodes)),
            escape(one.message),
        ]
        for one in outcomes.failures(database, number)[:_MOST]
    ]
    return parts.table(
        ["subtasks", "cause", "nodes", "example"], rows, "Nothing failed."
    )


def _alerts(listed: Sequence[Alert], *, may_act: bool) -> str:
    rows = [
        [
            f"{one.time:%Y-%m-%d %H:%M:%S}",
            one.severity.value,
            "" if one.task is None else str(one.task),
            escape(one.message),
            "seen"
            if one.is_acknowledged
            else (
                parts.button("acknowledge", one.id, "acknowledge")
                if may_act
                else "unseen"
            ),
        ]
        for one in listed
    ]
    heads = ["time (UTC)", "severity", "task", "message", ""]
    return parts.table(heads, rows, "There are no alerts.")


def _deliveries(database: Database, view: View) -> str:
    total, found = deliveries.delivery_page(database, view.deliveries * PAGE, PAGE)
    rows = [
        [
            f"{one.received:%Y-%m-%d %H:%M:%S}",
            escape(one.name),
            parts.number(one.files),
            f'<span class="number">{one.bytes / 1e6:.1f}</span>',
        ]
        for one in found
    ]
    heads = ["received (UTC)", "name", "files", "MB"]
    listed = parts.table(heads, rows, "Nothing has been delivered.")
    return listed + parts.pages("deliveries", view.deliveries, total)
