"""Telling systemd how a service is, by the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def notify(words: str) -> bool:
    """Send systemd a state, e.g. ``READY=1``; return whether one listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # of the abstract name space
        address = "\0" + address[1:]
    with (
        suppress(OSError),
        socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as sender,
    ):
        sender.sendto(words.encode(), address)
        return True
    return False


def watchdog_s() -> float:
    """Return the time within which systemd wants to hear again, in seconds; 0: never."""
    whose = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    limit = os.environ.get("WATCHDOG_USEC", "0")
    return int(limit) / 1e6 if whose == str(os.getpid()) and limit.isdigit() else 0.0


@contextmanager
def watched(is_well: Callable[[], bool]) -> Iterator[None]:
    """Tell systemd that a service is ready, and, while it is well, that it lives.

    Parameters
    ----------
    is_well
        Tells whether it is; asked several times within systemd's limit.
    """
    ended = threading.Event()

    def beat() -> None:
        is_ready = False
        while not ended.wait(min(watchdog_s() / 3 or 1.0, 1.0)):
            if is_well():
                notify("WATCHDOG=1" if is_ready else "READY=1\nWATCHDOG=1")
                is_ready = True

    thread = threading.Thread(target=beat, name="ziggy-systemd", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        notify("STOPPING=1")
