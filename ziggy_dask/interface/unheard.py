"""Signals that the main thread does not hear: it is in a library that waits for ever.

Python runs handlers of signals only when its main thread comes back from compiled code. A
command that waits for a dead disk there could be ended by SIGKILL alone.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ziggy_dask.interface.swallowed import is_awake

ENDING_S = 25.0
"""Time that the main thread has to hear of a signal, in seconds."""
HURRY_S = 5.0
"""Time that is left after a second signal, in seconds; after a third there is none."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends commands."""
_LOOK_S = 0.2
"""Time between two looks, in seconds."""


@contextmanager
def ended_if_unheard() -> Iterator[None]:
    """End this process if the main thread does not hear of a signal within a block.

    A signal that it hears is left to its handlers, whoever set them.
    """
    mine, theirs = socket.socketpair()
    mine.settimeout(_LOOK_S)
    theirs.setblocking(False)
    over = threading.Event()
    old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(
        target=_listen, args=(mine, over), name="ziggy-unheard", daemon=True
    )
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        over.set()
        theirs.close()  # wakes the listener
        listener.join()
        mine.close()


def _listen(end: socket.socket, over: threading.Event) -> None:
    told: list[int] = []
    until = 0.0
    while not over.is_set():
        with suppress(TimeoutError):
            for number in end.recv(64):
                if number in SIGNALS:
                    told.append(number)
                    limit = ENDING_S if len(told) == 1 else HURRY_S
                    until = min(until or float("inf"), time.monotonic() + limit)
        if told and is_awake(_LOOK_S):
            told, until = [], 0.0
        elif told and (len(told) >= 3 or time.monotonic() > until):
            from ziggy_dask.interface.signals import end_at_once

            end_at_once("did not end in time", 128 + told[0])
