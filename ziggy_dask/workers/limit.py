"""Time limits of Python functions: an exception in their thread when time is up."""

from __future__ import annotations

import ctypes
import threading
from types import TracebackType


class TimeLimit(BaseException):
    """A function took longer than it may. No `Exception`, so that few catch it."""


class Limited:
    """Raises `TimeLimit` in the thread of its block once that has taken too long.

    It comes with the next step of Python code; a call of compiled code ends first.
    When the block has been left, nothing comes any more.

    Parameters
    ----------
    seconds
        The limit; 0: there is none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._is_over = False
        self._has_come = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> None:
        if self._seconds:
            self._timer = threading.Timer(self._seconds, self._end)
            self._timer.daemon = True
            self._timer.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is None:
            return
        with self._lock:
            self._is_over = True
        self._timer.cancel()
        if self._has_come:
            _raise_in(self._thread, None)  # if it is still on its way
            if not isinstance(error, TimeLimit):
                raise TimeLimit

    def _end(self) -> None:
        with self._lock:
            if not self._is_over:
                self._has_come = True
                _raise_in(self._thread, TimeLimit)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Let an exception come in a thread, or take back one that has not come yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(kind) if kind else None
    )
