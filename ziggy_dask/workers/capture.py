"""What algorithms print, log and warn, kept apart per subtask.

Where a worker process runs one subtask at a time, all that the process writes is the
subtask's; see `descriptors`. Elsewhere several subtasks run in threads of one process. Its
streams are therefore replaced, once, by ones that look up the capture of the calling thread,
or of the one that started it; other threads write to where the stream went before.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from distributed import get_worker
from distributed.core import Status

from ziggy_dask.workers.children import allow_children, children_ended
from ziggy_dask.workers.descriptors import ProcessOutput, output_path
from ziggy_dask.workers.worker_log import stamped

if TYPE_CHECKING:
    from typing_extensions import Buffer

LARGEST_LOG = 64 * 1024
"""Characters of output that are kept per subtask, from its end."""

_threads = threading.local()
_install_lock = threading.Lock()
_has_process = threading.Lock()
"""Held by the subtask to which the output of the whole process belongs."""
_CODE_PACKAGE = re.compile(r"^ziggy_code_[0-9a-f]{16}\.")


class Tail:
    """Text of which only the end is kept."""

    def __init__(self, size: int = LARGEST_LOG) -> None:
        self._size = size
        self._pieces: list[str] = []
        self._length = 0
        self._dropped = 0
        self.is_open = True

    def write(self, text: str) -> None:
        """Add text."""
        if len(text) > self._size:
            self._dropped += len(text) - self._size
            text = text[-self._size :]
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * self._size:
            self._shorten()

    def text(self) -> str:
        """Return the end of what was written, and how much is missing before it."""
        if not self._pieces:
            return ""
        if self._length > self._size:
            self._shorten()
        note = f"[{self._dropped} characters left out]\n" if self._dropped else ""
        return note + "".join(self._pieces)

    def _shorten(self) -> None:
        whole = "".join(self._pieces)
        self._dropped += len(whole) - self._size
        self._pieces = [whole[-self._size :]]
        self._length = self._size


@contextmanager
def captured(about: str = "", title: str = "") -> Iterator[Tail]:
    """Keep what is printed, logged and warned in this block.

    Parameters
    ----------
    about
        What the block does, in one line, for the case that the process dies in it.
    title
        What it does in words, for the log of the worker where others run beside it.
    """
    output = _process_output()
    tail = Tail()
    if output is not None and _has_process.acquire(blocking=False):
        try:
            _prepare_process(_own_directory(output))
            output.begin(about)
            with children_ended():
                yield tail
        finally:
            tail.write(output.end(is_told=_is_at_work()))
            _has_process.release()
    else:
        _install()
        before = getattr(_threads, "tail", None)
        _threads.tail = tail
        try:
            with stamped(title):
                yield tail
        finally:
            _threads.tail = before
            tail.is_open = False


def _own_directory(output: ProcessOutput) -> Path:
    """Return a directory that ends with this process, if it is a worker."""
    try:
        return Path(get_worker().local_directory)
    except ValueError:
        return output.directory


def _is_at_work() -> bool:
    """Tell whether the worker of this process still sends results.

    After an interrupt it no longer does, while its subtask runs to the end.
    """
    try:
        worker = get_worker()
    except ValueError:
        return True
    is_open = worker.status in (Status.running, Status.paused)
    return is_open and worker.loop.asyncio_loop.is_running()  # type: ignore[attr-defined]


def _process_output() -> ProcessOutput | None:
    """Return where this process writes, if it is a worker that runs one subtask at a time."""
    try:
        worker = get_worker()
    except ValueError:
        return None
    if not worker.nanny or worker.state.nthreads != 1:
        return None
    return _output_at(
        output_path(Path(worker.local_directory).parent, str(worker.nanny))
    )


@lru_cache(maxsize=1)
def _output_at(path: Path) -> ProcessOutput | None:
    try:
        return ProcessOutput(path)
    except OSError:  # the scratch directory can't be written: keep what Python prints
        return None


def _tail() -> Tail | None:
    """Return the capture of this thread, or of the one that started it."""
    tail: Tail | None = getattr(_threads, "tail", None)
    if tail is None:
        tail = getattr(threading.current_thread(), "_ziggy_tail", None)
    return tail if tail is not None and tail.is_open else None


class _Stream(io.TextIOBase):
    """A stream that goes to the capture of the calling thread, if it has one."""

    def __init__(self, usual: TextIO) -> None:
        self.usual = usual

    def write(self, text: str) -> int:
        tail = _tail()
        if tail is None:
            return self.usual.write(text)
        tail.write(text)
        return len(text)

    def flush(self) -> None:
        if _tail() is None and not self.usual.closed:
            self.usual.flush()

    def isatty(self) -> bool:
        return _tail() is None and self.usual.isatty()

    def fileno(self) -> int:
        return self.usual.fileno()

    @property
    def buffer(self) -> io.BufferedIOBase:
        """Takes bytes, as the buffers of text streams do."""
        return _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        return self.usual.encoding


class _Bytes(io.BufferedIOBase):
    """The buffer of such a stream."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        content = bytes(data)
        if _tail() is None:
            return self._stream.usual.buffer.write(content)
        self._stream.write(content.decode(errors="replace"))
        return len(content)

    def flush(self) -> None:
        self._stream.flush()


class _Format(logging.Formatter):
    """Names loggers as users do, whose modules are in a package of ours."""

    def format(self, record: logging.LogRecord) -> str:
        name = record.name
        record.name = _CODE_PACKAGE.sub("", name)
        try:
            return super().format(record)
        finally:
            record.name = name


class _LogHandler(logging.Handler):
    """Sends log records to the subtask that they belong to, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tail = _tail()
        if tail is None and not _has_process.locked():
            return
        if tail is None and record.thread == threading.main_thread().ident:
            return  # of Dask, whose event loop runs there
        try:
            text = self.format(record) + "\n"
            if tail is not None:
                tail.write(text)
            else:
                os.write(2, text.encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 -- what logging does where telling fails
            self.handleError(record)


_handler = _LogHandler()
_handler.setFormatter(_Format("%(levelname)s %(name)s: %(message)s"))


def _install() -> None:
    if isinstance(sys.stdout, _Stream) and isinstance(sys.stderr, _Stream):
        return
    with _install_lock:
        if not isinstance(sys.stdout, _Stream):
            sys.stdout = _Stream(sys.stdout)
        if not isinstance(sys.stderr, _Stream):
            sys.stderr = _Stream(sys.stderr)
        if _handler not in logging.getLogger().handlers:
            logging.getLogger().addHandler(_handler)
        if not isinstance(warnings.showwarning, _ShownWarning):
            warnings.showwarning = _ShownWarning(warnings.showwarning)
        if threading.Thread.start is not _start_inheriting:
            threading.Thread.start = _start_inheriting  # type: ignore[method-assign, assignment]


def _prepare_process(directory: Path) -> None:
    """Let INFO of all that is imported reach the log, and let algorithms start processes."""
    root = logging.getLogger()
    if _handler not in root.handlers:
        allow_children(directory)
        root.addHandler(_handler)
        root.setLevel(min(root.level, logging.INFO) or logging.INFO)


_start = threading.Thread.start


def _start_inheriting(thread: threading.Thread) -> None:
    """Start a thread that writes to the capture of the one that starts it."""
    thread._ziggy_tail = _tail()  # type: ignore[attr-defined]
    _start(thread)


class _ShownWarning:
    """Sends warnings to the capture of the calling thread, if it has one."""

    def __init__(self, usual: Callable[..., None]) -> None:
        self._usual = usual

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        tail = _tail()
        if tail is None or file is not None:
            self._usual(message, category, filename, lineno, file, line)
        else:
            tail.write(
                warnings.formatwarning(message, category, filename, lineno, line)
            )
