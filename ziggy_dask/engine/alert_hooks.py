"""Sending alerts on, by a command or to a web address, without holding anything up.

One thread sends, in order. What could not be sent is logged and dropped, and so is
what waited too long because of it.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ziggy_dask.definitions import Alerts

_COMMAND_S = 30.0
"""So long may the command take, in seconds."""
_REQUEST_S = 10.0
"""So long may a web server not answer, in seconds."""
_LATE_S = 60.0
"""What has waited longer than this is dropped, in seconds."""
logger = logging.getLogger(__name__)


def send(alerts: Alerts, text: str) -> None:
    """Send an alert on, some time soon.

    Parameters
    ----------
    alerts
        Where to.
    text
        The alert as JSON.
    """
    if alerts.command or alerts.url:
        _sender().submit(_send, alerts, text, time.monotonic())


@lru_cache(maxsize=1)
def _sender() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="ziggy-alert")


def _send(alerts: Alerts, text: str, since: float) -> None:
    if time.monotonic() - since > _LATE_S:
        logger.warning("an alert was not sent on: those before it took too long")
        return
    if alerts.command:
        try:
            _run(alerts.command, text)
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("an alert could not be sent on: %s", error)
    if alerts.url:
        try:
            _post(alerts, text)
        except (OSError, ValueError, HTTPException) as error:
            # Not where to: the address may hold a secret.
            name = type(error).__name__
            logger.warning("an alert could not be posted: %s: %s", name, error)


def _run(command: tuple[str, ...], text: str) -> None:
    subprocess.run(
        command,
        input=text.encode(),
        capture_output=True,
        check=True,
        timeout=_COMMAND_S,
    )


def _post(alerts: Alerts, text: str) -> None:
    headers = {name: _filled(value) for name, value in alerts.headers}
    request = Request(
        _filled(alerts.url),
        data=text.encode(),
        headers={"Content-Type": "application/json", **headers},
        method="POST",
    )
    if request.type not in ("http", "https"):
        raise ValueError("the address begins with neither http:// nor https://")
    with build_opener(_Stay).open(request, timeout=_REQUEST_S):
        pass


class _Stay(HTTPRedirectHandler):
    """Goes nowhere else: headers with secrets are for one server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Refuse to be sent elsewhere."""


def _filled(text: str) -> str:
    """Return a text with the environment variables that it names."""
    filled = os.path.expandvars(text)
    missing = re.search(r"\$(\w+|\{\w+\})", filled)
    if missing and missing[0] in text:
        raise ValueError(f"the environment has no variable {missing[0]}")
    return filled
