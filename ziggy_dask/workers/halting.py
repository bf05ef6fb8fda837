"""Ending what runs on a worker, because its task is halted or the worker closes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed import Worker

_halted: set[str] = set()
"""Tokens of works of this process that are to go no further."""
_running: dict[int, str] = {}
"""Tokens of the works whose programs run here, by what those are told to end by."""


class Halting(WorkerPlugin):
    """Ends the programs of a worker when it closes."""

    name = "ziggy-halting"

    def teardown(self, worker: Worker) -> None:
        """Tell all programs of the worker to end."""
        _tell_to_end(set(_running.values()))


def end_works(
    tokens: Collection[str], keys: Collection[object], dask_worker: Worker
) -> bool:
    """End what runs on this worker for some works, as far as it can be ended.

    Parameters
    ----------
    tokens
        Tokens of the works.
    keys
        Their Dask keys.
    dask_worker
        This worker.

    Returns
    -------
    bool
        Whether Python code of theirs runs, which can't be ended from outside.
    """
    _halted.update(tokens)
    told = _tell_to_end(tokens)
    executing = [one for one in dask_worker.state.executing if one.key in keys]
    return len(executing) > told


def is_halted(token: str) -> bool:
    """Tell whether a work is to go no further."""
    return token in _halted


@contextmanager
def haltable(token: str) -> Iterator[int]:
    """Return a file descriptor that becomes readable when a program has to end."""
    word = os.eventfd(int(is_halted(token)), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    _running[word] = token
    try:
        yield word
    finally:
        del _running[word]
        os.close(word)


def _tell_to_end(tokens: Collection[str]) -> int:
    told = [word for word, token in _running.copy().items() if token in tokens]
    for word in told:
        os.eventfd_write(word, 1)
    return len(told)
