"""Commands of batch systems, and what is told by what they print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ziggy_dask.definitions import JobStatus

Told = dict[str, JobStatus]
"""What is told of jobs, by their ids."""
ID = "{id}"
"""Stands for all ids of jobs, each an argument of its own."""
NAME = "{name}"
"""Stands for the name of a job."""
IDS = "{ids}"
"""Stands for them with commas between, as one argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that prints something of jobs."""

    words: tuple[str, ...]
    """The command and its arguments, with places to fill in."""
    read: Callable[[str], Told]
    """Reads what it prints; raises `ValueError` for what can't be an answer."""
    nothing: str = ""
    """What it complains of when it knows none of the jobs, or not all of them."""
    is_complete: bool = True
    """Whether it prints all jobs of the user, so that one can be found by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a batch system is spoken to."""

    query: Command
    """Prints all jobs that have not ended, and those that have if it can."""
    cancel: tuple[str, ...]
    """Cancels the jobs that are named after it."""
    history: Command | None = None
    """Prints how jobs ended; None: the query does."""
    find: tuple[str, ...] = ()
    """Prints the number of the job with a name, where the query does not list all jobs."""
    short_id: Callable[[str], str] = str
    """Returns the id that a submission is remembered by, of one that `find` prints."""
    job_id: str = ""
    """Environment variable by which a job knows its number."""


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
