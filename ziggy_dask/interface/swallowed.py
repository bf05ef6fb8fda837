"""Exceptions that signals raise, also where Python would swallow them.

The handler of a signal may run within a callback of the garbage collector, a ``__del__``
or a callback of compiled code. What it raises there ends nothing: Python prints
``Exception ignored in`` and goes on. And a signal that comes right before the main thread
begins to wait is not heard until that ends.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import NoReturn

_AGAIN_S = 0.05
"""Time between two tries, in seconds."""
_POKE = signal.SIGURG
"""A signal that nobody else heeds."""
_answered_s = 0.0
"""When the main thread was poked last and heard it, on the monotonic clock."""


def poke() -> None:
    """Let the main thread look for signals, whatever it waits for."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, _POKE)


def is_awake(limit_s: float) -> bool:
    """Tell whether the main thread runs Python code, within a time limit in seconds.

    It does so in between if it waits for input or a lock. Only within `insisted`.
    """
    began = time.monotonic()
    poke()
    while _answered_s < began:
        if time.monotonic() > began + limit_s:
            return False
        time.sleep(_AGAIN_S / 10)
    return True


@contextmanager
def insisted() -> Iterator[Callable[[BaseException], NoReturn]]:
    """Yield what raises an exception in a handler of a signal, until one is not swallowed."""
    raised: BaseException | None = None
    is_swallowed, is_over = threading.Event(), threading.Event()

    def insist(error: BaseException) -> NoReturn:
        nonlocal raised
        raised = error
        raise error

    def hook(swallowed: sys.UnraisableHookArgs) -> None:
        if raised is None or swallowed.exc_value is not raised:
            before(swallowed)
            return
        is_swallowed.set()
        threading.Thread(target=keep_poking, name="ziggy-poke", daemon=True).start()

    def keep_poking() -> None:
        while is_swallowed.is_set() and not is_over.wait(_AGAIN_S):
            poke()

    def poked(_number: int, frame: FrameType | None) -> None:
        global _answered_s
        _answered_s = time.monotonic()
        if _is_within(hook.__code__, frame):
            return  # what is raised there is lost; the next poke comes soon
        if is_swallowed.is_set() and raised is not None:
            is_swallowed.clear()
            insist(raised.with_traceback(None))

    before, sys.unraisablehook = sys.unraisablehook, hook
    handler = signal.signal(_POKE, poked)
    try:
        yield insist
    finally:
        is_over.set()
        is_swallowed.clear()
        signal.signal(_POKE, handler)
        sys.unraisablehook = before


def _is_within(code: CodeType, frame: FrameType | None) -> bool:
    """Tell whether a function of some code is being called."""
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False
