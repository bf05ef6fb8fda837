"""What the core decides: one frozen value per thing that is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ziggy_dask.planning.batches import Key
from ziggy_dask.records.states import InstanceState


class FailureCause(Enum):
    """Why a task fails."""

    SUBTASKS = "subtasks failed"
    """More of its subtasks failed than its node allows."""
    HALTED = "halted"
    """An operator halts it."""
    REFUSED = "environment refused"
    """Its environment takes no jobs."""
    NOT_SETTLED = "not settled"
    """Its subtasks could not be worked out from its stored inputs."""
    NOT_STORABLE = "not storable"
    """What its subtasks made can't be stored together."""
    NOT_HANDED_OUT = "not handed out"
    """No worker can take its subtasks."""

    @property
    def may_retry(self) -> bool:
        """Whether running failed subtasks again may help."""
        return self is FailureCause.SUBTASKS


class EndCause(Enum):
    """Why an instance ends."""

    COMPLETE = "complete"
    """All tasks are complete."""
    FAILED_TASKS = "failed tasks"
    """Tasks have failed, and nothing else can go on."""
    STUCK = "stuck"
    """Tasks are left, none has failed, and yet none can go on."""


class StopCause(Enum):
    """Why a supervisor leaves an instance before it ends."""

    ASKED = "asked"
    """It is to stop; the next supervisor resumes the instance."""
    LEASE_LOST = "lease lost"
    """Another supervisor has taken over."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Work out the subtasks of tasks whose inputs are stored by now."""

    tasks: tuple[int, ...]
    """Their indices."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the products of tasks, all in one commit."""

    tasks: tuple[int, ...]
    """Their indices."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Set the error flag of a task."""

    task: int
    """Its index."""
    cause: FailureCause
    """Why."""
    reason: str = ""
    """In words; empty: what its subtasks say."""


@dataclass(frozen=True, slots=True)
class Unblock:
    """Let subtasks run that waited for what failed: their inputs are stored by now."""

    tasks: tuple[int, ...]
    """Indices of their tasks."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """Show tasks as waiting again, for which nothing runs and nothing can run."""

    tasks: tuple[int, ...]
    """Their indices."""


@dataclass(frozen=True, slots=True)
class LayOut:
    """Cut tasks into batches."""

    tasks: tuple[int, ...]
    """Their indices; each after those of them that it reads."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand out batches."""

    keys: tuple[Key, ...]
    """Their keys, each after those of them that it waits for."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End what runs for tasks that have failed, and for those that need them."""

    failed: tuple[int, ...]
    """Indices of the former."""
    tasks: tuple[int, ...]
    """Indices of all of them."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Run what failed once more."""

    tasks: tuple[int, ...]
    """Indices of the tasks."""


@dataclass(frozen=True, slots=True)
class ShowErrors:
    """Show that the instance has failed tasks while others go on."""


@dataclass(frozen=True, slots=True)
class EndInstance:
    """Bring the instance to a final state."""

    state: InstanceState
    """The state."""
    cause: EndCause
    """Why."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the instance as it is, so that it can be resumed."""

    cause: StopCause
    """Why."""


Action = (
    Settle
    | Publish
    | Fail
    | Unblock
    | SetAside
    | LayOut
    | Submit
    | Cancel
    | Retry
    | ShowErrors
    | EndInstance
    | Leave
)
