"""What the supervisor says while it works. Progress bars and logs listen to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ziggy_dask.records import InstanceState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTotals:
    """What there is to do for a node."""

    tasks: int
    """Its tasks."""
    subtasks: int
    """Their subtasks, as far as known."""
    complete: int = 0
    """Subtasks that are complete already."""
    failed: int = 0
    """Subtasks that failed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Workers can be had, and watched."""

    dashboard: str
    """Address of Dask's dashboard; empty: there is none."""
    page: str
    """Address of the page in it; empty: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The tasks of an instance are known, or known better than before."""

    instance: int
    """Its number."""
    nodes: Mapping[str, NodeTotals]
    """What there is to do, by node, in order."""
    warnings: tuple[str, ...] = ()
    """What the operator should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """Subtasks of a node have ended and are on record."""

    node: str
    """Name of the node."""
    complete: int
    """Newly complete ones."""
    failed: int
    """Newly failed ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded:
    """A task is complete, or has failed."""

    task: int
    """Its number."""
    node: str
    """Name of the node."""
    unit: str
    """Name of the unit of work."""
    is_error: bool
    """Whether it failed."""
    message: str
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEnded:
    """The supervisor has done what it could for an instance."""

    instance: int
    """Its number."""
    state: InstanceState
    """How it stands."""


Event = Opened | Planned | Progressed | TaskEnded | InstanceEnded
Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Let an event pass."""


def harmless(listen: Listener) -> Listener:
    """Return a listener that says once that the one it tells has failed, and goes on."""
    has_failed = False

    def tell(event: Event) -> None:
        nonlocal has_failed
        try:
            listen(event)
        except Exception:
            if not has_failed:
                logger.exception("a listener has failed; the work goes on")
            has_failed = True

    return tell
