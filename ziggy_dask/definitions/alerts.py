"""The ``alerts`` section of a cluster file: where alerts are sent on to."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from ziggy_dask.definitions.section import Section

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Where alerts are sent on to, and what is worth one."""

    command: tuple[str, ...] = ()
    """Command that gets each alert as JSON on its standard input; empty: none."""
    url: str = ""
    """Web address that gets each as JSON in a POST; may name environment variables."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of that request; may name environment variables."""
    time_factor: float = 3.0
    """Subtasks that take this many times as long as before raise one; 0: never."""
    memory_factor: float = 2.0
    """Subtasks that need this many times the memory raise one; 0: never."""


def read_alerts(section: Section) -> Alerts:
    """Read the section; faults are left with its document."""
    headers = section.section("headers")
    alerts = Alerts(
        command=section.texts("command"),
        url=section.text("url", ""),
        headers=tuple((name, headers.text(name)) for name in headers.names()),
        time_factor=_factor(section, "time_factor", "slower", Alerts().time_factor),
        memory_factor=_factor(
            section, "memory_factor", "hungrier", Alerts().memory_factor
        ),
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


def _factor(section: Section, key: str, earlier: str, usual: float) -> float:
    """Read a factor by its name, or by the name that it had in earlier versions."""
    factor = section.number(key, math.nan)
    before = section.number(earlier, math.nan)
    if not math.isnan(before):
        if math.isnan(factor):
            logger.warning(
                "%r is now called %r, under 'alerts' of the cluster file; the old name "
                "works in this version only",
                earlier,
                key,
            )
            key, factor = earlier, before
        else:
            section.fault(earlier, f"{earlier!r} is now called {key!r}; remove it")
    if math.isnan(factor):
        return usual
    if factor and not 1 < factor < math.inf:
        section.fault(key, f"{key!r} must be above 1, or 0 for never, not {factor:g}")
    return factor


def _check_url(section: Section, url: str) -> None:
    if not url or url.startswith("$"):
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        section.fault("url", f"{url!r} is not a valid web address")
        return
    if parts.scheme not in ("http", "https") or not parts.netloc:
        section.fault(
            "url", f"{url!r} is not a valid web address; write e.g. https://host/path"
        )
    if "@" in parts.netloc:
        section.fault(
            "url", "a name or password can't stand here; use 'headers' with a variable"
        )
