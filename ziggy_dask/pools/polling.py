"""Polling: one query per batch system at a time, beside everything else.

A command that hangs holds up nothing: what a batch system said last is looked at when it comes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from ziggy_dask.compute.batch import Commands, Told
from ziggy_dask.compute.jobs import NoAnswer, ask, find
from ziggy_dask.definitions import JobCause
from ziggy_dask.records.jobs import JobRecord

ASK_S = 3.0
"""Least time between two queries of a batch system, in seconds."""
SILENT_S = 60.0
"""Operators are told of a batch system that gives no good answer for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer of a batch system."""

    told: Told
    """What it says of jobs, by number."""
    begun: float
    """When it was asked, in seconds of a monotonic clock."""
    asked: frozenset[str]
    """Numbers of the jobs that it was asked about."""
    has_names: bool
    """Whether a job whose name it does not tell is not there."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Numbers of jobs by name, as far as it tells."""


class Polling:
    """Asks one batch system, and keeps how long it has been silent."""

    def __init__(self, commands: Commands, executor: Executor) -> None:
        self._commands = commands
        self._executor = executor
        self._future: Future[Answer | NoAnswer] | None = None
        self._asked_at = float("-inf")
        self._silent_since: float | None = None
        self.words = ""
        """What it said last instead of an answer."""
        self.is_told_silent = False
        """Whether operators were told that it is silent."""

    def look(
        self, jobs: Sequence[JobRecord], *, now: float, is_hurried: bool = False
    ) -> Answer | None:
        """Return an answer that has come since the last look; ask again if it is time."""
        answer = self._taken(now)
        is_due = now - self._asked_at >= (1.0 if is_hurried else ASK_S)
        if self._future is None and is_due and jobs:
            self._asked_at = now
            self._future = self._executor.submit(_asked, self._commands, jobs, now)
            if answer is None:
                answer = self._taken(now)
        return answer

    def silent_s(self, now: float) -> float:
        """Return for how long no good answer has come, in seconds."""
        return 0.0 if self._silent_since is None else now - self._silent_since

    def _taken(self, now: float) -> Answer | None:
        if self._future is None or not self._future.done():
            if self._future is not None and self._silent_since is None:
                self._silent_since = self._asked_at
            return None
        said = self._future.result()
        self._future = None
        if isinstance(said, NoAnswer):
            self.words = said.words
            if self._silent_since is None:
                self._silent_since = now
            return None
        self._silent_since = None
        return said


def _asked(
    commands: Commands, jobs: Sequence[JobRecord], now: float
) -> Answer | NoAnswer:
    """Ask about jobs, also how those ended that the query does not list any more."""
    ids = [job.number for job in jobs if job.number]
    told: Told | NoAnswer = {}
    if ids or commands.query.is_complete:
        told = ask(commands.query, ids)
    if isinstance(told, NoAnswer):
        return told
    if commands.history is not None:
        # Who cancelled a job only the history tells, if at all.
        untold = [
            number
            for number in ids
            if number not in told or told[number].cause is JobCause.CANCELLED
        ]
        ended = ask(commands.history, untold) if untold else {}
        if not isinstance(ended, NoAnswer):
            told |= {
                number: said
                for number, said in ended.items()
                if number not in told or (number in untold and said.state.is_final)
            }
    numbers = {said.name: number for number, said in told.items() if said.name}
    has_names = commands.query.is_complete and (not told or bool(numbers))
    unnumbered = [job for job in jobs if not job.number]
    if unnumbered and commands.find:
        has_names = True
        for job in unnumbered:
            found = find(commands, job.name)
            if isinstance(found, NoAnswer):
                has_names = False
            elif found:
                numbers[job.name] = found
    return Answer(
        told=told,
        begun=now,
        asked=frozenset(ids),
        has_names=has_names,
        numbers=numbers,
    )


def monotonic() -> float:
    """Return seconds of the clock by which queries are timed."""
    return time.monotonic()
