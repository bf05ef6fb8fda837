"""What is unusual about a task: it took longer or more memory than its node before."""

from __future__ import annotations

from dask.utils import format_bytes

from ziggy_dask.definitions import Alerts
from ziggy_dask.records.usage import Usage

_LEAST = 10
"""Subtasks of earlier instances without which nothing is said."""
_LEAST_S = 1.0
"""Subtasks must take so much longer, in seconds."""
_LEAST_BYTES = 200e6
"""Subtasks must need so much more, in bytes."""


def unusual(now: Usage, before: Usage, alerts: Alerts) -> str:
    """Return in words what subtasks took too much of; empty: nothing.

    Parameters
    ----------
    now
        What they took.
    before
        What those of earlier instances took.
    alerts
        How many times as much is too much.

    Notes
    -----
    The median must be above the earlier one by a factor and by a least amount, and
    above what 95 % of the earlier ones took, so that neither tiny times nor a node
    whose subtasks differ much raise alarms.
    """
    if before.count < _LEAST:
        return ""
    words = []
    if alerts.time_factor and now.wall_s > max(
        alerts.time_factor * before.wall_s, before.high_wall_s, before.wall_s + _LEAST_S
    ):
        words.append(
            f"its subtasks took {now.wall_s:.3g} s each, in earlier instances "
            f"{before.wall_s:.3g} s"
        )
    if alerts.memory_factor and now.memory_bytes > max(
        alerts.memory_factor * before.memory_bytes,
        before.high_memory_bytes,
        before.memory_bytes + _LEAST_BYTES,
    ):
        words.append(
            f"its subtasks needed {format_bytes(int(now.memory_bytes))} each, in "
            f"earlier instances {format_bytes(int(before.memory_bytes))}"
        )
    return "; ".join(words)
