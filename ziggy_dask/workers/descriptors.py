"""Standard output and error of this process, kept on the level of file descriptors.

What compiled libraries, child programs and threads write goes past Python's streams. While
a subtask has a worker process for itself, both descriptors lead to a file instead. The file
outlives the process, so that what a dying subtask wrote is not lost with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import io
import os
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

KEPT_BYTES = 64 * 1024 - 64  # and a note on what is missing
"""Bytes of output that are kept per subtask, from its end."""

_NAME = "ziggy-output-"
_LARGEST_BYTES = 8 * 1024 * 1024
_LOOK_S = 0.2
_BLOCK_BYTES = 4096
_PUNCH_HOLE_AND_KEEP_SIZE = 0x02 | 0x01  # see fallocate(2)
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessOutput:
    """Where standard output and error of this process go while a subtask runs.

    Parameters
    ----------
    path
        File that holds what the subtask at work has written.
    """

    def __init__(self, path: Path) -> None:
        self.directory = path.parent
        """Directory of the file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._usual = {fd: _socket(fd) for fd in (1, 2)}
        self._before: list[tuple[int, int]] = []
        self._at_work = threading.Event()
        threading.Thread(target=self._limit, name="ziggy-output", daemon=True).start()

    def begin(self, about: str) -> None:
        """Send both descriptors to the file, of which `about` is the first line."""
        flush_output()
        os.ftruncate(self._file, 0)
        os.write(self._file, about.encode() + b"\n")
        self._before = [(fd, _duplicate(fd)) for fd in self._usual if self._is_ours(fd)]
        for fd, _ in self._before:
            os.dup2(self._file, fd)
        for stream in (sys.stdout, sys.stderr):
            _write_lines_at_once(stream)
        self._at_work.set()

    def end(self, is_told: bool = True) -> str:
        """Send both descriptors back; return the end of what was written.

        Parameters
        ----------
        is_told
            Whether somebody will hear of it. Otherwise the file is kept for those who ask
            what this process did when it ended.
        """
        flush_output()
        self._at_work.clear()
        for fd, before in self._before:
            if self._is_ours(fd):
                os.dup2(before, fd)
            os.close(before)
        self._before = []
        _, text = _read(self._file)
        if is_told:
            os.ftruncate(self._file, 0)
        return text

    def _is_ours(self, fd: int) -> bool:
        """Tell whether a descriptor is still output, as far as can be seen.

        If an algorithm closes it, the next connection of the worker may get its number.
        """
        return _socket(fd) in (None, self._usual[fd])

    def _limit(self) -> None:
        """Give back the room of what is too far from the end, and open what was closed."""
        while self._at_work.wait():
            for fd in self._usual:
                _open_again(fd, self._file)
            size = os.fstat(self._file).st_size
            if size > _LARGEST_BYTES:
                start = ctypes.c_long(_BLOCK_BYTES)
                length = ctypes.c_long(size - KEPT_BYTES - 2 * _BLOCK_BYTES)
                _libc.fallocate(self._file, _PUNCH_HOLE_AND_KEEP_SIZE, start, length)
            time.sleep(_LOOK_S)


def output_path(scratch: Path, nanny: str) -> Path:
    """Return the file for the output of the worker that a nanny looks after."""
    digest = hashlib.sha256(nanny.encode()).hexdigest()[:16]
    return scratch / f"{_NAME}{digest}"


def remove_ownerless(scratch: Path) -> None:
    """Remove files for output that no process has: its nanny was killed before it could.

    Where a file system knows no locks, nobody can tell, and they stay.
    """
    for path in scratch.glob(f"{_NAME}*"):
        with suppress(OSError):  # somebody has it, or another nanny was faster
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def left_behind(path: Path) -> tuple[str, str]:
    """Return what a process that died left in its file: the first line, and the output.

    Both are empty if no subtask was at work, or there is no such file.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "", ""
    try:
        return _read(file)
    finally:
        os.close(file)


def _read(file: int) -> tuple[str, str]:
    """Return the first line of a file, and the end of the rest; say how much is missing."""
    first = os.pread(file, _BLOCK_BYTES, 0).partition(b"\n")[0]
    begin, size = len(first) + 1, os.fstat(file).st_size
    start = max(begin, size - KEPT_BYTES)
    kept = os.pread(file, KEPT_BYTES, start)
    while start > begin and kept and kept[0] & 0xC0 == 0x80:  # rest of a cut character
        start, kept = start + 1, kept[1:]
    note = f"[{start - begin} bytes left out]\n" if start > begin else ""
    return first.decode(errors="replace"), note + kept.decode(errors="replace")


def _duplicate(fd: int) -> int:
    """Return a copy of a descriptor; one that leads nowhere if it was closed."""
    try:
        return os.dup(fd)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _socket(fd: int) -> int | None:
    """Return the number of the socket that a descriptor leads to; None: to none."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None


def _open_again(fd: int, source: int) -> None:
    """Let a descriptor that was closed lead to where another one does.

    One that is open stays as it is, whoever opened it meanwhile.
    """
    got = fcntl.fcntl(source, fcntl.F_DUPFD, fd)
    if got != fd:
        os.close(got)


def _write_lines_at_once(stream: object) -> None:
    if isinstance(stream, io.TextIOWrapper) and not stream.line_buffering:
        with suppress(OSError, ValueError):
            stream.reconfigure(
                encoding="utf-8", errors="backslashreplace", line_buffering=True
            )


def flush_output() -> None:
    """Write out what Python and the C library still hold back."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    _libc.fflush(None)
