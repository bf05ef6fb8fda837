"""Needs: what a node says of its subtasks, as sizes and times to estimate by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ziggy_dask.definitions import Environment, Node, Remote
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ClusterError


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
            "nothing can be estimated; add it to the definition, or give memory, time "
            "and environment here"
        )
    return Needs(
        memory_bytes=node.memory_bytes,
        typical_s=typical_s,
        longest_s=longest_s,
        remote=where,
        cores=node.cores,
        gpu=node.gpu,
    )


def require_sound(
    environment: Environment, needs: Needs, subtasks: Sequence[int]
) -> None:
    """Require what is known in an environment, and numbers to estimate by.

    Raises
    ------
    ClusterError
        If something is not.
    """
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
