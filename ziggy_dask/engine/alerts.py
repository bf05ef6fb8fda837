"""Raising alerts: on record, and sent on as the cluster file says."""

from __future__ import annotations

import json
import os
import socket

from ziggy_dask.engine.alert_hooks import send
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.records.alerts import Severity, raise_alert


def alert(
    site: OpenCluster,
    severity: Severity,
    message: str,
    *,
    source: str = "supervisor",
    instance: int | None = None,
    task: int | None = None,
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
    )
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
    }
    send(site.cluster.alerts, json.dumps(content))
