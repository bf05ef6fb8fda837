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

from dask.utils import format_bytes
from distributed import Future, as_completed
from distributed.scheduler import KilledWorker

from ziggy_dask.compute import MEMORY, has_places, memory_of_workers
from ziggy_dask.compute.estimate import estimate
from ziggy_dask.compute.placing import CLAIM, SECONDS, wants
from ziggy_dask.datastore import Labels, stored_items
from ziggy_dask.definitions import Environment, Node
from ziggy_dask.errors import ClusterError, DatastoreError, MissingError
from ziggy_dask.planning import (
    Batch,
    Calls,
    Feed,
    Key,
    TaskGraph,
    TaskPlan,
    batch_size,
    dask_graph,
    followers,
    layout_graph,
    settle,
    task_to_json,
)
from ziggy_dask.records import InstanceState, TaskStep, instances, outcomes
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.history import node_history
from ziggy_dask.records.usage import usage_of_nodes, usage_of_tasks
from ziggy_dask.supervisor.alerting import alert
from ziggy_dask.supervisor.connection import connected, lost
from ziggy_dask.supervisor.demand import needed_by
from ziggy_dask.supervisor.events import (
    Listener,
    Planned,
    Progressed,
    TaskEnded,
)
from ziggy_dask.supervisor.halting import stop_running
from ziggy_dask.supervisor.handout import (
    InstanceFacts,
    input_snapshots,
    work_of,
    work_token,
)
from ziggy_dask.supervisor.ledger import Ledger, Progress, recorded_earlier, recorded_of
from ziggy_dask.supervisor.publishing import Finished, publish
from ziggy_dask.supervisor.site import Site
from ziggy_dask.supervisor.usual import unusual
from ziggy_dask.workers import (
    BatchResult,
    Cause,
    Halting,
    Outcome,
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
        self, site: Site, facts: InstanceFacts, client: Client, listen: Listener
    ) -> None:
        self._site = site
        self._facts = facts
        self._client = client
        self._listen = listen
        self._token = secrets.token_hex(16)
        self._ledger = Ledger(site.database, facts.number)
        self._recorded = recorded_earlier(site.database, self._ledger, self._token)
        self._batches: dict[Any, Batch] = {}
        self._futures: dict[Any, Future[Any]] = {}
        self._needed: set[Any] = set()
        self._completed = as_completed([], loop=client.loop)
        self._slots = sum(client.nthreads().values()) or 1
        self._memory = memory_of_workers(client)
        self._has_places = has_places(client)
        self._longest: dict[str, float] = {}
        self._durations = outcomes.typical_seconds(site.database, facts.pipeline.name)
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
                    results = self._results_of(futures)
                    needed = {k: results[k] for k in self._needed & results.keys()}
                    remember(self._client, needed)
                    self._record(list(results.values()))
                    self._advance()
                    self._hand_out()
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
            if any(self._batches[key].task == index for key in self._futures):
                continue
            self._recorded[index] = recorded_of(self._site.database, task, self._token)
            task.blocked.clear()
            task.is_handed_out = False

    def _halt(self, numbers: Collection[int]) -> bool:
        """End tasks that an operator halts; return whether there were any."""
        halted = [one for one in self._ledger.unended() if one.number in numbers]
        self._end(halted, HALTED)
        return bool(halted)

    def _end_refused(self) -> bool:
        """End tasks whose environment takes no jobs; return whether there were any."""
        if not self._has_places:
            return False
        refusals = dict(self._site.refusals)
        found: dict[str, list[Progress]] = {}
        for task in self._ledger.unended():
            node = self._facts.pipeline.by_name[task.plan.node]
            environment = self._environment_of(task.plan, node)
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
        futures = [
            future
            for key, future in self._futures.items()
            if self._batches[key].task in indices
        ]
        for future in futures:
            del self._futures[future.key]
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
            size_of=self._batch_size,
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
        tasks = {self._batches[key].task for key in self._futures}
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
            annotations_of=self._annotations,
        )
        batches = {batch.key: batch for graph in graphs for batch in graph.batches}
        if not batches:
            return
        futures = self._client.get(
            dsk, list(batches), sync=False, priority=self._facts.pipeline.priority.rank
        )
        self._batches.update(batches)
        self._needed.update(
            key
            for graph in graphs
            for waited in (
                *(batch.waits_for for batch in graph.batches),
                *graph.merges.values(),
            )
            for key in waited
        )
        self._futures.update(zip(batches, futures, strict=True))
        self._completed.update(futures)

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

    def _annotations(self, plan: TaskPlan) -> dict[str, Any]:
        """Return what the scheduler is told of a task's batches: where they may run."""
        node = self._facts.pipeline.by_name[plan.node]
        resubmits = self._ledger[plan.index].resubmits
        environment = self._environment_of(plan, node)
        if environment is None:
            memory = self._memory_at_home(node, resubmits)
            at_home = wants(node, memory, "") if self._has_places else {}
            needs = at_home or ({MEMORY: memory} if memory else {})
            return {"resources": needs} if needs else {}
        needed = needed_by(node, resubmits, environment)
        estimate(environment, needed, plan.count)
        return {
            "resources": wants(node, needed.memory_bytes, environment.name),
            CLAIM: (self._facts.number, node.name, resubmits),
            SECONDS: self._longest_s(node) or needed.longest_s,
        }

    def _longest_s(self, node: Node) -> float:
        """Return the time in which most subtasks of a node ended so far; 0: not known."""
        if node.name not in self._longest:
            history = node_history(
                self._site.database, self._facts.pipeline.name, node.name
            )
            self._longest[node.name] = (
                history.longest_s.high
                if history and history.longest_s.is_enough
                else 0.0
            )
        return self._longest[node.name]

    def _environment_of(self, plan: TaskPlan, node: Node) -> Environment | None:
        """Return where the subtasks of a task run; None: in the home pool."""
        if node.remote is None or not self._has_places:
            return None
        recorded = self._recorded.get(plan.index)
        left = plan.count - (len(recorded.part_of) if recorded else 0)
        if left < node.remote.min_subtasks:
            return None
        return self._site.cluster.environment(node.remote.environment)

    def _memory_at_home(self, node: Node, resubmits: int) -> float:
        """Return the memory that a subtask gets in the home pool; 0: nobody counts it."""
        if not node.memory_bytes or not self._memory:
            return 0.0
        if node.memory_bytes <= max(self._memory):
            return min(
                node.memory_bytes * node.retry.memory**resubmits, max(self._memory)
            )
        raise ClusterError(
            f"node {node.name!r} needs {format_bytes(node.memory_bytes)} of memory per "
            f"subtask; the largest worker has {format_bytes(int(max(self._memory)))}. "
            "Give workers more in the cluster file, or mend the node's 'memory'"
        )

    def _batch_size(self, plan: TaskPlan) -> int:
        if self._ledger[plan.index].attempt:
            return 1  # so that those that fail, or kill their worker, harm no others
        node = self._facts.pipeline.by_name[plan.node]
        if self._environment_of(plan, node) is not None:
            return 1
        declared = node.typical_s
        seconds = declared or self._durations.get(plan.node, 0.0)
        return batch_size(plan.count, seconds, self._slots)

    # -- what comes back -------------------------------------------------------

    def _ended_futures(self) -> Iterator[list[Future[Any]]]:
        """Yield futures as they end, as many at a time as have gathered meanwhile."""
        heeded = time.monotonic()
        while self._futures:
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
            ended = self._completed.next_batch(block=False)
            some = [future for future in ended if future.key in self._futures]
            if some:
                yield some
                if self._futures:
                    time.sleep(max(0.0, _RECORD_S - (time.monotonic() - began)))
            elif self._completed.is_empty():
                raise lost()
            else:
                with self._completed.thread_condition:
                    self._completed.thread_condition.wait(timeout=0.1)

    def _results_of(self, futures: Sequence[Future[Any]]) -> dict[Key, BatchResult]:
        """Return the results of ended futures by key, and let the futures go."""
        status = {future.key: future.status for future in futures}
        if "cancelled" in status.values():
            raise lost("dropped subtasks")
        good = [future for future in futures if status[future.key] == "finished"]
        bad = [future for future in futures if status[future.key] == "error"]
        # What was lost with its worker since it ended is on its way once more.
        again = [f for f in futures if status[f.key] in ("pending", "lost")]
        self._completed.update(again)
        gathered: list[BatchResult] = self._client.gather(good)
        results: dict[Any, BatchResult] = {
            f.key: one for f, one in zip(good, gathered, strict=True)
        }
        results.update((future.key, self._lost(future)) for future in bad)
        for future in (*good, *bad):
            del self._futures[future.key]
            future.release()
        return results

    def _lost(self, future: Future[Any]) -> BatchResult:
        """Return the outcomes of a batch whose key failed, not its algorithm."""
        batch = self._batches[future.key]
        error = future.exception()
        before = [self._futures.get(key) for key in batch.waits_for]
        is_blocked = any(one is not None and one.status == "error" for one in before)
        cause = Cause.WORKER_LOST
        if isinstance(error, KilledWorker):
            is_blocked = error.task != future.key
            if _was_full(error.last_worker):
                cause = Cause.OUT_OF_MEMORY
        state = SubtaskState.BLOCKED if is_blocked else SubtaskState.FAILED
        return BatchResult(
            index=batch.task,
            outcomes=tuple(
                Outcome(
                    subtask=number,
                    state=state,
                    cause=cause,
                    message=" ".join(str(error).split())[:2000],
                    started_s=time.time(),
                )
                for number in batch.subtasks
            ),
        )

    def _let_go(self) -> None:
        """Release what is left on the scheduler."""
        for future in self._futures.values():
            future.release()
        self._futures.clear()
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


def _was_full(worker: Any) -> bool:
    """Tell whether a worker that died had used up its memory, as far as it said."""
    limit = worker.memory_limit
    return bool(limit) and worker.metrics.get("memory", 0) > _FULL * limit


def _why_failed(site: Site, task: Progress) -> str:
    failures = outcomes.subtasks(site.database, task.number, SubtaskState.FAILED)
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"subtask {first.number}: {first.message}{more}"
