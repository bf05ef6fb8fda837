"""How many nodes a task gets, for how long, from which queue, and what that costs.

Pure functions on the values of a cluster file and of a node. The formulas are those of
Ziggy's calculator for PBS. In two places this one goes on where Ziggy gives up: an
architecture for which no queue is long enough is left out instead of ending the search, and
the optimizer by queue depth is used, not replaced by the one by cost. Numbers are exact
fractions, so that 4.5 h are nine times 0.5 h.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from ziggy_dask.definitions import (
    Architecture,
    Environment,
    Node,
    Optimizer,
    Queue,
    Remote,
)
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ClusterError

QUARTER_S = 900
"""Wall times are multiples of a quarter of an hour."""


class QueueMetrics(Protocol):
    """What a site tells of how long jobs wait."""

    def run_out_h(self, architecture: str) -> float:
        """Return the hours after which what is queued for an architecture has run."""
        ...

    def expansion(self, architecture: str) -> float:
        """Return the time from submission to end over the time of running."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the subtasks of a node need."""

    memory_bytes: int
    """Memory of one subtask, in bytes."""
    typical_s: float
    """Typical time of one subtask, in seconds."""
    longest_s: float
    """Longest time of one subtask, in seconds."""
    remote: Remote
    """Where they run, and limits."""
    cores: int = 1
    """Cores that one subtask keeps busy."""
    gpu: int = 0
    """GPUs that one subtask needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a task gets."""

    architecture: str
    """Sort of nodes."""
    queue: str
    """Queue; empty: the site's default."""
    nodes: int
    """Number of nodes, and so of jobs."""
    active_cores: int
    """Subtasks at once on a node."""
    subtasks_per_core: float
    """Subtasks one after another, on average."""
    wall_s: int
    """Wall time of a job, in seconds."""
    cost: float
    """Price, in the environment's cost units."""
    subtasks: int
    """Number of subtasks that it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one architecture would do."""

    architecture: Architecture
    """The architecture."""
    estimate: Estimate | None
    """What the tasks would get; None: it can't be used."""
    reason: str = ""
    """Why it can't be used."""
    is_chosen: bool = False
    """Whether it is the one that is used."""


def needs_of(node: Node, remote: Remote | None = None) -> Needs:
    """Return what a node says of its subtasks.

    Of a typical and a longest time one stands for both.

    Raises
    ------
    ClusterError
        If it does not say enough.
    """
    typical_s, longest_s = (
        node.typical_s or node.limit_s,
        node.limit_s or node.typical_s,
    )
    where = remote or node.remote
    missing = [
        key
        for key, given in (
            ("memory", node.memory_bytes),
            ("time", typical_s),
            ("remote", where),
        )
        if not given
    ]
    if missing or where is None:
        raise ClusterError(
            f"node {node.name!r} does not say its {' and '.join(missing)}, without which "
            "nothing can be estimated; add it to the definition, or give it here"
        )
    return Needs(
        memory_bytes=node.memory_bytes,
        typical_s=typical_s,
        longest_s=longest_s,
        remote=where,
        cores=node.cores,
        gpu=node.gpu,
    )


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


def chosen(offers: Sequence[Offer]) -> Estimate:
    """Return the estimate of the offer that is chosen.

    Raises
    ------
    ClusterError
        If there is none, with the reasons.
    """
    for offer in offers:
        if offer.is_chosen and offer.estimate is not None:
            return offer.estimate
    reasons = "; ".join(
        f"{one.architecture.name}: {one.reason}" for one in offers if one.reason
    )
    raise ClusterError(f"no architecture can do it: {reasons}")


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
    _require(environment, needs, subtasks)
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
    best = _best(able, needs, metrics) if able else None
    return tuple(replace(one, is_chosen=one is best) for one in offers)


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
        raise ClusterError(f"no queue is long enough for {clock(wall_s)}")
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


def _best(able: Sequence[Offer], needs: Needs, metrics: QueueMetrics | None) -> Offer:
    """Return what the optimizer chooses; ties go to the cheaper node."""
    optimizer = needs.remote.optimizer
    estimates = [(one, one.estimate) for one in able if one.estimate is not None]
    if optimizer is Optimizer.CORES and not needs.remote.one_subtask_per_node:
        name = most_cores([one.architecture for one in able], needs.memory_bytes)
    elif optimizer is Optimizer.QUEUE_DEPTH and metrics is not None:
        name = least_depth([one.architecture for one in able], metrics)
    elif optimizer is Optimizer.QUEUE_TIME and metrics is not None:
        name = min(
            estimates,
            key=lambda one: metrics.expansion(one[1].architecture) * one[1].wall_s,
        )[1].architecture
    else:
        name = min(estimates, key=lambda one: one[1].cost)[1].architecture
    return next(one for one in able if one.architecture.name == name)


def most_cores(architectures: Iterable[Architecture], memory_bytes: int) -> str:
    """Return the architecture with the largest part of its cores busy."""
    ordered = sorted(architectures, key=lambda one: one.cost)
    return max(
        ordered,
        key=lambda one: min(
            Fraction(1), Fraction(one.memory_bytes, one.cores * memory_bytes)
        ),
    ).name


def least_depth(architectures: Iterable[Architecture], metrics: QueueMetrics) -> str:
    """Return the architecture whose queue would run empty first."""
    ordered = sorted(architectures, key=lambda one: one.cost)
    return min(ordered, key=lambda one: metrics.run_out_h(one.name)).name


def _require(environment: Environment, needs: Needs, subtasks: Sequence[int]) -> None:
    where = f"environment {environment.name!r}"
    for kind, name, known in (
        (
            "architecture",
            needs.remote.architecture,
            [one.name for one in environment.architectures],
        ),
        ("queue", needs.remote.queue, [one.name for one in environment.queues]),
    ):
        if name and name not in known:
            raise ClusterError(
                f"{where} has no {kind} {name!r}{suggestion(name, known)}"
            )
    for what, number in (
        ("memory", needs.memory_bytes),
        ("typical time", needs.typical_s),
        ("longest time", needs.longest_s),
        ("number of cores", needs.cores),
        ("number of subtasks", min(subtasks, default=0)),
    ):
        if not 0 < number < math.inf:
            raise ClusterError(
                f"the {what} is {number:g}, but must be more than nothing to estimate by"
            )
    if needs.longest_s < needs.typical_s:
        raise ClusterError(
            f"the longest time, {needs.longest_s:g} s, is shorter than the typical one, "
            f"{needs.typical_s:g} s"
        )


def clock(seconds: float, *, with_seconds: bool = True) -> str:
    """Return a time as hours, minutes and seconds.

    Examples
    --------
    >>> clock(45296), clock(0), clock(45296, with_seconds=False)
    ('12:34:56', '0:00:00', '12:34')
    """
    if seconds < 0:
        raise ValueError(f"a time can't be negative, but is {seconds:g} s")
    minutes, rest = divmod(round(seconds), 60)
    text = f"{minutes // 60}:{minutes % 60:02}"
    return f"{text}:{rest:02}" if with_seconds else text


def price(cost: float) -> str:
    """Return a cost as it is shown: about four digits, no zeros at the end.

    Examples
    --------
    >>> price(0.12345), price(4.06), price(17.82), price(200.97), price(0)
    ('0.1235', '4.06', '17.82', '201', '0')
    """
    decimals = 4 if cost < 1 else 3 if cost < 10 else 2 if cost < 100 else 1
    return f"{cost:.{decimals}f}".rstrip("0").rstrip(".")
