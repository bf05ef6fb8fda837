"""Raising alerts: on record, and sent on by the command of the cluster file."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import threading

from ziggy_dask.records.alerts import Severity, raise_alert
from ziggy_dask.supervisor.site import Site

_HOOK_S = 30.0
logger = logging.getLogger(__name__)


def alert(
    site: Site,
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
        The open cluster; the command of its file gets the alert as JSON.
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
    A command that fails is logged; it never holds up the supervisor.
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
    if site.cluster.alert_command:
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
        _send(site.cluster.alert_command, json.dumps(content))


def _send(command: tuple[str, ...], text: str) -> None:
    def run() -> None:
        try:
            subprocess.run(
                command,
                input=text.encode(),
                capture_output=True,
                check=True,
                timeout=_HOOK_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("an alert could not be sent on: %s", error)

    threading.Thread(target=run, name="ziggy-alert").start()
