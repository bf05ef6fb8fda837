"""Actions: what the page does for those who opened it with the token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ziggy_dask.errors import ClusterError
from ziggy_dask.records import alerts, instances
from ziggy_dask.records.requests import RequestKind
from ziggy_dask.supervisor import OpenCluster, Restart, ask, halt_tasks, is_served


def _acknowledge(site: OpenCluster, number: int) -> None:
    alerts.acknowledge(site.database, [number])


def _halt_instance(site: OpenCluster, number: int) -> None:
    halt_tasks(site, [one.id for one in instances.tasks(site.database, number)])


def _halt_task(site: OpenCluster, number: int) -> None:
    halt_tasks(site, [number])


def _restart_instance(site: OpenCluster, number: int) -> None:
    _restart(site, Restart(instance=number))


def _restart_task(site: OpenCluster, number: int) -> None:
    _restart(site, Restart(tasks=(number,)))


def _restart(site: OpenCluster, asked: Restart) -> None:
    """Have the supervisor run again what failed; a page runs nothing itself."""
    if not is_served(site):
        raise ClusterError(
            "no supervisor is there to restart it; start one with: ziggy cluster start"
        )
    ask(site, RequestKind.RESTART, asked.to_json())


ACTIONS: Mapping[str, Callable[[OpenCluster, int], None]] = {
    "acknowledge": _acknowledge,
    "halt": _halt_instance,
    "halt task": _halt_task,
    "restart": _restart_instance,
    "restart task": _restart_task,
}
"""Actions by the word with which a browser asks for them, on what has a number."""
