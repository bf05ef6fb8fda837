"""Raising alerts: on record, and sent on as the cluster file says."""

from __future__ import annotations

import json
import logging
import os
import socket

from ziggy_dask.engine.alert_hooks import send
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.records.alerts import Alert, Severity, clear_cause, raise_alert

logger = logging.getLogger(__name__)


def alert(
    site: OpenCluster,
    severity: Severity,
    message: str,
    *,
    source: str = "supervisor",
    instance: int | None = None,
    task: int | None = None,
    cause: str = "",
) -> None:
    """Tell operators something.

    Parameters
    ----------
    site
        The open cluster; its file says where the alert is sent on to.
    severity
        How bad it is.
    message
        What happened.
    source
        What raises it.
    instance, task
        What it is about.
    cause
        A state that lasts until `cleared`; see `ziggy_dask.records.alerts.raise_alert`.

    Notes
    -----
    What can't be sent on is logged; it never holds up the supervisor.
    """
    made = raise_alert(
        site.database,
        severity,
        message,
        source=source,
        process=f"{socket.gethostname()}:{os.getpid()}",
        instance=instance,
        task=task,
        cause=cause,
    )
    if made.is_sent:
        _send(site, made, is_cleared=False)


def cleared(site: OpenCluster, cause: str) -> None:
    """Take the alert of a state off the list, and send on that the state has ended."""
    for one in clear_cause(site.database, cause):
        logger.info("over: %s", one.message)
        _send(site, one, is_cleared=True)


def _send(site: OpenCluster, made: Alert, *, is_cleared: bool) -> None:
    content = {
        "cluster": site.cluster.name,
        "id": made.id,
        "time": made.time.isoformat(timespec="seconds"),
        "severity": made.severity.value,
        "source": made.source,
        "process": made.process,
        "instance": made.instance,
        "task": made.task,
        "message": made.message,
        "count": made.count,
        "cleared": is_cleared,
    }
    send(site.cluster.alerts, json.dumps(content))
