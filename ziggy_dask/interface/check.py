"""One line for monitoring: whether a cluster does what it should."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ziggy_dask.interface.status import Status
    from ziggy_dask.records.alerts import Alert


class Level(IntEnum):
    """How it is; the values are the exit codes of Nagios and its like."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a cluster is, for monitoring."""

    level: Level
    """How it is."""
    words: str
    """Why."""

    def __str__(self) -> str:
        """Return the line that monitoring shows."""
        return f"ZIGGY {self.level.name} - {self.words}"


def check(status: Status, now: datetime | None = None) -> Check:
    """Return how a cluster is.

    Without a supervisor it is critical, and with an alert of ``INFRASTRUCTURE`` that
    nobody has seen; other alerts that nobody has seen are worth a warning.
    """
    time = now or datetime.now(UTC)
    holder = status.supervisor
    level = Level.OK
    words = []
    if holder is None:
        level = Level.CRITICAL
        words.append("no supervisor is in charge")
    worst = _worst(status.alerts)
    if worst is not None:
        is_critical = worst.severity.value == "INFRASTRUCTURE"
        level = max(level, Level.CRITICAL if is_critical else Level.WARNING)
        words.append(
            f"{status.alert_count} alerts, e.g. {' '.join(worst.message.split())}"
        )
    oldest = min((one.created for one in status.queued), default=time)
    words.append(
        f"{len(status.running)} instances at work, {len(status.queued)} waiting for up to "
        f"{(time - oldest).total_seconds():.0f} s"
    )
    figures = (
        f"running={len(status.running)} waiting={len(status.queued)} "
        f"oldest={(time - oldest).total_seconds():.0f}s alerts={status.alert_count} "
        f"deliveries={len(status.waiting)}"
    )
    return Check(level=level, words=f"{'; '.join(words)} | {figures}")


def _worst(alerts: tuple[Alert, ...]) -> Alert | None:
    order = ("INFRASTRUCTURE", "ERROR", "WARNING")
    return min(alerts, key=lambda one: order.index(one.severity.value), default=None)
