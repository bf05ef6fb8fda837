"""Times as batch systems print them."""

from __future__ import annotations

from datetime import UTC, datetime


def from_epoch(seconds: object) -> datetime | None:
    """Read seconds since the epoch."""
    return datetime.fromtimestamp(float(str(seconds)), UTC) if seconds else None


def from_iso(text: str) -> datetime | None:
    """Read ``2026-11-25T14:43:42``, in the time of this machine."""
    return _local(text, "%Y-%m-%dT%H:%M:%S")


def from_ctime(text: str) -> datetime | None:
    """Read ``Wed Nov 25 14:43:42 2026``, in the time of this machine."""
    return _local(" ".join(text.split()), "%a %b %d %H:%M:%S %Y")


def _local(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).astimezone(UTC)
    except ValueError:
        return None  # e.g. "Unknown", "N/A"
