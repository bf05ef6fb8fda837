"""Jobs of batch systems as values: what they are doing, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class JobState(Enum):
    """What a job is doing."""

    SUBMITTING = "submitting"
    """It is being handed to the batch system."""
    QUEUED = "queued"
    """It waits for a node."""
    RUNNING = "running"
    """It has one."""
    CANCELLING = "cancelling"
    """It was told to end, and the batch system does not say yet that it has."""
    ENDED = "ended"
    """It has ended by itself."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""
    FAILED = "failed"
    """The batch system refused it, or it ended otherwise."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self in (JobState.ENDED, JobState.CANCELLED, JobState.FAILED)


class JobCause(Enum):
    """Why a job ended before it was done."""

    NONE = ""
    """It did not, or nobody knows."""
    TIME_LIMIT = "time limit"
    """It reached its wall time."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""
    NODE_FAILED = "node failed"
    """Its node, or what looks after jobs there, failed."""
    OUT_OF_MEMORY = "out of memory"
    """It took more memory than it had asked for."""
    PREEMPTED = "preempted"
    """The batch system took its node away, or holds it there, for other jobs."""
    NOT_STARTED = "worker did not start"
    """Its prologue, its Python or its directories kept the worker from starting."""
    KILLED = "killed"
    """A signal ended it, and the batch system does not say whose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What a batch system says of a job."""

    state: JobState
    """What it is doing."""
    comment: str
    """The batch system's own words for it."""
    cause: JobCause = JobCause.NONE
    """Why it ended before it was done."""
    exit_code: int | None = None
    """Exit code as shells give it: 128 and more for signals; None: not told."""
    started: datetime | None = None
    """When it began; None: not told."""
    ended: datetime | None = None
    """When it ended; None: not told."""
    name: str = ""
    """Its name; empty: not told."""
    is_suspended: bool = False
    """Whether it has a node and may not use it."""
    is_stuck: bool = False
    """Whether it waits for what does not come by itself, as after a prologue that failed."""
    is_ending: bool = False
    """Whether it is being ended: its processes have gone, or their node does not answer."""

    @property
    def ending(self) -> str:
        """How it ended, in words.

        Examples
        --------
        >>> JobStatus(
        ...     state=JobState.FAILED, comment="TIMEOUT", cause=JobCause.TIME_LIMIT
        ... ).ending
        'time limit (TIMEOUT)'
        """
        said = (
            f"{self.cause.value} ({self.comment})" if self.cause.value else self.comment
        )
        return f"{said}, exit code {self.exit_code}" if self.exit_code else said
