"""How far an instance is, from the database to the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ziggy_dask.datastore import Labels
from ziggy_dask.engine.actions import FailureCause
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress
from ziggy_dask.planning import OURS, Key, Recorded, TaskPlan, task_from_json
from ziggy_dask.records import Database, TaskStep, instances, outcomes
from ziggy_dask.records.instances import TaskRecord
from ziggy_dask.workers import BatchResult, SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTasks:
    """The planned tasks of an instance as they are on record, by index in its plan."""

    plans: Mapping[int, TaskPlan]
    """Their plans."""
    records: Mapping[int, TaskRecord]
    """Their records."""

    def snapshots(self) -> dict[int, str]:
        """Return the snapshots that published tasks."""
        return {
            index: one.snapshot for index, one in self.records.items() if one.snapshot
        }

    def with_results(self) -> dict[int, TaskRecord]:
        """Return the tasks that have not ended and of which results are on record."""
        return {
            index: one
            for index, one in self.records.items()
            if not one.has_ended and (one.complete or one.failed)
        }


def load_tasks(database: Database, instance: int) -> LoadedTasks:
    """Return the planned tasks of an instance; data receipts have no plan."""
    interned: dict[Labels, Labels] = {}
    by_number = instances.task_plans(database, instance)
    plans: dict[int, TaskPlan] = {}
    records: dict[int, TaskRecord] = {}
    for record in instances.tasks(database, instance):
        if content := by_number[record.id]:
            plan = task_from_json(content, interned)
            plans[plan.index] = plan
            records[plan.index] = record
    return LoadedTasks(plans=plans, records=records)


def load_recorded(
    site: OpenCluster, tasks: LoadedTasks, token: str
) -> dict[int, Recorded]:
    """Return what earlier runs recorded of tasks that have not ended, by index."""
    return {
        index: recorded_of(site, index, record.id, token)
        for index, record in tasks.with_results().items()
    }


def recorded_of(site: OpenCluster, index: int, number: int, token: str) -> Recorded:
    """Return what is on record of a task that is not published, bound to the datastore."""
    parts: dict[Key, BatchResult] = {}
    part_of: dict[int, Key] = {}
    for part, result in outcomes.recorded_parts(site.database, number).items():
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


def progress_of(
    database: Database, tasks: LoadedTasks, recorded: Mapping[int, Recorded]
) -> Progress:
    """Return how far the tasks are, for the core."""
    return Progress(
        _task_progress(database, plan, tasks.records[index], recorded.get(index))
        for index, plan in sorted(tasks.plans.items())
    )


def _task_progress(
    database: Database, plan: TaskPlan, record: TaskRecord, recorded: Recorded | None
) -> TaskProgress:
    task = TaskProgress(
        number=record.id,
        index=plan.index,
        node=plan.node,
        upstream=frozenset(plan.upstream),
        after=frozenset(plan.after),
        count=plan.count,
        is_open=plan.is_open,
        resubmits=record.resubmits,
        tolerated=record.tolerated,
    )
    if record.is_error:
        task.standing = Standing.FAILED
        task.cause = FailureCause(record.cause) if record.cause else None
        # What exactly failed matters no more; how much of it does, for a retry.
        task.failed.update(range(record.failed))
        task.lost_together = record.resubmits == 0 and outcomes.lost_together(
            database, record.id
        )
    elif record.step is TaskStep.COMPLETE:
        task.standing = Standing.COMPLETE
    for result in recorded.parts.values() if recorded else ():
        for one in result.outcomes:
            ended = {
                SubtaskState.COMPLETE: task.complete,
                SubtaskState.FAILED: task.failed,
            }
            ended[one.state].add(one.subtask)
    return task
