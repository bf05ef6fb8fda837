"""Batches: some subtasks that run one after the other, as one Dask key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Key = tuple[str, int, int]
"""A Dask key: prefix, index of a task, and a number."""


@dataclass(frozen=True, slots=True)
class Part:
    """The subtasks of one task in a batch."""

    task: int
    """Index of the task in its plan."""
    subtasks: Sequence[int]
    """Their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Subtasks of one node that run one after the other.

    Those of one task as a rule; of several if each of them has little to do.
    """

    key: Key
    """The Dask key."""
    node: str
    """Node whose subtasks they are."""
    parts: tuple[Part, ...]
    """Subtasks by task; none if the key merges the results of others."""
    waits_for: tuple[Key, ...]
    """Keys of which it needs the results."""
    rank: int = 0
    """Of two batches that could run, the lower one runs first."""

    @property
    def tasks(self) -> tuple[int, ...]:
        """Indices of the tasks whose subtasks they are."""
        return tuple(part.task for part in self.parts)

    @property
    def size(self) -> int:
        """Number of subtasks."""
        return sum(len(part.subtasks) for part in self.parts)
