"""Placing: which subtask goes to which worker, where jobs of batch systems are workers.

Dask hands all that can run to workers at once, as far as they say to be large enough.
For workers of jobs that is too early: they end at their wall time, and later jobs would
find nothing left to do. So a worker of a job gets a subtask only when it has room for it
and time to finish it; others wait on the scheduler.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
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

    claim: tuple[int, str, int]
    """Instance, node, and how often it was restarted by itself."""
    seconds: float
    """Time in which a subtask surely ends."""
    waiting: int
    """Keys that could run, had they a worker."""
    running: int
    """Keys on workers."""
    coming: int
    """Keys that wait for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A worker that a job started."""

    name: str
    """Its name, which is its job's."""
    address: str
    """Its address."""
    busy: int
    """Keys that it has."""


class PlacingScheduler(Scheduler):
    """Dask's scheduler, which gives workers of jobs no more than they can finish."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ends: dict[str, float] = {}
        super().__init__(*arguments, **options)

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """Return the workers that a task may go to now."""
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
            ends=self.ends.get(str(worker.name), -math.inf),
        )


def note_ends(ends: dict[str, float], dask_scheduler: PlacingScheduler) -> None:
    """Tell the scheduler when the jobs of workers end; others get nothing yet."""
    dask_scheduler.ends = ends
    dask_scheduler.place_waiting("ziggy-ends")


def loads(dask_scheduler: PlacingScheduler) -> tuple[list[Load], list[Helper]]:
    """Return what there is to do for workers of jobs, and those workers."""
    counts: dict[tuple[tuple[int, str, int], float], list[int]] = {}
    places = {"no-worker": 0, "processing": 1, "waiting": 2, "queued": 0}
    for ts in dask_scheduler.tasks.values():
        said = ts.annotations or {}
        if CLAIM in said and ts.state in places:
            sort = (tuple(said[CLAIM]), said[SECONDS])
            counts.setdefault(sort, [0, 0, 0])[places[ts.state]] += 1
    helpers = [
        Helper(name=str(one.name), address=one.address, busy=len(one.processing))
        for one in dask_scheduler.workers.values()
        if HOME not in one.resources
    ]
    return [
        Load(claim=claim, seconds=seconds, waiting=n[0], running=n[1], coming=n[2])
        for (claim, seconds), n in counts.items()
    ], helpers
