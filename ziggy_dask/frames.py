"""A look at the frames of all threads that can't deadlock on Python 3.11.

``sys._current_frames()`` holds a lock of the interpreter while it makes frame objects. On
Python 3.11 the garbage collector may start in between; a finalizer that it runs may let
another thread go on, and one that enters Python for the first time, as the threads of
compiled libraries do, waits for that very lock: nobody moves ever again (CPython issue
106883, fixed in 3.12). Dask's profiler makes that call a hundred times a second in every
worker.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType

_lock = threading.Lock()
_unsafe = sys._current_frames


def current_frames() -> dict[int, FrameType]:
    """Return the current frame of each thread by its identifier, without a collection.

    The garbage collector is off for the length of the call, in the whole process.
    """
    with _lock:
        was_on = gc.isenabled()
        gc.disable()
        try:
            return _unsafe()
        finally:
            if was_on:
                gc.enable()


def make_safe(version: tuple[int, ...] = sys.version_info[:3]) -> Callable[..., object]:
    """Let everybody in this process look at frames safely, if its Python needs that.

    Returns
    -------
    callable
        What ``sys._current_frames`` is from now on.
    """
    if version < (3, 12) and sys._current_frames is _unsafe:
        sys._current_frames = current_frames
    return sys._current_frames
