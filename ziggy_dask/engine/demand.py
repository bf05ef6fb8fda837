"""Demand: how many jobs the work asks for, and for which of them nothing is left."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ziggy_dask.compute.needs import Needs, needs_of
from ziggy_dask.compute.offers import Estimate
from ziggy_dask.compute.placing import Load
from ziggy_dask.definitions import Environment, JobState, Node
from ziggy_dask.records.attempts import Growth
from ziggy_dask.records.jobs import JobRecord

QUIET_S = 10.0
"""So long nothing must be left for an environment before its jobs end, in seconds: the
next task may be about to be handed out."""
IDLE_S = 3.0
"""So long a job may have nothing to do while others work and nothing waits, in seconds."""
SOON_S = 20.0
"""The same while something waits only for what others work on, in seconds."""


def needed_by(node: Node, grown: Growth, environment: Environment) -> Needs:
    """Return what the subtasks of a node need after restarts by themselves.

    Memory and time grow as the node's retry says, each after a want of it; memory to no
    more than the largest sort of node has.

    Raises
    ------
    ClusterError
        If the node does not say enough.
    """
    needs = needs_of(node)
    wanted = needs.remote.architecture
    most = max(
        one.memory_bytes
        for one in environment.architectures
        if not wanted or one.name == wanted
    )
    wanted_bytes = int(needs.memory_bytes * node.retry.memory**grown.memory)
    memory = max(needs.memory_bytes, min(wanted_bytes, most))
    factor = node.retry.time**grown.time
    return replace(
        needs,
        memory_bytes=memory,
        typical_s=needs.typical_s * factor,
        longest_s=needs.longest_s * factor,
    )


def jobs_wanted(found: Estimate, load: Load) -> int:
    """Return how many jobs a claim keeps busy now, at most those of its estimate."""
    busy = math.ceil((load.waiting + load.running) / found.active_cores)
    return min(found.nodes, busy)


def missing_jobs(
    environment: Environment,
    found: Estimate,
    load: Load,
    open_: Sequence[JobRecord],
    ends: Mapping[str, float],
    now: float,
) -> int:
    """Return how many jobs are to be submitted for a claim.

    Parameters
    ----------
    environment, found
        Where, and what it was estimated to get there.
    load
        What the claim has to do.
    open_
        Jobs that have not ended, of all environments.
    ends
        When those that run will end, by name, in seconds since the epoch.
    now
        Seconds since the epoch.
    """
    if not load.waiting:
        return 0
    mine = [
        one
        for one in open_
        if one.environment == environment.name and one.state is not JobState.CANCELLING
    ]
    able = [
        one
        for one in mine
        if one.architecture == found.architecture
        and ends.get(one.name, math.inf) >= now + load.seconds
    ]
    missing = jobs_wanted(found, load) - len(able)
    queue = environment.queue(found.queue)
    if queue is not None and queue.max_nodes:
        there = sum(one.queue == queue.name for one in mine)
        missing = min(missing, queue.max_nodes - there)
    if environment.max_jobs:
        missing = min(missing, environment.max_jobs - len(mine))
    return max(missing, 0)


def surplus_jobs(
    left: Sequence[Load],
    mine: Sequence[JobRecord],
    idle: Mapping[str, float],
    busy: Collection[str],
    ends: Mapping[str, float],
    now: float,
    quiet_s: float,
    spare_s: float,
) -> list[JobRecord]:
    """Return jobs for which nothing is left, or nothing that they could do.

    Parameters
    ----------
    left
        What the claims of an environment have to do.
    mine
        Its jobs that have not ended.
    idle
        Times, in seconds, for which those had nothing to do whose workers are here, by name.
    busy
        Names of those whose workers have something to do.
    ends, now
        As in `missing_jobs`.
    quiet_s
        Time for which nothing was left, in seconds.
    spare_s
        Time for which nothing waited that a job could begin, in seconds.
    """
    if not left:
        return [job for job in mine if job.name not in busy and quiet_s >= QUIET_S]
    shortest = min(load.seconds for load in left)
    waiting = sum(load.waiting for load in left)
    patience_s = SOON_S if any(load.soon for load in left) else IDLE_S
    if waiting:
        # It is offered what waits at once: what it lets lie for so long it can't do.
        patience_s = QUIET_S
    return [
        job
        for job in mine
        if (
            job.name in idle
            and (
                ends.get(job.name, math.inf) < now + shortest
                or idle[job.name] >= patience_s
            )
        )
        or (_is_queued(job) and job.name not in busy and spare_s >= SOON_S)
    ]


def _is_queued(job: JobRecord) -> bool:
    return job.state in (JobState.SUBMITTING, JobState.QUEUED)
