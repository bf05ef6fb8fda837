"""How many nodes a task gets, for how long, from which queue, and what that costs.

Pure functions on the values of a cluster file and of a node. The formulas are those of
Ziggy's calculator for PBS. In two places this one goes on where Ziggy gives up: an
architecture for which no queue is long enough is left out instead of ending the search, and
the optimizer by queue depth is used, not replaced by the one by cost. Numbers are exact
fractions, so that 4.5 h are nine times 0.5 h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from ziggy_dask.compute.formatting import clock
from ziggy_dask.compute.needs import Needs, require_sound
from ziggy_dask.compute.offers import Estimate, Offer, QueueMetrics, best, chosen
from ziggy_dask.definitions import Architecture, Environment, Queue, Remote
from ziggy_dask.errors import ClusterError

QUARTER_S = 900
"""Wall times are multiples of a quarter of an hour."""


def estimate(
    environment: Environment,
    needs: Needs,
    subtasks: int,
    metrics: QueueMetrics | None = None,
) -> Estimate:
    """Return what a task with so many subtasks gets.

    Raises
    ------
    ClusterError
        If no architecture, or not the one that is asked for, can do it.
    """
    return chosen(survey(environment, needs, [subtasks], metrics))


def survey(
    environment: Environment,
    needs: Needs,
    subtasks: Sequence[int],
    metrics: QueueMetrics | None = None,
) -> tuple[Offer, ...]:
    """Return what each architecture would do, the cheapest node first.

    Parameters
    ----------
    subtasks
        Number of subtasks of each task. What tasks get is added up.

    Raises
    ------
    ClusterError
        If the node asks for an architecture or a queue that there is not, or is not sound.
    """
    require_sound(environment, needs, subtasks)
    offers = []
    for one in sorted(environment.architectures, key=lambda each: each.cost):
        reason = _too_small(one, needs)
        if not reason:
            try:
                tasks = [_estimate(environment, one, needs, n) for n in subtasks]
            except ClusterError as error:
                reason = str(error)
        found = None if reason else total(environment, tasks)
        offers.append(Offer(architecture=one, estimate=found, reason=reason))
    wanted = needs.remote.architecture
    able = [one for one in offers if one.estimate is not None]
    if wanted:
        able = [one for one in able if one.architecture.name == wanted]
    taken = best(able, needs, metrics) if able else None
    return tuple(replace(one, is_chosen=one is taken) for one in offers)


def total(environment: Environment, tasks: Sequence[Estimate]) -> Estimate:
    """Return what several tasks of one architecture get together.

    Nodes and cost are added; wall time, active cores and queue are the largest.
    """
    limits = {one.name: _limit(one) for one in environment.queues}
    return replace(
        tasks[0],
        queue=max((one.queue for one in tasks), key=lambda q: limits.get(q, math.inf)),
        nodes=sum(one.nodes for one in tasks),
        active_cores=max(one.active_cores for one in tasks),
        subtasks_per_core=max(one.subtasks_per_core for one in tasks),
        wall_s=max(one.wall_s for one in tasks),
        cost=math.fsum(one.cost for one in tasks),
        subtasks=sum(one.subtasks for one in tasks),
    )


def _estimate(
    environment: Environment, architecture: Architecture, needs: Needs, subtasks: int
) -> Estimate:
    """Return what an architecture would do, with no more nodes than its queue allows."""
    found = _unlimited(environment, architecture, needs, subtasks)
    queue = environment.queue(found.queue)
    if queue is None or not queue.max_nodes or found.nodes <= queue.max_nodes:
        return found
    fewer = replace(needs.remote, max_nodes=queue.max_nodes)
    return _estimate(environment, architecture, replace(needs, remote=fewer), subtasks)


def _unlimited(
    environment: Environment, architecture: Architecture, needs: Needs, subtasks: int
) -> Estimate:
    remote = needs.remote
    typical, longest = Fraction(needs.typical_s), Fraction(needs.longest_s)
    active = min(_places(architecture, needs), subtasks)
    per_core = _subtasks_per_core(remote, longest / typical, active, subtasks)
    nodes = math.ceil(max(Fraction(1), subtasks / (per_core * active)))
    if remote.max_nodes:
        nodes = min(nodes, remote.max_nodes)
    if remote.one_subtask_per_node and remote.scale_time_by_cores:
        least = longest / architecture.cores
        needed = per_core * typical / architecture.cores
    else:
        least, needed = _up(longest, typical), _up(per_core * typical, typical)
    wall_s = int(_up(max(least, needed), Fraction(QUARTER_S)))
    cost = Fraction(str(architecture.cost)) * nodes * Fraction(wall_s, 3600)
    return Estimate(
        architecture=architecture.name,
        queue=_queue(environment, remote, wall_s),
        nodes=nodes,
        active_cores=active,
        subtasks_per_core=float(per_core),
        wall_s=wall_s,
        cost=float(cost),
        subtasks=subtasks,
    )


def _places(architecture: Architecture, needs: Needs) -> int:
    """Return how many subtasks fit on a node at once."""
    if needs.remote.one_subtask_per_node:
        return 1
    places = [
        architecture.memory_bytes // needs.memory_bytes,
        architecture.cores // needs.cores,
    ]
    if needs.gpu:
        places.append(architecture.gpus // needs.gpu)
    return min(places)


def _subtasks_per_core(
    remote: Remote, from_time: Fraction, active: int, subtasks: int
) -> Fraction:
    per_core = from_time
    if remote.max_nodes:
        per_core = max(per_core, Fraction(subtasks, active * remote.max_nodes))
    return max(per_core, Fraction(remote.subtasks_per_core))


def _up(value: Fraction, step: Fraction) -> Fraction:
    return step * math.ceil(value / step)


def _limit(queue: Queue) -> float:
    return queue.max_time_s or math.inf


def _queue(environment: Environment, remote: Remote, wall_s: int) -> str:
    """Return the name of the queue for a wall time."""
    if remote.reserved_queue:
        reserved = [one for one in environment.queues if one.is_reserved]
        if reserved and max(map(_limit, reserved)) < wall_s:
            raise ClusterError(f"reservations are too short for {clock(wall_s)}")
        return remote.reserved_queue
    given = environment.queue(remote.queue) if remote.queue else None
    if given is not None:
        if _limit(given) < wall_s:
            raise ClusterError(
                f"queue {given.name!r} allows {clock(given.max_time_s)}, but "
                f"{clock(wall_s)} is needed"
            )
        return given.name
    queues = [one for one in environment.queues if one.is_automatic]
    for one in sorted(queues, key=_limit):
        if _limit(one) >= wall_s:
            return one.name
    if environment.queues:
        longest = max(queues, key=_limit, default=None)
        most = (
            f"; the longest, {longest.name!r}, allows {clock(longest.max_time_s)}"
            if longest
            else ""
        )
        raise ClusterError(f"no queue is long enough for {clock(wall_s)}{most}")
    return ""


def _too_small(one: Architecture, needs: Needs) -> str:
    for what, has, wanted in (
        ("GB", one.memory_bytes / 1e9, needs.memory_bytes / 1e9),
        ("cores", one.cores, needs.cores),
        ("GPUs", one.gpus, needs.gpu),
    ):
        if has < wanted:
            return f"has {has:g} {what}, a subtask needs {wanted:g}"
    return ""
