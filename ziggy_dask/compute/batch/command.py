"""Commands of batch systems, and what is told by what they print."""

from __future__ import annotations

import re
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
    may_be_blank: bool = False
    """Whether it prints nothing at all, and does not complain, when it knows no job."""
    is_complete: bool = True
    """Whether it prints all jobs of the user, so that one can be found by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """How a batch system is spoken to."""

    query: Command
    """Prints all jobs that have not ended, and those that have if it can."""
    cancel: tuple[str, ...]
    """Cancels the jobs that are named after it."""
    says: str
    """Regular expression of what a submission says in the line with the number."""
    history: Command | None = None
    """Prints how jobs ended; None: the query does."""
    find: tuple[str, ...] = ()
    """Prints the number of the job with a name, where the query does not list all jobs."""
    short_id: Callable[[str], str] = str
    """Returns the id that a submission is remembered by, of one that `find` prints."""
    job_id: str = ""
    """Environment variable by which a job knows its number."""
    suffix: str = ""
    """What follows that number in ids."""

    def taken(self, printed: str) -> str:
        r"""Return the id of the job that a submission made; empty if it does not say.

        Examples
        --------
        >>> query = Command(words=("squeue",), read=lambda text: {})
        >>> says = r"Submitted batch job (\d+)"
        >>> slurm = Commands(query=query, cancel=("scancel",), says=says)
        >>> slurm.taken("2 nodes are down since 2026\nSubmitted batch job 77\n")
        '77'
        >>> slurm.taken("2 nodes are down since 2026\n")
        ''
        """
        lines = (line.strip() for line in reversed(printed.splitlines()))
        matches = (re.search(self.says, line) for line in lines)
        found = next((match for match in matches if match), None)
        if found is None:
            return ""
        return next(group for group in found.groups() if group) + self.suffix


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
