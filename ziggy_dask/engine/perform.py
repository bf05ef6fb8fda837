"""Carrying out what the core decides: in the datastore, in the database, and on Dask."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from ziggy_dask.datastore import Labels, maker_of, stored_items
from ziggy_dask.definitions import ProductKind
from ziggy_dask.engine.actions import (
    Action,
    Cancel,
    EndInstance,
    Fail,
    LayOut,
    Leave,
    Publish,
    Retry,
    SetAside,
    Settle,
    ShowErrors,
    Submit,
    Unblock,
)
from ziggy_dask.engine.context import InstanceContext
from ziggy_dask.engine.disk_space import patient
from ziggy_dask.engine.halting import stop_running
from ziggy_dask.engine.in_flight import InFlight
from ziggy_dask.engine.loading import LoadedTasks, recorded_of
from ziggy_dask.engine.made import name_clashes, outdated_plans, reopen_plans
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.placement import Placement
from ziggy_dask.engine.progress import RANK_BITS, Progress, first_rank
from ziggy_dask.engine.publish import Finished, publish, publish_again
from ziggy_dask.engine.telling import Telling
from ziggy_dask.engine.work_orders import input_snapshots, located, work_of, work_token
from ziggy_dask.errors import ClusterError, DatastoreError, MissingError
from ziggy_dask.planning import (
    Batch,
    Calls,
    Feed,
    Key,
    Recorded,
    dask_graph,
    layout_graph,
    settle,
    task_to_json,
)
from ziggy_dask.records import InstanceState, TaskStep, instances, outcomes
from ziggy_dask.records.attempts import growth
from ziggy_dask.records.instances import TaskRecord
from ziggy_dask.records.items import shown_items
from ziggy_dask.workers import (
    SubtaskState,
    load_work,
    merge_results,
    run_alone,
    run_batch,
)

if TYPE_CHECKING:
    from distributed import Client

_PACE = 2.0
"""Between two commits there is this many times what one takes, while other work goes on."""
_CALLS = Calls(work=load_work, run=run_batch, run_alone=run_alone, merge=merge_results)


class Performer:
    """Carries out actions on one instance, and notes in `Progress` that it has.

    Parameters
    ----------
    site, context
        The open cluster, and the instance.
    tasks, recorded
        Its tasks as they are on record, and what is on record of those that have not
        ended, by index.
    progress
        How far they are, for the core.
    placement
        Where subtasks run.
    in_flight
        What is handed out.
    telling
        Is told what happens.
    client
        Where subtasks run.
    scaffold
        Fork in which products are allocated.
    token
        Identifies this run of the supervisor.
    """

    def __init__(
        self,
        site: OpenCluster,
        context: InstanceContext,
        tasks: LoadedTasks,
        recorded: Mapping[int, Recorded],
        progress: Progress,
        placement: Placement,
        in_flight: InFlight,
        telling: Telling,
        client: Client,
        scaffold: bytes,
        token: str,
    ) -> None:
        self._site = site
        self._context = context
        self._records = dict(tasks.records)
        self._plans = dict(tasks.plans)
        self._snapshots = tasks.snapshots()
        self._recorded = dict(recorded)
        self._progress = progress
        self._placement = placement
        self._in_flight = in_flight
        self._telling = telling
        self._client = client
        self._scaffold = scaffold
        self._token = token
        self._generation = 0
        self._tasks_of: dict[Key, tuple[int, ...]] = {}

    def tasks_of(self, key: Key) -> tuple[int, ...]:
        """Return the tasks whose subtasks a key runs."""
        return self._tasks_of.get(key, ())

    def record_of(self, index: int) -> TaskRecord:
        """Return the record of a task; its attempt counts plans that were opened again."""
        return self._records[index]

    def token_of(self, index: int) -> str:
        """Return the token of the work on a task."""
        record = self._records[index]
        return work_token(self._token, record.id, record.attempt)

    def perform(self, action: Action) -> bool:
        """Carry out an action; return whether all of it could be."""
        is_whole = True
        match action:
            case Settle():
                self._settle(action.tasks)
            case Publish():
                is_whole = self._publish(action.tasks)
            case Fail():
                self._fail(action)
            case Unblock():
                self._unblock(action.tasks)
            case SetAside():
                self._set_aside(action.tasks)
            case LayOut():
                self._lay_out(action.tasks)
            case Submit():
                self._submit(action.keys)
            case Cancel():
                self._cancel(action)
            case ShowErrors():
                self._set_state(InstanceState.ERRORS_RUNNING)
                self._progress.shows_errors = True
            case Retry() | EndInstance() | Leave():
                raise TypeError(f"{action} is for whoever works on the instance")
            case _:
                assert_never(action)
        return is_whole

    # -- records and datastore -------------------------------------------------

    def _settle(self, indices: Iterable[int]) -> None:
        """Work out the subtasks of tasks whose inputs have been published by now."""
        for index in indices:
            plan = self._plans[index]
            try:
                stored = [self._stored_items(feed) for feed in plan.feeds]
            except DatastoreError as error:
                self._progress.obstructed(index, str(error))
                continue
            pipeline, processed = self._context.pipeline, self._context.processed
            settled = settle(plan, pipeline, stored, processed)
            instances.settle_task(
                self._site.database,
                self._progress[index].number,
                task_to_json(settled),
                settled.count,
            )
            self._plans[index] = settled
            self._progress.settled(index, settled.count)
        self._telling.planned()

    def plan_again(self, indices: Iterable[int]) -> None:
        """Open the plans of tasks again whose inputs got other items than was planned."""
        ready = {
            index
            for index in indices
            if self._progress[index].is_unended and self._progress.has_inputs(index)
        }
        first = outdated_plans(
            self._context.pipeline,
            [self._plans[index] for index in sorted(ready)],
            self._stored_items,
        )
        if not first:
            return
        outdated = sorted(self._progress.all_followers(first) | set(first))
        self._in_flight.drop(self._progress.reopened(outdated))
        plans = {self._records[i].id: self._plans[i] for i in outdated}
        opened = reopen_plans(self._site.database, self._context.number, plans)
        for index in outdated:
            record = self._records[index]
            self._recorded.pop(index, None)
            self._plans[index] = opened[record.id]
            self._records[index] = replace(record, attempt=record.attempt + 1)
        if self._progress.shows_errors:
            self._set_state(InstanceState.ERRORS_RUNNING)

    def _stored_items(self, feed: Feed) -> Labels | None:
        """Return the items of a published product; none if nothing came of it."""
        pipeline = self._context.pipeline
        repository = self._site.repository
        session = repository.session_of(feed.path, repository.tip())
        is_ours = feed.task is None or maker_of(session, feed.path) in (
            None,
            self._context.number,
        )
        if not is_ours and pipeline.types[feed.data_type].kind is not ProductKind.FILE:
            return Labels.of([])
        try:
            return stored_items(
                session,
                feed.path,
                pipeline.types[feed.data_type],
                pipeline.patterns,
                self._context.where.accepts,
            )
        except MissingError:
            return Labels.of([])

    def _publish(self, indices: Sequence[int]) -> bool:
        """Publish tasks in one commit, but for those that were halted meanwhile."""
        database = self._site.database
        began = time.monotonic()
        by_number = {self._progress[index].number: index for index in indices}
        for number, clash in name_clashes(database, by_number).items():
            self._progress.obstructed(by_number.pop(number), clash)
        storing = instances.begin_storing(database, list(by_number))
        finished = [self._finished(by_number[number]) for number in storing]
        if not finished:
            return False
        with self._site.writing:
            snapshot = patient(
                lambda: publish(
                    self._site.repository, database, self._context, finished
                ),
                f"instance {self._context.number}",
                again=lambda: publish_again(
                    self._site.repository, database, self._context, finished
                ),
                stops=self._site.stop.is_set,
            )
        for one in finished:
            index = one.plan.index
            self._snapshots[index] = snapshot
            self._recorded.pop(index, None)
            self._progress.published(index)
        self._telling.published([self._progress[one.plan.index] for one in finished])
        self.plan_again(
            follower
            for one in finished
            for follower in self._progress.followers(one.plan.index)
        )
        now = time.monotonic()
        self._progress.publish_after = now + _PACE * (now - began)
        return len(finished) == len(indices)

    def _finished(self, index: int) -> Finished:
        return Finished(
            number=self._progress[index].number,
            plan=self._plans[index],
            attempt=self._records[index].attempt,
            inputs=input_snapshots(self._context, self._plans[index], self._snapshots),
        )

    def _fail(self, action: Fail) -> None:
        task = self._progress[action.task]
        step = TaskStep.WAITING_TO_STORE if task.has_ended else None
        reason = action.reason or _why_failed(self._site, task.number)
        instances.fail_task(
            self._site.database, task.number, step, reason, action.cause.value
        )
        self._progress.failed(action.task, action.cause)
        self._telling.failed(task, reason)

    def _unblock(self, indices: Sequence[int]) -> None:
        """Let subtasks go that a failure blocked, now that their inputs are stored.

        They read them from there: those that need just what is missing end without
        output, others work on the rest.
        """
        self._show_as_waiting(indices)
        for index in indices:
            number = self._progress[index].number
            self._recorded[index] = recorded_of(self._site, index, number, self._token)
            self._progress.unblocked(index)

    def _set_aside(self, indices: Sequence[int]) -> None:
        self._show_as_waiting(indices)
        for index in indices:
            self._progress.set_aside(index)

    def _show_as_waiting(self, indices: Sequence[int]) -> None:
        instances.move_tasks(
            self._site.database,
            [self._progress[index].number for index in indices],
            TaskStep.WAITING_TO_RUN,
            [TaskStep.QUEUED, TaskStep.EXECUTING],
        )

    def _set_state(self, state: InstanceState) -> None:
        instances.set_instance_state(self._site.database, self._context.number, state)

    # -- Dask ------------------------------------------------------------------

    def _lay_out(self, indices: Sequence[int]) -> None:
        """Cut tasks into batches; those that no worker can take are obstructed."""
        able: dict[int, None] = {}
        for index in indices:
            task = self._progress[index]
            plan = self._plans[index]
            if task.is_open:
                continue  # a task was just stored that made other items than was planned
            if any(i not in able and i not in self._snapshots for i in task.upstream):
                continue  # what it reads could not be handed out
            try:
                task.environment = self._placement.check(
                    plan, self._records[index], task.left
                )
            except ClusterError as error:
                self._progress.obstructed(index, str(error))
                continue
            able[index] = None
        graphs = layout_graph(
            [self._plans[index] for index in able],
            token=self._token,
            recorded=self._recorded,
            size_of=lambda plan: self._placement.size_of(
                plan, self._records[plan.index], self._progress[plan.index].environment
            ),
            rank_of=lambda plan: first_rank(self._progress[plan.index]),
            generation=self._generation,
        )
        self._generation += 1
        batches = [
            batch for graph in graphs for batch in (*graph.batches, *graph.merges)
        ]
        self._tasks_of.update((batch.key, batch.tasks) for batch in batches)
        self._progress.laid_out(able, batches)
        instances.move_tasks(
            self._site.database,
            [self._progress[index].number for index in able],
            TaskStep.QUEUED,
            [TaskStep.WAITING_TO_RUN, TaskStep.SUBMITTING],
        )

    def _submit(self, keys: Sequence[Key]) -> None:
        keys = [key for key in keys if self._progress.is_laid_out(key)]
        if not keys:
            return
        batches = [self._progress.batch(key) for key in keys]
        indices = dict.fromkeys(index for batch in batches for index in batch.tasks)
        dsk = dask_graph(
            batches,
            token=self._token,
            recorded=self._recorded,
            works={index: self._pickled_work(index) for index in indices},
            calls=_CALLS,
            annotations_of=self._annotations,
            base_priority=self._context.pipeline.priority.rank << RANK_BITS,
        )
        self._in_flight.submit(dsk, batches)
        self._progress.submitted(keys)

    def _annotations(self, batch: Batch) -> Mapping[str, object]:
        index = batch.tasks[0]
        return self._placement.annotations(
            self._plans[index],
            self._records[index],
            self._progress[index].environment,
        )

    def _pickled_work(self, index: int) -> bytes:
        record = self._records[index]
        recorded = self._recorded.get(index)
        parts = recorded.parts.values() if recorded else ()
        work = work_of(
            self._context,
            self._plans[index],
            record.id,
            token=self._token,
            scaffold=self._scaffold,
            changes=record.changes,
            attempt=record.attempt,
            grown=growth(
                self._site.database, record.id, record.attempt, record.resubmits
            ),
            snapshots=self._snapshots,
            allocations={
                k: fork for part in parts for k, fork in part.change_sets.items()
            },
        )
        return pickle.dumps(located(self._site.repository, work))

    def _cancel(self, action: Cancel) -> None:
        keys = self._progress.cancelled(action.tasks)
        if not keys:
            return
        tokens = {self.token_of(index) for index in action.failed}
        stop_running(self._client, tokens, keys)
        self._in_flight.give_up(keys)


def _why_failed(site: OpenCluster, task: int) -> str:
    failures = outcomes.subtasks(site.database, task, SubtaskState.FAILED)
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    items = f" ({shown_items(first.items)})" if first.items else ""
    return f"subtask {first.number}{items}: {first.message}{more}"
