"""Telling of an instance while it is worked on: to listeners, and by alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ziggy_dask.definitions import ProductKind
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.engine.events import (
    Listener,
    NodeTotals,
    Planned,
    Progressed,
    TaskEnded,
)
from ziggy_dask.engine.loading import LoadedTasks
from ziggy_dask.engine.made import Stored, remarks_on
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.outliers import unusual
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.items import shown_items
from ziggy_dask.records.outcomes import subtasks
from ziggy_dask.records.usage import usage_of_nodes, usage_of_tasks
from ziggy_dask.workers import BatchResult, SubtaskState


class Telling:
    """What is told of an instance.

    Parameters
    ----------
    site
        The open cluster.
    context
        The instance.
    listen
        Is told what happens.
    progress
        How far it is.
    tasks
        Its tasks as they were on record.
    """

    def __init__(
        self,
        site: OpenCluster,
        context: InstanceContext,
        listen: Listener,
        progress: Progress,
        tasks: LoadedTasks,
    ) -> None:
        self._site = site
        self._context = context
        self._listen = listen
        self._progress = progress
        self._units = {index: plan.unit.name for index, plan in tasks.plans.items()}
        types = context.pipeline.types
        self._collections = {
            index: {
                target.path
                for target in plan.targets
                if types[target.data_type].kind is ProductKind.COLLECTION
            }
            for index, plan in tasks.plans.items()
        }
        self._usual = usage_of_nodes(
            site.database, context.pipeline.name, context.number
        )

    def planned(self) -> None:
        """Tell what there is to do, by node."""
        totals: dict[str, NodeTotals] = {}
        for task in self._progress:
            before = totals.get(task.node, NodeTotals(tasks=0, subtasks=0))
            is_stored = task.standing is Standing.COMPLETE
            totals[task.node] = NodeTotals(
                tasks=before.tasks + 1,
                subtasks=before.subtasks + task.count,
                complete=before.complete
                + (task.count if is_stored else len(task.complete)),
                failed=before.failed + len(task.failed),
            )
        self._listen(Planned(instance=self._context.number, nodes=totals))

    def progressed(self, results: Sequence[BatchResult]) -> None:
        """Tell of outcomes that are on record, by node."""
        complete: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for result in results:
            node = self._progress[result.index].node
            states = [one.state for one in result.outcomes]
            complete[node] += states.count(SubtaskState.COMPLETE)
            failed[node] += states.count(SubtaskState.FAILED)
        for node, count in complete.items():
            self._listen(Progressed(node=node, complete=count, failed=failed[node]))

    def failed(self, task: TaskProgress, reason: str) -> None:
        """Tell that a task has failed."""
        self._alert(Severity.ERROR, task, reason)
        self._ended(task, reason, is_error=True)

    def published(self, tasks: Sequence[TaskProgress]) -> None:
        """Tell that tasks are stored, and what is unusual about them."""
        stored = [
            Stored(
                number=one.number,
                count=one.count,
                collections=self._collections[one.index],
            )
            for one in tasks
        ]
        remarks = remarks_on(self._site.database, stored)
        for task in tasks:
            self._ended(task, "", is_error=False)
            if task.failed:
                self._alert(Severity.WARNING, task, self._left_out(task))
            for remark in remarks[task.number]:
                self._alert(Severity.WARNING, task, remark)
        known = {one.number: one for one in tasks if one.node in self._usual}
        for number, used in usage_of_tasks(self._site.database, list(known)).items():
            task = known[number]
            before = self._usual[task.node]
            if words := unusual(used, before, self._site.cluster.alerts):
                self._alert(Severity.WARNING, task, words)

    def _left_out(self, task: TaskProgress) -> str:
        """Return in words, with their items, which subtasks a task was stored without."""
        failures = subtasks(self._site.database, task.number, SubtaskState.FAILED)
        names = shown_items([name for one in failures for name in one.items])
        plural = "s" if len(failures) > 1 else ""
        words = f"stored without {len(failures)} subtask{plural} that failed"
        return f"{words}: {names}" if names else words

    def _alert(self, severity: Severity, task: TaskProgress, message: str) -> None:
        alert(
            self._site,
            severity,
            f"{task.node} {self._units[task.index]}: {message}",
            instance=self._context.number,
            task=task.number,
        )

    def _ended(self, task: TaskProgress, message: str, *, is_error: bool) -> None:
        self._listen(
            TaskEnded(
                task=task.number,
                node=task.node,
                unit=self._units[task.index],
                is_error=is_error,
                message=message,
            )
        )
