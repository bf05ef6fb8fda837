"""Estimates for a node of a registered pipeline: what it would get, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ziggy_dask.compute.estimate import survey
from ziggy_dask.compute.formatting import clock, price
from ziggy_dask.compute.metrics import read_nas_metrics
from ziggy_dask.compute.needs import Needs, needs_of
from ziggy_dask.compute.offers import Estimate, Offer, chosen
from ziggy_dask.definitions import Environment, Node, Pipeline, Remote
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ClusterError, DefinitionError
from ziggy_dask.records import Database
from ziggy_dask.records.history import History, node_history


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about a node, in place of what it says itself."""

    environment: str = ""
    """Environment; empty: the node's."""
    subtasks: int = 0
    """Number of subtasks of all tasks together; 0: as planned."""
    tasks: int = 0
    """Number of tasks; 0: as planned."""
    memory_bytes: int = 0
    """Memory of a subtask, in bytes; 0: the node's."""
    longest_s: float = 0.0
    """Longest time of a subtask, in seconds; 0: the node's."""
    typical_s: float = 0.0
    """Typical time of a subtask, in seconds; 0: the node's, else the longest."""
    queue_table: str | os.PathLike[str] = ""
    """File with what the site tells of its queues, for the optimizers that want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What each architecture would do for a node."""

    environment: Environment
    """Where."""
    needs: Needs
    """What a subtask needs."""
    subtasks: tuple[int, ...]
    """Number of subtasks of each task."""
    offers: tuple[Offer, ...]
    """What each architecture would do, the cheapest node first."""
    history: History | None = None
    """What time and memory rest on; None: on what was said."""

    @property
    def chosen(self) -> Estimate:
        """The estimate of the architecture that is used.

        Raises
        ------
        ClusterError
            If none can do it, with the reasons.
        """
        return chosen(self.offers)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why subtasks run one after another on the architecture that is used."""
        found = next((one.estimate for one in self.offers if one.is_chosen), None)
        if found is None or found.subtasks_per_core <= 1:
            return ()
        needs = self.needs
        ratio = needs.longest_s / needs.typical_s
        if found.subtasks_per_core > ratio:
            why = "as 'remote' of the node, or a queue's 'max_nodes', asks for it"
        else:
            why = (
                f"as the longest may take {clock(needs.longest_s)} and a typical one takes "
                f"{clock(needs.typical_s)}: for more jobs bring the two closer together"
            )
        return (
            (
                f"up to {found.subtasks_per_core:.6g} subtasks run one after another on each core, "
                f"{why}"
            ),
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The offers as rows of a table, with the units that people use."""
        return [_row(one, self.environment.cost_unit) for one in self.offers]


def estimate_node(
    pipeline: Pipeline,
    node: str,
    environments: Sequence[Environment],
    asked: Asked,
    planned: Sequence[int],
    history: History | None = None,
) -> Estimates:
    """Return what each architecture would do for a node.

    Parameters
    ----------
    planned
        Number of subtasks of each task that is planned now.
    history
        Where time and memory come from; None: from the node, or what is asked.

    Raises
    ------
    DefinitionError
        If there is no such node or environment.
    ClusterError
        If too little is known.
    """
    known = pipeline.by_name
    if node not in known:
        raise DefinitionError(
            f"pipeline {pipeline.name!r} has no node {node!r}{suggestion(node, known)}"
        )
    needs = needs_of(
        _adapted(known[node], asked, history), _remote(known[node], asked, environments)
    )
    environment = _environment(needs.remote.environment, environments)
    counts = _counts(asked, planned, node)
    metrics = read_nas_metrics(Path(asked.queue_table)) if asked.queue_table else None
    return Estimates(
        environment=environment,
        needs=needs,
        subtasks=counts,
        offers=survey(environment, needs, counts, metrics),
        history=history,
    )


def required_history(database: Database, pipeline: str, node: str) -> History:
    """Return what past subtasks of a node took.

    Raises
    ------
    ClusterError
        If there are none.
    """
    history = node_history(database, pipeline, node)
    if history is None:
        raise ClusterError(
            f"no subtask of {node!r} was completed yet, so there is no history; give "
            "memory and time"
        )
    return history


def _adapted(node: Node, asked: Asked, history: History | None) -> Node:
    """Return a node with the times and the memory that are asked, or from history."""
    memory, longest, typical = asked.memory_bytes, asked.longest_s, asked.typical_s
    if history is not None:
        memory = memory or round(history.most_bytes.high)
        longest = longest or history.longest_s.high
        typical = typical or history.median_s.value
    longest = longest or node.limit_s
    typical = typical or node.typical_s or longest
    return replace(
        node,
        memory_bytes=memory or node.memory_bytes,
        limit_s=longest,
        typical_s=min(typical, longest) if longest and not asked.typical_s else typical,
    )


def _remote(
    node: Node, asked: Asked, environments: Sequence[Environment]
) -> Remote | None:
    """Return where a node runs; elsewhere than it says, its choices there don't count."""
    name = asked.environment
    if node.remote is not None and name in ("", node.remote.environment):
        return node.remote
    if not name and len(environments) == 1:
        name = environments[0].name
    if not name:
        return None
    if node.remote is None:
        return Remote(environment=name)
    return replace(
        node.remote, environment=name, architecture="", queue="", reserved_queue=""
    )


def _environment(name: str, environments: Sequence[Environment]) -> Environment:
    for one in environments:
        if one.name == name:
            return one
    raise DefinitionError(
        f"the cluster file has no environment {name!r}"
        + suggestion(name, [one.name for one in environments])
    )


def _counts(asked: Asked, planned: Sequence[int], node: str) -> tuple[int, ...]:
    known = tuple(one for one in planned if one)
    if not asked.subtasks and not known:
        raise ClusterError(
            f"how many subtasks {node!r} will have is not known yet; give the number"
        )
    if not asked.subtasks and not asked.tasks:
        return known
    subtasks = asked.subtasks or sum(known)
    if asked.tasks > subtasks:
        raise ClusterError(
            f"{asked.tasks} tasks have no fewer than {asked.tasks} subtasks together, but "
            f"{subtasks} are given"
        )
    tasks = min(asked.tasks or len(planned) or 1, subtasks)
    each, more = divmod(subtasks, tasks)
    return tuple(each + (number < more) for number in range(tasks))


def _row(one: Offer, unit: str) -> dict[str, Any]:
    found = one.estimate
    return {
        "": "→" if one.is_chosen else "",
        "architecture": one.architecture.name,
        "description": one.architecture.description,
        "nodes": found.nodes if found else None,
        "active_cores": found.active_cores if found else None,
        "subtasks_per_core": round(found.subtasks_per_core, 2) if found else None,
        "wall_time": clock(found.wall_s) if found else None,
        "queue": found.queue if found else None,
        f"cost_{unit}".strip("_"): price(found.cost) if found else None,
        "remark": one.reason,
    }
