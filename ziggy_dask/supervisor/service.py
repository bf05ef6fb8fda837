"""The supervisor as a service: it stays, and does what others ask it to."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from ziggy_dask.engine.alerts import alert, cleared
from ziggy_dask.engine.disk_space import CAUSE, shortage
from ziggy_dask.engine.expire import expire, remove_products
from ziggy_dask.engine.launch import launch, request_from_json
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.restart import Restart, plan_restart
from ziggy_dask.errors import (
    LeaseError,
    RecordsError,
    ZiggyError,
    error_to_text,
)
from ziggy_dask.pools.autoscaler import opened_compute
from ziggy_dask.records import instances, requests
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.lease import Lease, invite_requests
from ziggy_dask.records.requests import RequestKind, RequestRecord, RequestState
from ziggy_dask.records.triggers import forget_faults
from ziggy_dask.supervisor.crew import Crew
from ziggy_dask.supervisor.file_watcher import Watch
from ziggy_dask.supervisor.metrics import published
from ziggy_dask.supervisor.supervise import (
    halt_idle,
    in_charge,
    left_scaffolds,
    reset_all,
)
from ziggy_dask.supervisor.triggers import LOOK_S, look_for_events, watched_directories

logger = logging.getLogger(__name__)
_LOOK_S = 0.5
"""Time between two looks for requests, in seconds."""
_ENDING_S = 10.0
"""So long is waited for what is worked on when the service ends, in seconds."""
_STANDBY_S = 5.0
"""Time between two tries to take over, in seconds."""


def serve(site: OpenCluster, *, standby: bool = False) -> None:
    """Supervise a cluster until ``site.stop`` is set.

    Instances that a supervisor before has left are resumed; what operators ask
    for meanwhile runs side by side, by priority.

    Parameters
    ----------
    site
        The open cluster.
    standby
        Whether to wait for the end of another supervisor instead of being refused.

    Raises
    ------
    LeaseError
        If another supervisor is in charge, or takes over.
    ComputeLostError
        If the compute environment went away while subtasks ran.
    """
    with (
        _when_free(site, standby=standby) as lease,
        opened_compute(site) as client,
        closing(Watch()) as watch,
        published(site) as note_look,
    ):
        invite_requests(site.database, lease)
        site.show(site, client)
        logger.info(
            "in charge of cluster %r; dashboard: %s",
            site.cluster.name,
            client.dashboard_link or "none",
        )
        crew = Crew(site, client)
        forget_faults(site.database)
        looked = -math.inf
        try:
            _resume(site, crew)
            while not site.stop.wait(_LOOK_S):
                has_space = _has_space(site)
                crew.go_on(begins=has_space)
                halt_idle(site, crew.active)
                for request in requests.waiting(site.database):
                    _heed(site, request, crew)
                is_due = time.monotonic() - looked > LOOK_S
                if has_space and (watch.news.is_set() or is_due):
                    looked = time.monotonic()
                    watch.news.clear()
                    watch.follow(watched_directories(site))
                    for number in look_for_events(site):
                        crew.take(number)
                note_look()
        finally:
            site.stop.set()
            if not crew.end(_ENDING_S):
                site.is_hung.set()
                logger.warning("what hangs is left, and ends with this process")
            logger.info("no longer in charge")


def _has_space(site: OpenCluster) -> bool:
    """Tell whether the disks have space for new work; tell operators when they don't."""
    short = shortage(site.cluster)
    if not short:
        cleared(site, CAUSE)
    elif not site.is_short.is_set():
        logger.error("%s", short)
        alert(site, Severity.INFRASTRUCTURE, short, cause=CAUSE)
    (site.is_short.set if short else site.is_short.clear)()
    return not short


def _resume(site: OpenCluster, crew: Crew) -> None:
    """Take over what a supervisor before has left."""
    records = instances.instances(site.database)
    with site.writing:
        for name in left_scaffolds(site, records):
            site.repository.drop_scaffold(name)
    for record in records:
        if not record.state.is_final:
            logger.info("resuming instance %s", record.id)
            crew.take(record.id)


@contextmanager
def _when_free(site: OpenCluster, *, standby: bool) -> Iterator[Lease]:
    """Be in charge, at once or when the one that is has gone."""
    with ExitStack() as stack:
        while True:
            try:
                lease = stack.enter_context(in_charge(site))
                break
            except (LeaseError, RecordsError) as error:
                if not standby:
                    raise
                logger.info("standing by: %s", error)
            if site.stop.wait(_STANDBY_S):
                raise LeaseError("stopped while standing by")
        yield lease


def _heed(site: OpenCluster, request: RequestRecord, crew: Crew) -> None:
    """Do what a request asks for, or say why not."""
    logger.info("%s asks: %s", request.asker, request.kind.value)
    kinds: dict[RequestKind, Callable[[], tuple[int, ...] | None]] = {
        RequestKind.RUN: lambda: (_launch(site, request),),
        RequestKind.RESTART: lambda: _restart(site, request, crew.active),
        RequestKind.STOP: lambda: _stop(site, request),
        RequestKind.REMOVE: lambda: _remove(site, request),
        RequestKind.EXPIRE: lambda: _expire(site),
    }
    try:
        numbers = kinds[request.kind]()
    except ZiggyError as error:
        reason = error_to_text(error)
        requests.answer(site.database, request.id, RequestState.REFUSED, message=reason)
        return
    if numbers is None:
        return
    requests.answer(site.database, request.id, RequestState.DONE, instances=numbers)
    for number in numbers:
        crew.take(number)


def _launch(site: OpenCluster, request: RequestRecord) -> int:
    """Launch what is asked for, unless a supervisor that died at this point has."""
    for record in reversed(instances.instances(site.database)):
        if record.options.get("request") == request.id:
            return record.id
    asked = replace(request_from_json(request.content), number=request.id)
    return launch(site, asked)


def _stop(site: OpenCluster, request: RequestRecord) -> tuple[int, ...]:
    """Stop, unless it was another supervisor that was to."""
    if request.content["token"] == site.database.lease_token:
        site.stop.set()
    return ()


def _remove(site: OpenCluster, request: RequestRecord) -> tuple[int, ...]:
    """Remove products."""
    remove_products(site, request.content["paths"])
    return ()


def _expire(site: OpenCluster) -> tuple[int, ...]:
    """Give up what no rule keeps; tell operators."""
    done = expire(site)
    logger.info(
        "%s publications expired, which freed %s bytes", len(done.expired), done.freed
    )
    return ()


def _restart(
    site: OpenCluster, request: RequestRecord, active: Set[int]
) -> tuple[int, ...] | None:
    """Reset tasks; return their instances, or None if one is still being worked on."""
    resets = plan_restart(site.database, Restart.from_json(request.content))
    if any(one.instance in active for one in resets):
        return None
    resets = reset_all(site, Restart.from_json(request.content))
    return tuple(one.instance for one in resets)
