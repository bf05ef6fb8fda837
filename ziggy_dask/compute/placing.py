"""Placing: which subtask goes to which worker, where jobs of batch systems are workers.

Dask hands all that can run to workers at once, as far as they say to be large enough.
For workers of jobs that is too early: they end at their wall time, and later jobs would
find nothing left to do. So a worker of a job gets a subtask only when it has room for it
and time to finish it; others wait on the scheduler.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler
from distributed.scheduler import TaskState, WorkerState

from ziggy_dask.definitions import Node

MEMORY = "memory"
"""Dask resource of workers, in bytes."""
CORES = "cores"
"""Dask resource of workers: cores that subtasks may keep busy."""
GPU = "gpu"
"""Dask resource of workers: GPUs."""
HOME = "environment/home"
"""Dask resource of the workers on the supervisor's machine."""
SEAT = 2.0**-12
"""So much of a place takes a subtask that shares it; exact when added up."""
CLAIM = "ziggy-claim"
"""Annotation of keys: what they belong to."""
SECONDS = "ziggy-seconds"
"""Annotation of keys: time in which they surely end, in seconds; 0: nothing is known."""


def place_of(environment: str) -> str:
    """Return the Dask resource of the workers of an environment."""
    return f"environment/{environment}"


def wants(node: Node, memory_bytes: float, environment: str) -> dict[str, float]:
    """Return the Dask resources that a subtask takes.

    Parameters
    ----------
    node
        The node.
    memory_bytes
        Memory that the subtask gets; 0: not said.
    environment
        Where it runs; empty: in the home pool.
    """
    alone = node.remote is not None and node.remote.one_subtask_per_node
    if not environment:
        return {HOME: SEAT} | ({MEMORY: memory_bytes} if memory_bytes else {})
    needed = {MEMORY: memory_bytes, CORES: float(node.cores), GPU: float(node.gpu)}
    return {place_of(environment): 1.0 if alone else SEAT} | {
        name: amount for name, amount in needed.items() if amount
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a worker has left."""

    resources: Mapping[str, float]
    """Free amounts of its Dask resources."""
    ends: float
    """When its job ends, in seconds since the epoch."""


def fits(needs: Mapping[str, float], seconds: float, room: Room, now: float) -> bool:
    """Tell whether a subtask can begin on a worker now, and end before its job does."""
    return now + seconds <= room.ends and all(
        room.resources.get(name, 0.0) >= amount for name, amount in needs.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a claim has on the scheduler."""

    claim: tuple[int, str, int, int]
    """Instance, node, how often it was restarted for more memory, and for more time."""
    seconds: float
    """Time in which a subtask surely ends."""
    waiting: int
    """Keys that could run, had they a worker."""
    running: int
    """Keys on workers."""
    coming: int
    """Keys that wait for others."""
    soon: int = 0
    """Those of them that wait only for keys that are on workers now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A worker that a job started."""

    name: str
    """Name of its job."""
    address: str
    """Its address."""
    busy: int
    """Keys that it has."""


LOST = "Lost"
"""How the names of the types of results begin that have nothing for others."""


def job_name(worker: str) -> str:
    """Return the name of the job of a worker; a job that begins again has a new worker.

    Examples
    --------
    >>> job_name("ziggy-campaign-17-fit-3f9a"), job_name("ziggy-campaign-17-fit-3f9a.2")
    ('ziggy-campaign-17-fit-3f9a', 'ziggy-campaign-17-fit-3f9a')
    """
    return worker.partition(".")[0]


class PlacingScheduler(Scheduler):
    """Dask's scheduler, which gives workers of jobs no more than they can finish."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ends: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """Return the workers that a task may go to now."""
        if CLAIM in (ts.annotations or {}) and is_hopeless(ts):
            # It ends at once, for want of its input: no job is needed for that.
            ts.resource_restrictions = {HOME: SEAT}
            return super().valid_workers(ts)
        valid = super().valid_workers(ts)
        if valid is None or CLAIM not in (ts.annotations or {}):
            return valid
        seconds = (ts.annotations or {}).get(SECONDS, 0.0)
        now = time.time()
        return {
            one
            for one in valid
            if fits(ts.resource_restrictions or {}, seconds, self._room(one), now)
        }

    def stimulus_queue_slots_maybe_opened(self, *, stimulus_id: str) -> None:
        """Place what waits, when a worker may have room again."""
        super().stimulus_queue_slots_maybe_opened(stimulus_id=stimulus_id)
        self.place_waiting(stimulus_id)

    def place_waiting(self, stimulus_id: str) -> None:
        """Give tasks that wait to workers, as far as there is room."""
        full: set[object] = set()
        for ts in list(self.unrunnable):
            sort = (
                tuple(sorted((ts.resource_restrictions or {}).items())),
                (ts.annotations or {}).get(SECONDS, 0.0),
            )
            if sort in full or ts.state != "no-worker":
                continue
            if self.valid_workers(ts):
                self.transitions({ts.key: "processing"}, stimulus_id)
            else:
                full.add(sort)

    def _room(self, worker: WorkerState) -> Room:
        return Room(
            resources={
                name: amount - worker.used_resources.get(name, 0.0)
                for name, amount in worker.resources.items()
            },
            ends=self.ends.get(job_name(str(worker.name)), -math.inf),
        )


def note_ends(ends: dict[str, float], dask_scheduler: PlacingScheduler) -> None:
    """Tell the scheduler when the jobs of workers end; others get nothing yet."""
    dask_scheduler.ends = ends
    dask_scheduler.place_waiting("ziggy-ends")


def is_hopeless(ts: TaskState) -> bool:
    """Tell whether what a key needs has been lost: it can do nothing but say so."""
    own = ts.key[1] if isinstance(ts.key, tuple) and len(ts.key) > 1 else None
    return any(
        (each.type or "").rpartition(".")[2].startswith(LOST)
        for each in ts.dependencies
        if not isinstance(each.key, tuple) or each.key[1] != own  # lanes of its task
    )


async def drop_workers(
    names: Collection[str], dask_scheduler: PlacingScheduler
) -> list[str]:
    """Take the workers of jobs off the scheduler, whether they answer or not.

    What they had runs elsewhere, and is not held against it. A worker that was frozen and
    goes on finds that it is not known any more, and ends; nobody takes its results.

    Returns
    -------
    list
        Their addresses.
    """
    dropped = [
        worker.address
        for worker in dask_scheduler.workers.values()
        if HOME not in worker.resources and job_name(str(worker.name)) in names
    ]
    for address in dropped:
        await dask_scheduler.remove_worker(
            address, stimulus_id="ziggy-job-ended", expected=True
        )
    return dropped


def loads(dask_scheduler: PlacingScheduler) -> tuple[list[Load], list[Helper]]:
    """Return what there is to do for workers of jobs, and those workers."""
    counts: dict[tuple[tuple[int, str, int, int], float], list[int]] = {}
    places = {"no-worker": 0, "processing": 1, "waiting": 2, "queued": 0}
    for ts in dask_scheduler.tasks.values():
        said = ts.annotations or {}
        if CLAIM in said and ts.state in places and not is_hopeless(ts):
            sort = (tuple(said[CLAIM]), said[SECONDS])
            count = counts.setdefault(sort, [0, 0, 0, 0])
            count[places[ts.state]] += 1
            if ts.state == "waiting" and _is_soon(ts):
                count[3] += 1
    helpers = [
        Helper(
            name=job_name(str(worker.name)),
            address=worker.address,
            busy=len(worker.processing),
        )
        for worker in dask_scheduler.workers.values()
        if HOME not in worker.resources
    ]
    return [
        Load(
            claim=claim,
            seconds=seconds,
            waiting=n[0],
            running=n[1],
            coming=n[2],
            soon=n[3],
        )
        for (claim, seconds), n in counts.items()
    ], helpers


def job_number(variables: Sequence[str]) -> str:
    """Return the number of the job that this process belongs to; on a worker."""
    return next((os.environ[each] for each in variables if each in os.environ), "")


def _is_soon(ts: TaskState) -> bool:
    return all(each.state in ("processing", "memory") for each in ts.waiting_on or ())
