"""Worker processes start without the script that starts them.

Python's `spawn` has each new process import the script of its parent. One without
``if __name__ == "__main__":`` would run again in every worker. Workers need nothing of it:
the code of pipelines reaches them by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any

_WORKER = "Dask Worker process (from Nanny)"
"""How Dask's nannies call the processes of their workers."""
_SCRIPT = ("init_main_from_path", "init_main_from_name")
"""What tells a new process which script to import."""

_usual = spawn.get_preparation_data
_lock = threading.Lock()
_open = 0


@contextmanager
def without_script() -> Iterator[None]:
    """Start workers without the script of this process, for the length of a block."""
    _count(+1)
    try:
        yield
    finally:
        _count(-1)


def _count(more: int) -> None:
    global _open
    with _lock:
        _open += more
        spawn.get_preparation_data = _prepared if _open else _usual


def _prepared(name: str) -> dict[str, Any]:
    """Return what a new process is told of this one."""
    told: dict[str, Any] = _usual(name)
    if name != _WORKER:
        return told
    return {key: value for key, value in told.items() if key not in _SCRIPT}
