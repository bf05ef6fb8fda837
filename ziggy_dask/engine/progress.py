"""How far the tasks of an instance are: what is on record, and what follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ziggy_dask.datastore import Labels
from ziggy_dask.engine.events import NodeTotals
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.planning import OURS, Key, Recorded, TaskPlan, task_from_json
from ziggy_dask.records import Database, instances, outcomes
from ziggy_dask.workers import BatchResult, SubtaskState


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one task is."""

    number: int
    """Number of the task."""
    plan: TaskPlan
    """Its plan."""
    complete: set[int] = field(default_factory=set)
    """Subtasks on record as complete."""
    failed: set[int] = field(default_factory=set)
    """Subtasks on record as failed."""
    blocked: set[int] = field(default_factory=set)
    """Subtasks that could not run."""
    is_error: bool = False
    """Whether the task has failed."""
    is_handed_out: bool = False
    """Whether its subtasks are in a graph."""
    snapshot: str = ""
    """Snapshot that published it."""
    attempt: int = 0
    """How often it was restarted."""
    resubmits: int = 0
    """How often that happened by itself."""
    tolerated: int = 0
    """So many subtasks may fail although its node does not allow it."""
    changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Parameters that were changed for its restart, by set and name."""

    @property
    def upstream(self) -> set[int]:
        """Indices of the tasks that it waits for."""
        return self.plan.upstream

    @property
    def is_ended(self) -> bool:
        """Whether all its subtasks are on record."""
        done = len(self.complete) + len(self.failed)
        return not self.plan.is_open and done >= self.plan.count

    def note(self, result: BatchResult) -> None:
        """Let outcomes that are on record count."""
        sets = {
            SubtaskState.COMPLETE: self.complete,
            SubtaskState.FAILED: self.failed,
            SubtaskState.BLOCKED: self.blocked,
        }
        for one in result.outcomes:
            sets[one.state].add(one.subtask)


class Ledger:
    """The tasks of an instance, by index in its plan.

    Parameters
    ----------
    database
        The records.
    instance
        Number of the instance.
    """

    def __init__(self, database: Database, instance: int) -> None:
        self._tasks = _load(database, instance)

    def __getitem__(self, index: int) -> Progress:
        """Return how far a task is."""
        return self._tasks[index]

    def __iter__(self) -> Iterator[Progress]:
        """Yield all tasks in the order of the plan."""
        return (self._tasks[index] for index in sorted(self._tasks))

    def unended(self) -> Iterator[Progress]:
        """Yield the tasks that are neither published nor failed, in order."""
        return (one for one in self if not one.snapshot and not one.is_error)

    def note(self, results: Sequence[BatchResult]) -> dict[str, tuple[int, int]]:
        """Let outcomes that are on record count.

        Returns
        -------
        dict
            Newly complete and newly failed subtasks by node.
        """
        complete: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for result in results:
            task = self[result.index]
            task.note(result)
            states = [one.state for one in result.outcomes]
            complete[task.plan.node] += states.count(SubtaskState.COMPLETE)
            failed[task.plan.node] += states.count(SubtaskState.FAILED)
        return {node: (complete[node], failed[node]) for node in complete}

    def is_published(self, indices: Iterable[int]) -> bool:
        """Tell whether the products of all these tasks are published."""
        return all(self[index].snapshot for index in indices)

    def can_go_on(self) -> bool:
        """Tell whether a task that has not ended could still run."""
        return any(not self._waits_for_failed(one) for one in self.unended())

    def snapshots(self) -> dict[int, str]:
        """Return the snapshots that published tasks, by index."""
        return {one.plan.index: one.snapshot for one in self if one.snapshot}

    def totals(self) -> dict[str, NodeTotals]:
        """Return what there is to do, by node."""
        totals: dict[str, NodeTotals] = {}
        for one in self:
            before = totals.get(one.plan.node, NodeTotals(tasks=0, subtasks=0))
            complete = one.plan.count if one.snapshot else len(one.complete)
            totals[one.plan.node] = NodeTotals(
                tasks=before.tasks + 1,
                subtasks=before.subtasks + one.plan.count,
                complete=before.complete + complete,
                failed=before.failed + len(one.failed),
            )
        return totals

    def _waits_for_failed(self, task: Progress) -> bool:
        waiting = [task]
        while waiting:
            for one in (self[index] for index in waiting.pop().upstream):
                if one.is_error:
                    return True
                if not one.snapshot:
                    waiting.append(one)
        return False


def recorded_earlier(
    site: OpenCluster, ledger: Ledger, token: str
) -> dict[int, Recorded]:
    """Return what earlier runs recorded of tasks that are not published, by index.

    The outcomes count in the ledger afterwards.
    """
    recorded: dict[int, Recorded] = {}
    for task in ledger.unended():
        found = recorded_of(site, task, token)
        if found.parts:
            recorded[task.plan.index] = found
            for result in found.parts.values():
                task.note(result)
    return recorded


def recorded_of(site: OpenCluster, task: Progress, token: str) -> Recorded:
    """Return what is on record of a task that is not published, bound to the datastore."""
    index = task.plan.index
    parts: dict[Key, BatchResult] = {}
    part_of: dict[int, Key] = {}
    for part, result in outcomes.recorded_parts(site.database, task.number).items():
        key: Key = (f"{OURS}recorded-{token}", index, part)
        parts[key] = BatchResult(
            index=index,
            outcomes=result.outcomes,
            change_sets={
                path: site.repository.adopt(change_set)
                for path, change_set in result.change_sets.items()
            },
        )
        part_of.update((one.subtask, key) for one in result.outcomes)
    return Recorded(parts=parts, part_of=part_of)


def _load(database: Database, instance: int) -> dict[int, Progress]:
    interned: dict[Labels, Labels] = {}
    plans = instances.task_plans(database, instance)
    tasks = {}
    for record in instances.tasks(database, instance):
        if plans[record.id]:
            plan = task_from_json(plans[record.id], interned)
            tasks[plan.index] = Progress(
                number=record.id,
                plan=plan,
                is_error=record.is_error,
                snapshot=record.snapshot,
                attempt=record.attempt,
                resubmits=record.resubmits,
                tolerated=record.tolerated,
                changes=record.changes,
            )
    return tasks
