"""States of instances and tasks, with the names of the original."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class InstanceState(Enum):
    """State of an instance."""

    INITIALIZED = "INITIALIZED"
    """Made, but its supervisor has not begun."""
    PROCESSING = "PROCESSING"
    """Work is going on, and no task has failed."""
    ERRORS_RUNNING = "ERRORS_RUNNING"
    """A task has failed; others go on."""
    ERRORS_STALLED = "ERRORS_STALLED"
    """Nothing goes on any more, and at least one task has failed."""
    TRANSITION_FAILED = "TRANSITION_FAILED"
    """What follows could not be planned."""
    COMPLETED = "COMPLETED"
    """All tasks of all nodes are complete."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in _FINAL


_FINAL = {
    InstanceState.COMPLETED,
    InstanceState.ERRORS_STALLED,
    InstanceState.TRANSITION_FAILED,
}


class TaskStep(Enum):
    """How far a task has come. A failed task keeps the step where it failed."""

    INITIALIZING = "INITIALIZING"
    """Being made."""
    WAITING_TO_RUN = "WAITING_TO_RUN"
    """Waiting for its inputs, or for the supervisor."""
    MARSHALING = "MARSHALING"
    """Its inputs are being brought together."""
    SUBMITTING = "SUBMITTING"
    """Its subtasks are being handed to Dask."""
    QUEUED = "QUEUED"
    """Its subtasks wait for workers."""
    EXECUTING = "EXECUTING"
    """Its subtasks run."""
    WAITING_TO_STORE = "WAITING_TO_STORE"
    """All its subtasks have ended."""
    STORING = "STORING"
    """Its products are being published."""
    COMPLETE = "COMPLETE"
    """Its products are published."""

    def following(self) -> TaskStep:
        """Return the next step.

        Raises
        ------
        ValueError
            If this is the last one.
        """
        steps = list(TaskStep)
        position = steps.index(self) + 1
        if position == len(steps):
            raise ValueError(f"no step follows {self.value}")
        return steps[position]


WAITING_STEPS = (TaskStep.INITIALIZING, TaskStep.WAITING_TO_RUN)


def state_of_task(step: str, *, is_error: bool) -> str:
    """Return the step and error flag of a task as people read them.

    Examples
    --------
    >>> state_of_task("EXECUTING", is_error=True)
    'ERROR - EXECUTING'
    """
    return f"ERROR - {step}" if is_error else step


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tasks of a node by what they are doing."""

    waiting: int = 0
    """Not begun."""
    processing: int = 0
    """Going on."""
    complete: int = 0
    """Complete."""
    failed: int = 0
    """With the error flag."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + self.processing + self.complete + self.failed


def count_tasks(tasks: Iterable[tuple[TaskStep, bool]]) -> Counts:
    """Count tasks by step and error flag; the flag wins over the step."""
    waiting = processing = complete = failed = 0
    for step, is_error in tasks:
        if is_error:
            failed += 1
        elif step in WAITING_STEPS:
            waiting += 1
        elif step is TaskStep.COMPLETE:
            complete += 1
        else:
            processing += 1
    return Counts(
        waiting=waiting, processing=processing, complete=complete, failed=failed
    )


def instance_state(counts: Counts, *, can_go_on: bool) -> InstanceState:
    """Return the state of an instance.

    Parameters
    ----------
    counts
        All its tasks.
    can_go_on
        Whether a task that has not ended can still run, that is, whether one
        exists with no failed task among those that it depends on.
    """
    if counts.complete == counts.total and not can_go_on:
        return InstanceState.COMPLETED
    if not counts.failed:
        return InstanceState.PROCESSING
    return InstanceState.ERRORS_RUNNING if can_go_on else InstanceState.ERRORS_STALLED
