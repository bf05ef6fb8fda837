"""A steady clock for the connections of Dask's processes.

Dask gathers messages for milliseconds before it sends them, and Tornado calls heartbeats
again and again; both wait for a time of day. A clock that is set back by hours in between
would hold them up for hours. `keep_steady` lets them wait by a clock that nobody sets.

Processes of workers load this module by Dask's option ``--preload``, which calls
`dask_setup`; also for schedulers and workers that are started by hand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from distributed import batched
from tornado.ioloop import IOLoop

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

_BEGAN = time.time() - time.monotonic()


def steady_time(*_: IOLoop) -> float:
    """Return the time of day in seconds as if the clock had not been set since the start.

    On the scale of `time.time`: what already waits for a time of day goes on to.
    """
    return _BEGAN + time.monotonic()


def keep_steady() -> None:
    """Let connections and periodic calls of this process wait by a steady clock."""
    batched.time = steady_time  # type: ignore[attr-defined]
    IOLoop.time = steady_time  # type: ignore[method-assign, assignment]


def dask_setup(_: Scheduler | Worker) -> None:
    """Do it in a process that Dask starts."""
    keep_steady()
