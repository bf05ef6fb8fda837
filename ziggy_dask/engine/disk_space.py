"""Disks that are full: work pauses, and goes on by itself when there is space again."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ziggy_dask.definitions import ClusterFile

T = TypeVar("T")

CAUSE = "disk-full"
"""Cause of the alert, by which it is cleared."""
_RESERVE_BYTES = 100 * 1024 * 1024
_RESERVE_SHARE = 0.05
"""New work waits while less than the reserve, or this share of a small disk, is free."""
_LOOK_S = 5.0
"""Time between two tries, in seconds."""
_FULL = (
    "No space left on device",
    "os error 28",
    "Disk quota exceeded",
    "disk is full",
)
logger = logging.getLogger(__name__)


def is_full(error: BaseException) -> bool:
    """Tell whether an error, or what has caused it, is that of a full disk."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(cause) for words in _FULL):
            return True
        cause = cause.__cause__
    return False


def patient(
    store: Callable[[], T],
    what: str,
    *,
    again: Callable[[], T],
    stops: Callable[[], bool],
) -> T:
    """Return what storing something returns; as long as the disk is full, try again.

    Parameters
    ----------
    store
        Stores it.
    what
        What is stored, for the log.
    again
        Does the same after a try that failed, of which everything may be stored.
    stops
        Tells whether the supervisor is to stop: then nothing is tried again.
    """
    is_told = False
    attempt = store
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_full(error) or stops():
                raise
            if not is_told:
                logger.error("the disk is full, %s waits for space: %s", what, error)
            is_told = True
            attempt = again
        time.sleep(_LOOK_S)


def shortage(cluster: ClusterFile) -> str:
    """Return in words which disk of a cluster has too little space; empty: none."""
    places = {cluster.home, cluster.programs.work}
    if not urlsplit(cluster.datastore).scheme:
        places.add(Path(cluster.datastore))
    for place in sorted(places):
        if not place.exists():
            continue
        usage = shutil.disk_usage(place)
        if usage.free < min(_RESERVE_BYTES, _RESERVE_SHARE * usage.total):
            return (
                f"{place}: only {usage.free / 1e6:.1f} MB of the disk are free; new work "
                "waits until there is more"
            )
    return ""
