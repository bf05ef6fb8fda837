"""The ``alerts`` section of a cluster file: where alerts are sent on to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from ziggy_dask.definitions.section import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Where alerts are sent on to, and what is worth one."""

    command: tuple[str, ...] = ()
    """Command that gets each alert as JSON on its standard input; empty: none."""
    url: str = ""
    """Web address that gets each as JSON in a POST; may name environment variables."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of that request; may name environment variables."""
    slower: float = 3.0
    """Subtasks that take so many times as long as before are worth one; 0: never."""
    hungrier: float = 2.0
    """Subtasks that need so many times the memory are worth one; 0: never."""


def read_alerts(section: Section) -> Alerts:
    """Read the section; faults are left with its document."""
    headers = section.section("headers")
    alerts = Alerts(
        command=section.texts("command"),
        url=section.text("url", ""),
        headers=tuple((name, headers.text(name)) for name in headers.names()),
        slower=_factor(section, "slower", Alerts().slower),
        hungrier=_factor(section, "hungrier", Alerts().hungrier),
    )
    _check_url(section, alerts.url)
    for name, value in alerts.headers:
        if name.lower() == "authorization" and "$" not in value:
            headers.fault(
                name, "a secret can't stand here; name a variable, e.g. 'Bearer $TOKEN'"
            )
    if alerts.headers and not alerts.url:
        section.fault("headers", "'headers' are sent to a 'url', which is missing")
    section.done()
    return alerts


def _factor(section: Section, key: str, usual: float) -> float:
    factor = section.number(key, usual)
    if factor and not 1 < factor < math.inf:
        section.fault(key, f"{key!r} must be above 1, or 0 for never, not {factor:g}")
    return factor


def _check_url(section: Section, url: str) -> None:
    if not url or url.startswith("$"):
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        section.fault("url", f"{url!r} is no web address")
        return
    if parts.scheme not in ("http", "https") or not parts.netloc:
        section.fault("url", f"{url!r} is no web address; write e.g. https://host/path")
    if "@" in parts.netloc:
        section.fault(
            "url", "a name or password can't stand here; use 'headers' with a variable"
        )
