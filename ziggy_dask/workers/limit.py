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
        # What is still on its way comes at the latest with this call. To take it back
        # instead would leave Python 3.11 looking for it in every call from then on,
        # and, where calls are traced, for ever in the next one.
        self._timer.cancel()
        if self._has_come and not isinstance(error, TimeLimit):
            raise TimeLimit

    def _end(self) -> None:
        with self._lock:
            if not self._is_over:
                self._has_come = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(TimeLimit)
                )
