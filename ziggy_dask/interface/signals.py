"""Signals: how a command ends that is told to, whatever hangs in it.

The first signal lets work end in order. A second one hurries, and a third ends at once.
A thread listens for signals beside Python's own handlers, which wait until the main
thread runs Python code: it may be in a library that waits for a dead disk.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import psutil

from ziggy_dask.interface import unheard
from ziggy_dask.interface.swallowed import insisted, poke

ENDING_S = unheard.ENDING_S
"""Time that a command has for its end after a signal, in seconds."""
HURRY_S = unheard.HURRY_S
"""Time that is left after a second signal, in seconds."""
_SIGNALS = unheard.SIGNALS


class Told:
    """What signals have told this process.

    Parameters
    ----------
    stop
        Lets what runs end soon; called on any thread.
    is_stopping
        Tells whether it is to end for another reason, which then has the same time limit.
    interrupts
        Whether the main thread is to be interrupted by the first signal.
    """

    def __init__(
        self,
        stop: Callable[[], object],
        is_stopping: Callable[[], bool],
        *,
        interrupts: bool,
    ) -> None:
        self._stop = stop
        self._is_stopping = is_stopping
        self._interrupts = interrupts
        self._over = threading.Event()
        self._deadline: float | None = None
        self._count = 0
        self.number: int | None = None
        """The first signal; None: none has come."""

    @property
    def exit_code(self) -> int:
        """Exit code of a process that such a signal ended, as shells have it."""
        return 128 + (self.number or signal.SIGINT)

    def is_to_interrupt(self, number: int) -> bool:
        """Tell whether a signal interrupts the main thread, where its handler runs."""
        if not self._interrupts:
            return False
        self._interrupts = False  # what ends in order is not interrupted once more
        self.number = self.number or number
        self._stop()
        return True

    def listen(self, end: socket.socket) -> None:
        """Take signals from the C library's end of a pair, until it is over."""
        end.settimeout(0.2)
        while not self._over.is_set():
            with suppress(TimeoutError):
                for number in end.recv(64):
                    if number in _SIGNALS:
                        self._take(number)
            if self.number is not None and self._interrupts:
                poke()  # its handler has not run
            if self._deadline is None and self._is_stopping():
                self._deadline = time.monotonic() + ENDING_S
            if self._deadline is not None and time.monotonic() > self._deadline:
                end_at_once("did not end in time", self.exit_code)

    def finish(self) -> None:
        """Listen no more: all has ended."""
        self._over.set()

    def _take(self, number: int) -> None:
        self._count += 1
        if self.number is None:
            self.number = number
        self._stop()
        if self._count >= 3:
            end_at_once("was told three times", self.exit_code)
        limit = ENDING_S if self._count == 1 else HURRY_S
        until = time.monotonic() + limit
        self._deadline = min(until, self._deadline or until)


def end_at_once(why: str, exit_code: int) -> NoReturn:
    """End this process and all that it started; nothing recorded is lost."""
    say(f"ziggy: {why}, so it is ended; what is recorded is kept")
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(exit_code)


@contextmanager
def told_by_signals(
    stop: Callable[[], object],
    is_stopping: Callable[[], bool] = lambda: False,
    *,
    interrupts: bool,
) -> Iterator[Told]:
    """Let SIGINT, SIGTERM and SIGHUP end what runs in a block.

    A signal that is ignored from outside, as ``nohup`` does, stays so.

    Parameters
    ----------
    stop
        As in `Told`.
    is_stopping
        As in `Told`.
    interrupts
        Whether the main thread is interrupted, too, by a `KeyboardInterrupt`.
    """
    told = Told(stop, is_stopping, interrupts=interrupts)
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)

    heard = [one for one in _SIGNALS if signal.getsignal(one) != signal.SIG_IGN]
    with insisted() as insist:

        def handle(number: int, frame: object) -> None:
            if told.is_to_interrupt(number):
                insist(KeyboardInterrupt())

        before = {one: signal.signal(one, handle) for one in heard}
        old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        listener = threading.Thread(
            target=told.listen, args=(mine,), name="ziggy-signals", daemon=True
        )
        listener.start()
        try:
            yield told
        finally:
            told.finish()
            listener.join()
            signal.set_wakeup_fd(old)
            for one, handler in before.items():
                signal.signal(one, handler)
            mine.close()
            theirs.close()


def say(words: str) -> None:
    """Print a line on standard error, where somebody still listens."""
    with suppress(OSError, ValueError, AttributeError):
        print(words, file=sys.stderr, flush=True)
