"""Room in the memory of this process, asked for before something large is read."""

from __future__ import annotations

import resource

import psutil

SMALLER = (
    "cut it into smaller parts with 'subtask' and 'chunk', use a 'dask_function' or a "
    "program, or give workers more memory"
)
"""What to do with Datasets that are too large."""
_ASK_FROM = 64 * 1024 * 1024
"""What is smaller than this, in bytes, is read without a question."""


def require_room(size: int, what: str, way_out: str) -> None:
    """Refuse to read something that this process has no room for.

    Parameters
    ----------
    size
        Its size, in bytes.
    what
        What it is, for the message.
    way_out
        What to do instead.

    Raises
    ------
    MemoryError
        If there is no room.
    """
    if size < _ASK_FROM:
        return
    room = room_bytes()
    if size > room:
        raise MemoryError(
            f"{what} has {_mib(size)} MiB, but this process has room for {_mib(room)} "
            f"MiB; {way_out}"
        )


def limit_memory(size: int) -> None:
    """Say how much memory this process may take, in bytes; 0: there is no limit."""
    global _limit
    _limit = size


_limit = 0


def room_bytes() -> int:
    """Return how much more memory this process may take, in bytes.

    It is what the machine has left, or less if the process has a limit of its own: the
    one that it was told, or that of the system (RLIMIT_AS).
    """
    used = psutil.Process().memory_info()
    room = psutil.virtual_memory().available
    if _limit:
        room = min(room, _limit - used.rss)
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        room = min(room, address_space - used.vms)
    return max(int(room), 0)


def _mib(size: int) -> int:
    return round(size / 2**20)
