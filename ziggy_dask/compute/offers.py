"""Offers: what each architecture would do for a task, and which one is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from ziggy_dask.compute.needs import Needs
from ziggy_dask.definitions import Architecture, Optimizer
from ziggy_dask.errors import ClusterError


class QueueMetrics(Protocol):
    """What a site tells of how long jobs wait."""

    def run_out_h(self, architecture: str) -> float:
        """Return the hours after which what is queued for an architecture has run."""
        ...

    def expansion(self, architecture: str) -> float:
        """Return the time from submission to end over the time of running."""
        ...


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


def best(able: Sequence[Offer], needs: Needs, metrics: QueueMetrics | None) -> Offer:
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
