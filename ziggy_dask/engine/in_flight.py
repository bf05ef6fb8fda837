"""What Dask has of an instance, and what comes back of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.highlevelgraph import HighLevelGraph
from dask.utils import format_bytes
from distributed import Future, as_completed
from distributed.scheduler import KilledWorker

from ziggy_dask.engine.connection import LIMIT_S, answer, gathered, lost
from ziggy_dask.planning import Batch, Key
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState

if TYPE_CHECKING:
    from distributed import Client

_FULL = 0.8
"""Share of its memory from which on a worker may die of it; nannies end it at 0.95."""
_AGAIN_S = 30.0
"""Time until a worker is asked again for results that it did not give, in seconds."""
_WAIT_S = 0.1
"""Longest wait for what ends, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a batch ended."""

    result: BatchResult | None = None
    """Its outcomes; None: it only merged results of others."""
    is_lost: bool = False
    """Whether it was lost with its worker, repeatedly."""
    worker: str = ""
    """Name of the last worker that it was lost with; empty: nobody knows."""
    deaths: int = 1
    """After so many deaths of its workers it was given up."""


class InFlight:
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
        self._kept: dict[Any, Future[Any]] = {}
        self._late: list[tuple[float, Future[Any]]] = []
        self._needed: set[Any] = set()
        self._completed = as_completed([], loop=client.loop)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._futures)

    def submit(self, dsk: HighLevelGraph, batches: Sequence[Batch]) -> None:
        """Hand out batches, of which `dsk` is the graph."""
        keys = [batch.key for batch in batches]
        futures = self._client.get(dsk, keys, sync=False)
        self._batches.update((batch.key, batch) for batch in batches)
        self._needed.update(key for batch in batches for key in batch.waits_for)
        self._futures.update(zip(keys, futures, strict=True))
        self._completed.update(futures)

    def ended(self) -> list[Future[Any]]:
        """Return those that have ended by now; if none has, after a short wait.

        Raises
        ------
        ComputeLostError
            If nothing can end any more, since the scheduler has gone.
        """
        self._ask_late_again()
        ended = self._completed.next_batch(block=False)
        some = [future for future in ended if future.key in self._futures]
        if not some:
            if self._completed.is_empty() and not self._late:
                raise lost()
            with self._completed.thread_condition:
                self._completed.thread_condition.wait(timeout=_WAIT_S)
        return some

    def needed(self, results: Mapping[Key, Ended]) -> dict[Key, BatchResult]:
        """Return those of some results for which other batches wait."""
        found = {key: results[key].result for key in self._needed & results.keys()}
        return {key: result for key, result in found.items() if result is not None}

    def results_of(self, futures: Sequence[Future[Any]]) -> dict[Key, Ended]:
        """Return how batches ended by key, and let go of them.

        Those whose results a worker does not give within some seconds stay in flight.

        Raises
        ------
        ComputeLostError
            If the scheduler dropped some.
        """
        status = {future.key: future.status for future in futures}
        if "cancelled" in status.values():
            raise lost("dropped subtasks")
        good = [future for future in futures if status[future.key] == "finished"]
        bad = [future for future in futures if status[future.key] == "error"]
        # What was lost with its worker since it ended is on its way once more.
        again = [f for f in futures if status[f.key] in ("pending", "lost")]
        merges = [future for future in good if not self._batches[future.key].parts]
        given, late = gathered(self._client, [f for f in good if f not in merges])
        self._completed.update(again)
        self._late += [(time.monotonic() + _AGAIN_S, future) for future in late]
        ended = {key: Ended(result=result) for key, result in given.items()}
        ended.update((future.key, Ended()) for future in merges)
        ended.update((future.key, self._lost(future)) for future in bad)
        for key in ended:
            self._kept[key] = self._futures.pop(key)
        return ended

    def _ask_late_again(self) -> None:
        """Let results count as ended anew that a worker did not give some time ago."""
        now = time.monotonic()
        due = [future for when, future in self._late if when <= now]
        if due:
            self._late = [one for one in self._late if one[0] > now]
            self._completed.update(f for f in due if f.key in self._futures)

    def release(self, is_needed: Callable[[Key], bool]) -> None:
        """Let the scheduler forget what has ended, unless a batch to come needs it."""
        for key in [key for key in self._kept if not is_needed(key)]:
            self._kept.pop(key).release()

    def give_up(self, keys: Iterable[Key]) -> None:
        """Take batches out; nobody takes their results."""
        futures = [self._futures.pop(key) for key in keys]
        if futures:
            answer(self._client, self._client._cancel, futures, force=True)

    def drop(self, keys: Iterable[Key]) -> None:
        """Take batches out; what runs of them may go on, but nobody takes its results."""
        for key in keys:
            self._futures.pop(key).release()

    def let_go(self) -> None:
        """Release what is left on the scheduler."""
        for future in (*self._futures.values(), *self._kept.values()):
            future.release()
        self._futures.clear()
        self._kept.clear()

    def _lost(self, future: Future[Any]) -> Ended:
        """Return the outcomes of a batch whose key failed, not its algorithm."""
        batch = self._batches[future.key]
        error = future.exception(timeout=LIMIT_S)
        before = [self._futures.get(key) for key in batch.waits_for]
        is_blocked = any(one is not None and one.status == "error" for one in before)
        cause, message = Cause.WORKER_LOST, " ".join(str(error).split())[:2000]
        worker, deaths = "", 1
        if isinstance(error, KilledWorker):
            worker = str(error.last_worker.name)
            deaths = error.allowed_failures + 1
            is_blocked = error.task != future.key and error.task in batch.waits_for
            cause, message = self._why_killed(error)
        if not batch.parts:
            return Ended()
        (part,) = batch.parts
        state = SubtaskState.BLOCKED if is_blocked else SubtaskState.FAILED
        result = BatchResult(
            index=part.task,
            outcomes=tuple(
                Outcome(
                    subtask=number,
                    state=state,
                    cause=cause,
                    message=message,
                    started_s=time.time(),
                )
                for number in part.subtasks
            ),
        )
        return Ended(
            result=result, is_lost=not is_blocked, worker=worker, deaths=deaths
        )

    def _why_killed(self, error: KilledWorker) -> tuple[Cause, str]:
        """Return why the workers of a key died, in words for operators."""
        worker = error.last_worker
        times = f"each of the {error.allowed_failures + 1} times that it ran"
        scheduler: Any = self._client.scheduler
        events = answer(self._client, scheduler.events, topic=_MEMORY_EVENTS)
        ended = {event.get("worker"): event.get("rss", 0) for _, event in events}
        used = max(ended.get(worker.address, 0), worker.metrics.get("memory", 0))
        limit = worker.memory_limit
        if worker.address in ended or (limit and used > _FULL * limit):
            return Cause.OUT_OF_MEMORY, (
                f"its worker died of too much memory {times}: it used {format_bytes(used)} "
                f"and has {format_bytes(limit)}; give the node more 'memory', or "
                "'retry: {memory: 2}'"
            )
        return Cause.WORKER_LOST, (
            f"its worker died {times}, the last one {worker.name} on {worker.host}; see "
            "its log"
        )


_MEMORY_EVENTS = "worker-restart-memory"
"""Topic under which Dask's nannies tell of workers that they ended for their memory."""
