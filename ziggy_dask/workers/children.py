"""Processes that an algorithm starts: none outlives its subtask."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import spawn
from typing import Any

import psutil

from ziggy_dask.definitions.code_import import script_for_children

_logger = logging.getLogger("ziggy")
_GRACE_S = 2.0
_KEPT = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "reaper.py")
"""Parts of command lines of helpers that serve the whole process, not one subtask."""


@contextmanager
def children_ended() -> Iterator[None]:
    """End the processes that were started in this block and are still there at its end.

    For a process that runs one subtask at a time. What forks in the block and comes to its
    end, as a child that should have called ``os._exit``, is ended there.
    """
    process, before = os.getpid(), _children()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)
        if new := _children() - before:
            _end([one for one in _with_descendants(new) if not _is_kept(one)])


def _children() -> set[int]:
    """Return the ids of the children of this process, at little cost."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    found: set[int] = set()
    for file in pathlib.Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found.update(map(int, file.read_text().split()))
    return found


def _with_descendants(numbers: set[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for number in numbers:
        with suppress(psutil.Error):
            child = psutil.Process(number)
            found += [child, *child.children(recursive=True)]
    return found


def _is_kept(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(part in word for word in process.cmdline() for part in _KEPT)
    return True  # it has ended meanwhile


def _end(processes: list[psutil.Process]) -> None:
    names = []
    for process in processes:
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                names.append(" ".join(process.cmdline())[:200])
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    if names:
        _logger.warning(
            "ended what outlived the subtask: %s",
            "; ".join(names),
        )


def allow_children(directory: pathlib.Path) -> None:
    """Let algorithms use `multiprocessing` in this process.

    Dask's nannies start workers as daemons, so that none is left when a nanny ends, and
    Python lets no daemon have children. Here that rule has nothing to protect: children are
    ended with their subtask.

    A child that Python starts anew first runs the script of its parent. Instead of that it
    is given one that makes the packages of pipelines, whose functions it may be sent.

    Parameters
    ----------
    directory
        Where such scripts are kept.
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    usual = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        told: dict[str, Any] = usual(name)
        told.pop("init_main_from_name", None)
        return told | {"init_main_from_path": str(_kept_script(directory))}

    spawn.get_preparation_data = prepared


def _kept_script(directory: pathlib.Path) -> pathlib.Path:
    text = script_for_children()
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = directory / f"children_{digest}.py"
    if not path.exists():
        partial = path.with_name(f".{path.name}-{os.getpid()}")
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
        partial.replace(path)
    return path
