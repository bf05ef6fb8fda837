"""Peak memory of this process over a span of time."""

from __future__ import annotations

import resource
from pathlib import Path

from distributed import get_worker

from ziggy_dask.datastore.room import limit_memory

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def heed_limit() -> None:
    """Let nothing be read into memory that is larger than the worker may become."""
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # not on a worker
        limit = None
    limit_memory(limit or 0)


def reset_peak() -> None:
    """Begin a new span, where the system can (Linux, see proc(5), clear_refs)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Return the largest resident memory since the span began, in bytes.

    Where spans are not supported, it is that of the whole life of the process.
    """
    try:
        status = _STATUS.read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
