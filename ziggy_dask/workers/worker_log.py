"""The log of a worker process: what it writes while no subtask has it for itself.

Workers on the supervisor's machine load this module by Dask's option ``--preload``. Without
it their output would be mixed with that of the supervisor, and an algorithm that signals its
process group would end the supervisor. Jobs of batch systems have logs and groups of their own.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.workers.descriptors import flush_output

if TYPE_CHECKING:
    from distributed import Worker

VARIABLE = "ZIGGY_WORKER_LOGS"
"""Variable of the environment that names the directory of these logs."""
_LARGEST_BYTES = 10 * 1024 * 1024
"""A log larger than this is put aside when its worker starts anew."""
_has_log = False


def dask_setup(worker: Worker) -> None:
    """Give this process its own session and its own log."""
    global _has_log
    directory = os.environ.get(VARIABLE, "")
    if not directory:
        return
    with suppress(PermissionError):  # it leads a group already
        os.setsid()
    path = worker_log(Path(directory), str(worker.name))
    try:
        file = _opened(path)
    except OSError as error:
        reason = error.strerror or str(error)
        told = f"{path}: can't be written, so it goes here: {reason}\n"
        with suppress(OSError):
            os.write(2, told.encode(errors="backslashreplace"))
        return
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    _has_log = True
    _stamp(f"process {os.getpid()} of worker {worker.name} begins")


def _opened(path: Path) -> int:
    """Open a log to write at its end; put aside one that is large.

    Raises
    ------
    OSError
        If that can't be done, or it is no file: nobody may read a pipe.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LARGEST_BYTES:
        path.replace(path.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    file = os.open(path, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def worker_log(directory: Path, name: str) -> Path:
    """Return the log of a worker by its name."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return directory / f"worker-{safe}.log"


def logged_workers(directory: Path) -> list[str]:
    """Return the names of workers that have a log."""
    files = sorted(directory.glob("worker-*.log"))
    return [one.stem.removeprefix("worker-") for one in files]


@contextmanager
def stamped(what: str) -> Iterator[None]:
    """Note in the log when something begins and ends that runs beside others.

    What compiled code writes meanwhile can't be told apart; so the log says when what ran.
    """
    _stamp(f"{what} begins")
    try:
        yield
    finally:
        _stamp(f"{what} ends")


def _stamp(words: str) -> None:
    if _has_log:
        flush_output()
        now = time.time()
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
        line = f"── {shown}.{int(now % 1 * 1000):03d} UTC, {words}\n"
        with suppress(OSError):
            os.write(2, line.encode(errors="backslashreplace"))
