"""Machines: workers and what they did, jobs of batch systems and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from ziggy_dask.compute.formatting import price
from ziggy_dask.interface.page import parts
from ziggy_dask.records.jobs import JobRecord
from ziggy_dask.records.timeline import Timeline

_MOST = 50
"""So many workers or jobs are shown."""


def workers_panel(ran: Timeline) -> str:
    """Return what each worker did so far."""
    found = ran.workers
    rows = [
        [
            escape(
                one.name if one.name[-1] != ":" else f"{one.name[:-1]} (supervisor)"
            ),
            parts.number(one.subtasks),
            parts.number(one.failed),
            f'<span class="number">{one.busy_s:.1f}</span>',
            parts.number(one.threads),
            f'<span class="number">{one.memory_bytes / 1e6:.0f}</span>',
            f'<span class="number">{one.last_s:.1f}</span>',
        ]
        for one in found[:_MOST]
    ]
    heads = [
        "worker",
        "subtasks",
        "failed",
        "busy, s",
        "at once",
        "MB at most",
        "until, s",
    ]
    listed = parts.table(heads, rows, "No worker has run a subtask.")
    more = f"<p>{len(found) - _MOST} more</p>" if len(found) > _MOST else ""
    return listed + more


def jobs_panel(found: Sequence[JobRecord]) -> str:
    """Return the newest jobs of an instance, and what all of them cost."""
    rows = [
        [
            escape(one.number),
            escape(one.environment),
            escape(one.architecture),
            escape(one.queue),
            parts.state(one.state.value),
            f"{one.submitted:%Y-%m-%d %H:%M:%S}",
            f'<span class="number">{one.hours:.2f}</span>',
            parts.number(price(one.cost)),
            escape(one.cause.value or one.comment),
        ]
        for one in reversed(found[-_MOST:])
    ]
    heads = ["job", "environment", "architecture", "queue", "state", "submitted (UTC)"]
    heads += ["hours", "cost", ""]
    listed = parts.table(heads, rows, "This instance submitted no jobs.")
    if not found:
        return listed
    states = Counter(one.state.value for one in found)
    counts = ", ".join(f"{count} {name}" for name, count in states.items())
    hours, cost = (
        sum(values) for values in zip(*((j.hours, j.cost) for j in found), strict=True)
    )
    return f"{listed}<p>{len(found)} jobs: {counts}; {hours:.2f} hours, cost {price(cost)}</p>"
