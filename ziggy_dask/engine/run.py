"""Running an instance: hand out, record, publish, until nothing is left to do.

The supervisor is the only writer of the records and of the datastore's history.
Every line here may be the last one before the power goes: what is recorded is
kept, what is not runs again, and `reconcile` settles the one thing that happens
in two places.
"""

from __future__ import annotations

import pickle
import secrets
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed import Future

from ziggy_dask.datastore import Labels, stored_items
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.connection import connected
from ziggy_dask.engine.events import (
    Listener,
    Planned,
    Progressed,
    TaskEnded,
)
from ziggy_dask.engine.halting import stop_running
from ziggy_dask.engine.in_flight import Flight
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.outliers import unusual
from ziggy_dask.engine.placement import Placement
from ziggy_dask.engine.progress import Ledger, Progress, recorded_earlier, recorded_of
from ziggy_dask.engine.publish import Finished, publish
from ziggy_dask.engine.unusable import drop_unusable
from ziggy_dask.engine.work_orders import (
    InstanceFacts,
    input_snapshots,
    work_of,
    work_token,
)
from ziggy_dask.errors import DatastoreError, MissingError
from ziggy_dask.planning import (
    Calls,
    Feed,
    TaskGraph,
    TaskPlan,
    dask_graph,
    followers,
    layout_graph,
    settle,
    task_to_json,
)
from ziggy_dask.records import InstanceState, TaskStep, instances, outcomes
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.usage import usage_of_nodes, usage_of_tasks
from ziggy_dask.workers import (
    BatchResult,
    Halting,
    SubtaskState,
    begin_run,
    code_of,
    end_run,
    load_work,
    merge_results,
    remember,
    run_batch,
    send_code,
)

if TYPE_CHECKING:
    from distributed import Client

_RECORD_S = 0.2
"""Least time between two transactions; what comes meanwhile shares the next one."""
_HEED_S = 1.0
"""Time between two looks for what operators ask."""
_FULL = 0.8
"""Share of its memory from which on a worker may die of it; nannies end it at 0.95."""
HALTED = "halted by an operator"
_CALLS = Calls(work=load_work, run=run_batch, merge=merge_results)


class InstanceRun:
    """One instance, while the supervisor works on it.

    Parameters
    ----------
    site
        The open cluster.
    facts
        What the tasks of the instance have in common.
    client
        Where subtasks run.
    listen
        Is told what happens.
    """

    def __init__(
        self, site: OpenCluster, facts: InstanceFacts, client: Client, listen: Listener
    ) -> None:
        self._site = site
        self._facts = facts
        self._client = client
        self._listen = listen
        self._token = secrets.token_hex(16)
        self._ledger = Ledger(site.database, facts.number)
        drop_unusable(site, facts.number, self._ledger)
        self._recorded = recorded_earlier(site, self._ledger, self._token)
        self._placement = Placement(site, facts, self._ledger, self._recorded, client)
        self._flight = Flight(client)
        self._usual = usage_of_nodes(site.database, facts.pipeline.name, facts.number)
        self._begun: deque[int] = deque()

    def run(self) -> None:
        """Work until nothing can be done any more."""
        self._tell_planned()
        with connected():
            self._prepare()
            try:
                self._advance()
                self._hand_out()
                for futures in self._ended_futures():
                    results = self._flight.results_of(futures)
                    remember(self._client, self._flight.needed(results))
                    self._record(list(results.values()))
                    self._advance()
                    self._hand_out()
                self._set_aside()
            finally:
                self._let_go()

    def _prepare(self) -> None:
        """Give scheduler and workers what they must know, and listen to them."""
        self._client.register_plugin(Halting())
        if self._facts.pipeline.root is not None:
            send_code(self._client, code_of(self._facts.pipeline.root))
        self._client.subscribe_topic(f"ziggy-{self._token}", self._note_begun)
        begin_run(self._client, self._token)

    # -- what follows from what is on record -----------------------------------

    def _record(self, results: Sequence[BatchResult]) -> None:
        """Put what came back on record, then let it count."""
        numbered = [(self._ledger[one.index].number, one) for one in results]
        outcomes.record(self._site.database, numbered)
        for node, (complete, failed) in self._ledger.note(results).items():
            self._listen(Progressed(node=node, complete=complete, failed=failed))

    def _advance(self) -> None:
        """Settle, publish and fail tasks until nothing more follows from what is known."""
        self._record_begun()
        while True:
            self._settle_open()
            self._free_blocked()
            finished = self._finished()
            if not finished:
                return
            with self._site.writing:
                snapshot = publish(
                    self._site.repository, self._site.database, self._facts, finished
                )
            for one in finished:
                task = self._ledger[one.plan.index]
                task.snapshot = snapshot
                self._recorded.pop(one.plan.index, None)
                self._tell_ended(task, "")
                if task.failed:
                    lost = f"stored without {len(task.failed)} subtasks that failed"
                    self._alert(Severity.WARNING, task, lost)
            self._warn_of_unusual([self._ledger[one.plan.index] for one in finished])

    def _finished(self) -> list[Finished]:
        """Return the tasks to publish now; fail those that have too many failures."""
        finished: list[Finished] = []
        snapshots = self._ledger.snapshots()
        for task in self._ledger.unended():
            if not task.is_ended:
                continue
            node = self._facts.pipeline.by_name[task.plan.node]
            if len(task.failed) > max(node.max_failed_subtasks, task.tolerated):
                self._fail(task, _why_failed(self._site, task))
            elif self._ledger.is_published(task.upstream):
                inputs = input_snapshots(self._facts, task.plan, snapshots)
                finished.append(
                    Finished(
                        number=task.number,
                        plan=task.plan,
                        attempt=task.attempt,
                        inputs=inputs,
                    )
                )
        return finished

    def _fail(self, task: Progress, reason: str) -> None:
        task.is_error = True
        step = TaskStep.WAITING_TO_STORE if task.is_ended else None
        instances.fail_task(self._site.database, task.number, step, reason)
        self._alert(Severity.ERROR, task, reason)
        running = self._ledger.can_go_on()
        state = (
            InstanceState.ERRORS_RUNNING if running else InstanceState.ERRORS_STALLED
        )
        instances.set_instance_state(self._site.database, self._facts.number, state)
        self._tell_ended(task, reason)

    def _free_blocked(self) -> None:
        """Let subtasks go that a failure blocked, once what there is of input is stored.

        They read it from there: those that need just what is missing end without
        output, others work on the rest.
        """
        for task in self._ledger.unended():
            index = task.plan.index
            if not task.blocked or not self._ledger.is_published(task.upstream):
                continue
            if index in self._flight.tasks:
                continue
            self._recorded[index] = recorded_of(self._site, task, self._token)
            task.blocked.clear()
            task.is_handed_out = False

    def _set_aside(self) -> None:
        """Let tasks that can't go on, since what they read has failed, wait again."""
        instances.move_tasks(
            self._site.database,
            [one.number for one in self._ledger.unended() if one.is_handed_out],
            TaskStep.WAITING_TO_RUN,
            [TaskStep.QUEUED, TaskStep.EXECUTING],
        )

    def _halt(self, numbers: Collection[int]) -> bool:
        """End tasks that an operator halts; return whether there were any."""
        halted = [one for one in self._ledger.unended() if one.number in numbers]
        self._end(halted, HALTED)
        return bool(halted)

    def _end_refused(self) -> bool:
        """End tasks whose environment takes no jobs; return whether there were any."""
        refusals = dict(self._site.refusals)
        if not refusals:
            return False
        found: dict[str, list[Progress]] = {}
        for task in self._ledger.unended():
            environment = self._placement.environment_of(task.plan)
            if task.is_handed_out and environment and environment.name in refusals:
                found.setdefault(environment.name, []).append(task)
        for name, tasks in found.items():
            self._end(tasks, refusals[name])
        return bool(found)

    def _end(self, halted: Sequence[Progress], reason: str) -> None:
        """Fail tasks, and end what runs for them."""
        if not halted:
            return
        for task in halted:
            self._fail(task, reason)
        indices = {one.plan.index for one in halted}
        indices |= followers((one.plan for one in self._ledger), indices)
        futures = self._flight.give_up(indices)
        tokens = {work_token(self._token, one.number) for one in halted}
        stop_running(self._client, tokens, [future.key for future in futures])
        self._client.cancel(futures, force=True)

    # -- handing out -----------------------------------------------------------

    def _hand_out(self) -> None:
        """Submit every task that can be laid out now and has not been yet."""
        graphed: dict[int, Progress] = {}
        for task in self._ledger.unended():
            if self._can_be_laid_out(task, graphed):
                graphed[task.plan.index] = task
        new = [task.number for task in graphed.values() if not task.is_ended]
        if not new:
            return
        graphs = layout_graph(
            [task.plan for task in graphed.values()],
            token=self._token,
            recorded=self._recorded,
            size_of=self._placement.size_of,
            lanes_of=lambda plan: self._facts.pipeline.by_name[plan.node].max_workers,
        )
        self._submit(graphs)
        instances.move_tasks(
            self._site.database,
            new,
            TaskStep.QUEUED,
            [TaskStep.WAITING_TO_RUN, TaskStep.SUBMITTING],
        )
        for task in graphed.values():
            task.is_handed_out = True

    def _can_be_laid_out(self, task: Progress, graphed: Mapping[int, Progress]) -> bool:
        if task.is_handed_out or task.plan.is_open or not task.plan.feeds:
            return False
        if self._is_limited(task.plan.node) and self._is_running(task.plan.node):
            return False
        return self._ledger.is_published(task.plan.after) and all(
            i in graphed or self._ledger[i].snapshot for i in task.upstream
        )

    def _is_limited(self, node: str) -> bool:
        """Tell whether only some subtasks of a node may run at once."""
        return self._facts.pipeline.by_name[node].max_workers > 0

    def _is_running(self, node: str) -> bool:
        """Tell whether subtasks of a node were handed out and have not ended."""
        tasks = self._flight.tasks
        return any(self._ledger[index].plan.node == node for index in tasks)

    def _settle_open(self) -> None:
        """Work out the subtasks of tasks whose inputs have been published by now."""
        settled = False
        for task in self._ledger.unended():
            if not task.plan.is_open or not self._ledger.is_published(task.upstream):
                continue
            try:
                stored = [self._stored_items(feed) for feed in task.plan.feeds]
            except DatastoreError as error:
                self._fail(task, str(error))
                continue
            task.plan = settle(
                task.plan, self._facts.pipeline, stored, self._facts.processed
            )
            instances.settle_task(
                self._site.database,
                task.number,
                task_to_json(task.plan),
                task.plan.count,
            )
            settled = True
        if settled:
            self._tell_planned()

    def _stored_items(self, feed: Feed) -> Labels | None:
        """Return the items of a published product; none if nothing came of it."""
        pipeline = self._facts.pipeline
        try:
            return stored_items(
                self._site.repository.reading(),
                feed.path,
                pipeline.types[feed.data_type],
                pipeline.patterns,
                self._facts.where.accepts,
            )
        except MissingError:
            return Labels.of([])

    def _submit(self, graphs: Sequence[TaskGraph]) -> None:
        snapshots = self._ledger.snapshots()
        dsk = dask_graph(
            graphs,
            token=self._token,
            recorded=self._recorded,
            works={
                one.task.index: self._pickled_work(one.task, snapshots)
                for one in graphs
            },
            calls=_CALLS,
            annotations_of=self._placement.annotations,
        )
        self._flight.submit(dsk, graphs, self._facts.pipeline.priority.rank)

    def _pickled_work(self, plan: TaskPlan, snapshots: Mapping[int, str]) -> bytes:
        task = self._ledger[plan.index]
        recorded = self._recorded.get(plan.index)
        parts = recorded.parts.values() if recorded else ()
        work = work_of(
            self._facts,
            plan,
            task.number,
            token=self._token,
            changes=task.changes,
            resubmits=task.resubmits,
            snapshots=snapshots,
            allocations={
                k: fork for part in parts for k, fork in part.change_sets.items()
            },
        )
        return pickle.dumps(work)

    # -- what comes back -------------------------------------------------------

    def _ended_futures(self) -> Iterator[list[Future[Any]]]:
        """Yield futures as they end, as many at a time as have gathered meanwhile."""
        heeded = time.monotonic()
        while self._flight:
            began = time.monotonic()
            if self._site.stop.is_set():
                raise KeyboardInterrupt
            if began - heeded > _HEED_S:
                heeded = began
                self._record_begun()
                halted = self._halt(
                    instances.halting(self._site.database, self._facts.number)
                )
                if self._end_refused() or halted:
                    yield []
                    continue
            if ended := self._flight.ended():
                yield ended
                if self._flight:
                    time.sleep(max(0.0, _RECORD_S - (time.monotonic() - began)))

    def _let_go(self) -> None:
        """Release what is left on the scheduler."""
        self._flight.let_go()
        self._client.unsubscribe_topic(f"ziggy-{self._token}")
        if self._client.status == "running":
            with suppress(OSError):  # the scheduler has just gone
                end_run(self._client, self._token)

    # -- telling ---------------------------------------------------------------

    def _note_begun(self, event: tuple[float, int]) -> None:
        """Hear, on the client's own thread, that a task's first batch is with a worker."""
        self._begun.append(event[1])

    def _record_begun(self) -> None:
        begun = [self._begun.popleft() for _ in range(len(self._begun))]
        numbers = [self._ledger[index].number for index in begun]
        instances.move_tasks(
            self._site.database, numbers, TaskStep.EXECUTING, [TaskStep.QUEUED]
        )

    def _tell_planned(self) -> None:
        self._listen(
            Planned(
                instance=self._facts.number,
                nodes=self._ledger.totals(),
            )
        )

    def _warn_of_unusual(self, tasks: Sequence[Progress]) -> None:
        """Tell of tasks that were slower or hungrier than their nodes in the past."""
        known = [one.number for one in tasks if one.plan.node in self._usual]
        found = usage_of_tasks(self._site.database, known)
        for task in tasks:
            if task.number in found:
                before = self._usual[task.plan.node]
                alerts = self._site.cluster.alerts
                words = unusual(found[task.number], before, alerts)
                if words:
                    self._alert(Severity.WARNING, task, words)

    def _alert(self, severity: Severity, task: Progress, message: str) -> None:
        alert(
            self._site,
            severity,
            f"{task.plan.node} {task.plan.unit.name}: {message}",
            instance=self._facts.number,
            task=task.number,
        )

    def _tell_ended(self, task: Progress, message: str) -> None:
        self._listen(
            TaskEnded(
                task=task.number,
                node=task.plan.node,
                unit=task.plan.unit.name,
                is_error=task.is_error,
                message=message,
            )
        )


def _why_failed(site: OpenCluster, task: Progress) -> str:
    failures = outcomes.subtasks(site.database, task.number, SubtaskState.FAILED)
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"subtask {first.number}: {first.message}{more}"
