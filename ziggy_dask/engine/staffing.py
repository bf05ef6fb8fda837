"""Work that waits although no worker can take it: told soon, and not waited for for ever.

Subtasks for jobs of batch systems are not meant: their jobs are looked after elsewhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ziggy_dask.compute.placing import CLAIM
from ziggy_dask.engine.alerts import alert, cleared
from ziggy_dask.engine.connection import on_scheduler
from ziggy_dask.engine.open_cluster import HERE, OpenCluster
from ziggy_dask.errors import ComputeLostError
from ziggy_dask.records.alerts import Severity

if TYPE_CHECKING:
    from distributed import Client, Scheduler

LONG_S = 60.0
"""Time after which operators are told, in seconds."""
CAUSE = "no-worker"
"""Cause of the alert, by which it is cleared."""
_NO_START = "no-worker-starts"
"""Likewise of the one that no worker can be started."""
_LOOK_S = 5.0
"""Time between two looks at the scheduler, in seconds."""
logger = logging.getLogger(__name__)


def unserved(dask_scheduler: Scheduler) -> tuple[int, int]:
    """Return how many keys no worker can take, and how many workers there are.

    Run on the scheduler.
    """
    waiting = list(dask_scheduler.unrunnable)
    if not dask_scheduler.running:
        waiting += list(dask_scheduler.queued)
    ours = [one for one in waiting if CLAIM not in (one.annotations or {})]
    return len(ours), len(dask_scheduler.workers)


@contextmanager
def staffed(site: OpenCluster, client: Client) -> Iterator[None]:
    """Tell of work that nobody can take, while a block works on it.

    After ``supervisor: no_worker`` of the cluster file its tasks end, with the reason.

    Parameters
    ----------
    site
        The open cluster.
    client
        Where subtasks run.
    """
    ended, noting = threading.Event(), threading.Lock()
    thread = threading.Thread(
        target=_watch,
        args=(site, client, ended, noting),
        name="ziggy-staffing",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        with noting:
            ended.set()
            site.refusals.pop(HERE, None)


def note_failing_starts(site: OpenCluster, reason: str) -> None:
    """End what waits for workers of this machine, as none can be started.

    Parameters
    ----------
    site
        The open cluster.
    reason
        Why not; empty: one could be started again.
    """
    if not reason:
        site.refusals.pop(HERE, None)
        cleared(site, _NO_START)
        return
    site.refusals[HERE] = f"no worker can be started on this machine: {reason}"
    alert(
        site,
        Severity.INFRASTRUCTURE,
        f"{site.refusals[HERE]}; it is tried again every minute",
        source="compute",
        cause=_NO_START,
    )


def _watch(
    site: OpenCluster,
    client: Client,
    ended: threading.Event,
    noting: threading.Lock,
) -> None:
    since: float | None = None
    while not ended.wait(_LOOK_S):
        try:
            count, workers = on_scheduler(client, unserved)
            now = time.monotonic()
            since = (since or now) if count else None
            with noting:
                if ended.is_set():
                    return  # what is noted now would refuse work of the next block
                _note(site, count, workers, now - since if since is not None else 0.0)
        except ComputeLostError:  # whoever works there sees it, too, and says so
            since = None
        except Exception:
            if ended.is_set():
                return
            logger.exception("what waits for workers could not be looked at")


def _note(site: OpenCluster, count: int, workers: int, waited_s: float) -> None:
    """Tell of what waits for so long, in seconds; end it when that was too long."""
    if not count:
        site.refusals.pop(HERE, None)
        cleared(site, CAUSE)
        return
    if waited_s < LONG_S:
        return
    why = (
        f"none of {workers} workers can take them" if workers else "there is no worker"
    )
    words = f"{count} batches of subtasks have waited for {waited_s:.0f} s: {why}"
    limit_s = site.cluster.supervision.no_worker_s
    if waited_s > limit_s:
        site.refusals[HERE] = words
    alert(
        site,
        Severity.INFRASTRUCTURE,
        f"{words}; they are waited for up to {limit_s:.0f} s",
        source="compute",
        cause=CAUSE,
    )
