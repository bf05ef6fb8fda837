"""What Dask has of an instance, and what comes back of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from dask.highlevelgraph import HighLevelGraph
from distributed import Future, as_completed
from distributed.scheduler import KilledWorker

from ziggy_dask.engine.connection import lost
from ziggy_dask.planning import Batch, Key, TaskGraph
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState

if TYPE_CHECKING:
    from distributed import Client

_FULL = 0.8
"""Share of its memory from which on a worker may die of it; nannies end it at 0.95."""
_WAIT_S = 0.1
"""So long a wait for what ends takes at the most, in seconds."""


class Flight:
    """Batches that were handed out and have not ended.

    Parameters
    ----------
    client
        Where they run.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._batches: dict[Any, Batch] = {}
        self._futures: dict[Any, Future[Any]] = {}
        self._needed: set[Any] = set()
        self._completed = as_completed([], loop=client.loop)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._futures)

    @property
    def tasks(self) -> set[int]:
        """Indices of the tasks whose batches they are."""
        return {self._batches[key].task for key in self._futures}

    def submit(
        self, dsk: HighLevelGraph, graphs: Sequence[TaskGraph], priority: int
    ) -> None:
        """Hand out the batches of some tasks, of which `dsk` is the graph."""
        batches = {batch.key: batch for graph in graphs for batch in graph.batches}
        if not batches:
            return
        futures = self._client.get(dsk, list(batches), sync=False, priority=priority)
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

    def ended(self) -> list[Future[Any]]:
        """Return those that have ended by now; if none has, after a short wait."""
        ended = self._completed.next_batch(block=False)
        some = [future for future in ended if future.key in self._futures]
        if not some:
            if self._completed.is_empty():
                raise lost()
            with self._completed.thread_condition:
                self._completed.thread_condition.wait(timeout=_WAIT_S)
        return some

    def needed(self, results: dict[Key, BatchResult]) -> dict[Key, BatchResult]:
        """Return those of some results for which other batches wait."""
        return {key: results[key] for key in self._needed & results.keys()}

    def results_of(self, futures: Sequence[Future[Any]]) -> dict[Key, BatchResult]:
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

    def give_up(self, tasks: Collection[int]) -> list[Future[Any]]:
        """Take the batches of some tasks out, and return them; nobody takes results."""
        futures = [
            future
            for key, future in self._futures.items()
            if self._batches[key].task in tasks
        ]
        for future in futures:
            del self._futures[future.key]
        return futures

    def let_go(self) -> None:
        """Release what is left on the scheduler."""
        for future in self._futures.values():
            future.release()
        self._futures.clear()

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


def _was_full(worker: Any) -> bool:
    """Tell whether a worker that died had used up its memory, as far as it said."""
    limit = worker.memory_limit
    return bool(limit) and worker.metrics.get("memory", 0) > _FULL * limit
