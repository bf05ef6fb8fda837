"""Running one program to its end, whatever it does.

It gets a session of its own. When it has ended, or has to, everything that it
started ends with it: its process group, and also what left the group, which is
found by a mark in its environment, since orphans become children of the worker.
If the worker dies, the reaper does the same.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import ctypes
import fcntl
import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.workers import reaper
from ziggy_dask.workers.work import Cause

_PIPE_BYTES = 1 << 20
_TICK_S = 0.5
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use."""

    wall_s: float
    """Time, in seconds; 0: there is no limit."""
    grace_s: float
    """Time from the request to end until it is ended by force, in seconds."""
    disk_bytes: int
    """Size of its working directory, in bytes; 0: there is no limit."""
    log_bytes: int
    """Size of its log file, in bytes; what is written beyond is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended."""

    exit_code: int
    """Exit code; negative: the number of the signal that ended it."""
    cause: Cause
    """Why it was ended; ``NONE``: it ended by itself."""
    left_behind: int
    """Number of processes that it left and that were ended."""
    peak_memory_bytes: int
    """Largest memory of the program; Linux counts the worker's at its start with it."""


def run_process(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    log: Path,
    limits: Limits,
    halt: int,
) -> Ended:
    """Run a program, and print what it prints as it does.

    Parameters
    ----------
    command
        Program and arguments.
    directory
        Its working directory.
    environment
        All its environment variables.
    log
        File for its output.
    limits
        What it may use.
    halt
        File descriptor that becomes readable when it has to end; -1: none.

    Raises
    ------
    OSError
        If it can't be started, or its log not be written; nothing of it runs then.
    """
    token = secrets.token_hex(12)
    with log.open("wb", buffering=0) as file, _adopting_orphans(), _pipe() as ends:
        process = _started(command, directory, environment, token, into=ends[1])
        try:
            _tell_reaper("+", process.pid, token, limits.grace_s)
            output = _Output(ends[0], file.write, limits.log_bytes)
            cause = _follow(process.pid, output, directory, limits, halt)
        finally:
            left, code, peak = _finish(process, token)
            _tell_reaper("-", process.pid, token, limits.grace_s)
        output.drain()
    return Ended(exit_code=code, cause=cause, left_behind=left, peak_memory_bytes=peak)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe; the one to read from is closed at the end."""
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield out, into
    finally:
        os.close(out)


def _started(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    token: str,
    *,
    into: int,
) -> subprocess.Popen[bytes]:
    """Start a program that writes into a pipe, of which this process keeps no such end."""
    try:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, reaper.VARIABLE: token},
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=into,
            start_new_session=True,
        )
    finally:
        os.close(into)


class _Output:
    """What a program writes: to the log file, and on to the capture of this thread."""

    def __init__(self, out: int, write: Callable[[bytes], object], room: int) -> None:
        self.out = out
        self._write = write
        self._room = room
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        os.set_blocking(out, False)

    def take(self) -> bool:
        """Take what is there; return whether more can come."""
        data = os.read(self.out, _PIPE_BYTES)
        try:
            self._keep(data)
        except OSError:  # the disk is full: continue without the log file
            self._room = 0
        sys.stdout.write(self._decode(data))
        return bool(data)

    def drain(self) -> None:
        """Take what is left in the pipe."""
        with contextlib.suppress(BlockingIOError):
            while self.take():
                pass

    def _keep(self, data: bytes) -> None:
        if self._room <= 0:
            return
        self._write(data[: self._room])
        self._room -= len(data)
        if self._room <= 0:
            self._write(b"\n[the log is full; the rest was left out]\n")


def _follow(
    process: int, output: _Output, directory: Path, limits: Limits, halt: int
) -> Cause:
    """Wait for the end of a program, or make it end; return why it had to."""
    began = time.monotonic()
    cause, forced_at, is_killed = Cause.NONE, 0.0, False
    ended = os.pidfd_open(process)
    poll = select.poll()
    for descriptor in (ended, output.out, *((halt,) if halt >= 0 else ())):
        poll.register(descriptor, select.POLLIN)
    try:
        if limits.disk_bytes:
            files = (limits.disk_bytes, limits.disk_bytes)
            resource.prlimit(process, resource.RLIMIT_FSIZE, files)
        while True:
            ready = dict(poll.poll(_TICK_S * 1000))
            now = time.monotonic()
            if output.out in ready and not output.take():
                poll.unregister(output.out)
            if ended in ready:
                return cause
            if cause is Cause.NONE:
                cause = _why_end(halt in ready, now - began, directory, limits)
                if cause is not Cause.NONE:
                    _signal(process, signal.SIGTERM)
                    forced_at = now + limits.grace_s
                    if halt >= 0:
                        poll.unregister(halt)
            elif now >= forced_at and not is_killed:
                _signal(process, signal.SIGKILL)
                is_killed = True
    finally:
        os.close(ended)


def _why_end(is_halted: bool, took_s: float, directory: Path, limits: Limits) -> Cause:
    if is_halted:
        return Cause.HALTED
    if limits.wall_s and took_s > limits.wall_s:
        return Cause.TIME_LIMIT
    if limits.disk_bytes and size_of(directory) > limits.disk_bytes:
        return Cause.DISK_QUOTA
    return Cause.NONE


def size_of(directory: Path) -> int:
    """Return the bytes of all files in a directory; no link is followed."""
    total = 0
    waiting = [str(directory)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _finish(process: subprocess.Popen[bytes], token: str) -> tuple[int, int, int]:
    """End what a program left; return how many that were, its exit code and memory."""
    group = process.pid
    _signal(group, signal.SIGKILL)
    _, status, usage = os.wait4(group, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    left = _reap(group)
    while strays := [child for child in _children() if _has_token(child, token)]:
        for stray in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stray, 0)
        left += len(strays)
    return left, process.returncode, usage.ru_maxrss * 1024


def _reap(group: int) -> int:
    """Wait for the orphans of a process group that was killed; return how many."""
    count = 0
    while True:
        try:
            os.waitpid(-group, 0)
        except ChildProcessError:
            return count
        count += 1


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _children() -> list[int]:
    """Return the processes that are children of this process's first thread.

    Orphans become its children; those that other threads started are not among them.
    """
    path = f"/proc/self/task/{os.getpid()}/children"
    try:
        return [int(word) for word in Path(path).read_text().split()]
    except OSError:
        return []


def _has_token(process: int, token: str) -> bool:
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{reaper.VARIABLE}={token}".encode() in variables


_running = 0
_running_lock = threading.Lock()


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Be the parent of orphans among the descendants while programs run here."""
    _adopt_orphans(+1)
    try:
        yield
    finally:
        _adopt_orphans(-1)


def _adopt_orphans(more: int) -> None:
    global _running
    with _running_lock:
        _running += more
        ctypes.CDLL(None).prctl(_SUBREAPER, int(_running > 0), 0, 0, 0)


_reaper_lock = threading.Lock()
_reapers: list[subprocess.Popen[bytes]] = []


def _tell_reaper(sign: str, group: int, token: str, grace_s: float) -> None:
    line = f"{sign} {group} {token}\n".encode()
    with _reaper_lock:
        if not _reapers or _reapers[0].poll() is not None:
            _reapers[:] = [_start_warden(grace_s)]
        pipe = _reapers[0].stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(line)


@atexit.register
def _end_warden() -> None:
    """Let the reaper go; it has nothing left to end."""
    for process in _reapers:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


def _start_warden(grace_s: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, str(grace_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        start_new_session=True,
    )
