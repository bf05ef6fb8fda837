"""Schedules: cron expressions of five fields, in a time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_ANY = datetime(2000, 1, 1, tzinfo=UTC)


def schedule_faults(schedule: str, timezone: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a schedule: the key where it stands, and a message.

    Examples
    --------
    >>> list(schedule_faults("30 2 * * MON-FRI", "Europe/Berlin"))
    []
    """
    if len(schedule.split()) != 5:
        message = (
            f"the schedule {schedule!r} must have five fields: minute, hour, day of the "
            'month, month, day of the week; write e.g. "30 2 * * *"'
        )
        yield "schedule", message
    else:
        try:
            if next(CronSim(schedule, _ANY), None) is None:
                yield "schedule", f"the schedule {schedule!r} never comes"
        except CronSimError as error:
            reason = str(error).lower()
            yield "schedule", f"the schedule {schedule!r} makes no sense: {reason}"
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield (
            "timezone",
            f"there is no time zone {timezone!r}; write e.g. UTC or Europe/Berlin",
        )


def latest_due(schedule: str, timezone: str, now: datetime) -> datetime | None:
    """Return the latest time of a schedule that has come by now, in UTC.

    Parameters
    ----------
    schedule
        Cron expression of five fields.
    timezone
        Its time zone.
    now
        An aware time.

    Notes
    -----
    Where clocks are put forward, a time that is left out comes right after the gap;
    where they are put back, a time that comes twice counts once, as with Debian's cron.

    Examples
    --------
    >>> str(latest_due("30 2 * * *", "UTC", datetime(2026, 1, 2, 2, 30, tzinfo=UTC)))
    '2026-01-02 02:30:00+00:00'
    """
    # With a fraction of a second, `now` itself counts.
    local = now.astimezone(ZoneInfo(timezone)).replace(microsecond=1)
    for due in CronSim(schedule, local, reverse=True):
        if due.astimezone(UTC) <= now:
            return due.astimezone(UTC)
    return None
