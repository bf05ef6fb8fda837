"""Asking the supervisor that runs as a service, and following what it does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ziggy_dask.engine.events import (
    InstanceEnded,
    Listener,
    NodeTotals,
    Planned,
    Progressed,
    TaskEnded,
)
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import ClusterError, error_from_text
from ziggy_dask.records import TaskStep, instances, requests
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.lease import current_lease
from ziggy_dask.records.requests import RequestKind, RequestState

_LOOK_S = 0.25
"""Time between two looks at the records, in seconds."""
_ABSENT_S = 15.0
"""So long may there be no supervisor, in seconds."""


def is_served(site: OpenCluster) -> bool:
    """Tell whether a supervisor runs that does what others ask it to."""
    holder = current_lease(site.database)
    return holder is not None and holder.takes_requests


def ask(
    site: OpenCluster, kind: RequestKind, content: Mapping[str, Any]
) -> tuple[int, ...]:
    """Ask the supervisor for something; return the instances that it led to.

    Raises
    ------
    ZiggyError
        If it is refused: what the supervisor has raised.
    ClusterError
        If the supervisor goes away before it answers.
    """
    number = requests.ask(site.database, kind, content)
    watch = _Watch(site)
    while True:
        found = requests.request(site.database, number)
        if found.state is RequestState.REFUSED:
            raise error_from_text(found.message)
        if found.state is RequestState.DONE:
            return found.instances
        watch.look()
        time.sleep(_LOOK_S)


def follow(site: OpenCluster, number: int, listen: Listener) -> InstanceRecord:
    """Wait for the end of an instance; tell what becomes of it.

    Raises
    ------
    ClusterError
        If the supervisor goes away.
    """
    before: dict[int, TaskRecord] = {}
    watch = _Watch(site)
    while True:
        record = instances.instance(site.database, number)
        tasks = {one.id: one for one in instances.tasks(site.database, number)}
        _tell(number, before, tasks, listen)
        before = tasks
        if record.state.is_final:
            listen(InstanceEnded(instance=number, state=record.state))
            return record
        watch.look()
        time.sleep(_LOOK_S)


class _Watch:
    """Watches that there is a supervisor; another one may need a while to take over."""

    def __init__(self, site: OpenCluster) -> None:
        self._site = site
        self._seen = time.monotonic()

    def look(self) -> None:
        """Look for a supervisor; raise if there has been none for too long."""
        now = time.monotonic()
        if current_lease(self._site.database) is not None:
            self._seen = now
        elif now - self._seen > _ABSENT_S:
            raise ClusterError(
                "the supervisor has gone; what is recorded is kept. Go on with: "
                "ziggy cluster start"
            )


def _tell(
    number: int,
    before: Mapping[int, TaskRecord],
    tasks: Mapping[int, TaskRecord],
    listen: Listener,
) -> None:
    """Tell what has changed between two looks."""
    planned = {one: task.total for one, task in tasks.items()}
    if planned != {one: task.total for one, task in before.items()}:
        listen(Planned(instance=number, nodes=_totals(tasks.values())))
    else:
        for node, (complete, failed) in _changes(before, tasks).items():
            listen(Progressed(node=node, complete=complete, failed=failed))
    for one, task in tasks.items():
        has_ended = task.is_error or task.step is TaskStep.COMPLETE
        known = before.get(one)
        if has_ended and (known is None or known.state != task.state):
            listen(
                TaskEnded(
                    task=one,
                    node=task.node,
                    unit=task.unit,
                    is_error=task.is_error,
                    message=task.message,
                )
            )


def _totals(tasks: Iterable[TaskRecord]) -> dict[str, NodeTotals]:
    totals: dict[str, NodeTotals] = {}
    for one in tasks:
        known = totals.get(one.node, NodeTotals(tasks=0, subtasks=0))
        totals[one.node] = NodeTotals(
            tasks=known.tasks + 1,
            subtasks=known.subtasks + one.total,
            complete=known.complete + one.complete,
            failed=known.failed + one.failed,
        )
    return totals


def _changes(
    before: Mapping[int, TaskRecord], tasks: Mapping[int, TaskRecord]
) -> dict[str, tuple[int, int]]:
    """Return newly complete and failed subtasks by node."""
    changes: dict[str, tuple[int, int]] = {}
    for number, task in tasks.items():
        complete, failed = changes.get(task.node, (0, 0))
        changes[task.node] = (
            complete + task.complete - before[number].complete,
            failed + task.failed - before[number].failed,
        )
    return {node: some for node, some in changes.items() if any(some)}
