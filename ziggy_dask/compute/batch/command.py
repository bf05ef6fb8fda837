"""Commands of batch systems, and what is told by what they print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ziggy_dask.definitions import JobStatus

Told = dict[str, JobStatus]
"""What is told of jobs, by their ids."""
ID = "{id}"
"""Stands for all ids of jobs, each an argument of its own."""
IDS = "{ids}"
"""Stands for them with commas between, as one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that prints something of jobs."""

    words: tuple[str, ...]
    """The command and its arguments, with places to fill in."""
    read: Callable[[str], Told]
    """Reads what it prints."""
    nothing: str = ""
    """What it complains of when it knows none of the jobs, or not all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a batch system is spoken to."""

    query: Command
    """Prints all jobs that have not ended, and those that have if it can."""
    cancel: tuple[str, ...]
    """Cancels the jobs that are named after it."""
    history: Command | None = None
    """Prints how jobs ended; None: the query does."""


def filled(words: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return a command with ids filled in.

    Examples
    --------
    >>> filled(("qstat", "-x", "{id}"), ("7", "8"))
    ('qstat', '-x', '7', '8')
    >>> filled(("sacct", "--jobs", "{ids}"), ("7", "8"))
    ('sacct', '--jobs', '7,8')
    """
    places = {ID: tuple(ids), IDS: (",".join(ids),)}
    return tuple(word for each in words for word in places.get(each, (each,)))
