"""Files of exports: written whole or not at all, and never over another one."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ziggy_dask.errors import ClusterError


def require_new(place: Path) -> None:
    """Refuse a place where something is.

    Raises
    ------
    ClusterError
        If so.
    """
    if os.path.lexists(place):
        raise ClusterError(
            f"{place}: is there already; an export never replaces anything"
        )


def write_json(file: Path, content: Any) -> None:
    """Write plain values as JSON into a file that is not there yet.

    Raises
    ------
    ClusterError
        If it is.
    """
    require_new(file)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as place:
        written = Path(place) / "content.json"
        written.write_text(text + "\n", encoding="utf-8")
        written.replace(file)


def time_text(when: datetime) -> str:
    """Return a time as RFC 3339 says it, in UTC: ``2026-11-30T12:00:00Z``."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
