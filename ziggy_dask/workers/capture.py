"""What algorithms print, log and warn, kept apart per subtask.

Several subtasks may run in threads of one process. The process-wide streams are
therefore replaced, once, by ones that look up the capture of the calling thread;
threads without one write to where the stream went before.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

LARGEST_LOG = 64 * 1024
"""Characters of output that are kept per subtask, from its end."""

_threads = threading.local()
_install_lock = threading.Lock()


class Tail:
    """Text of which only the end is kept."""

    def __init__(self, size: int = LARGEST_LOG) -> None:
        self._size = size
        self._pieces: list[str] = []
        self._length = 0
        self._dropped = 0

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
def captured() -> Iterator[Tail]:
    """Keep what the calling thread prints, logs and warns in this block."""
    _install()
    before = getattr(_threads, "tail", None)
    tail = Tail()
    _threads.tail = tail
    try:
        yield tail
    finally:
        _threads.tail = before


class _Stream(io.TextIOBase):
    """A stream that goes to the capture of the calling thread, if it has one."""

    def __init__(self, usual: TextIO) -> None:
        self.usual = usual

    def write(self, text: str) -> int:
        tail = getattr(_threads, "tail", None)
        if tail is None:
            return self.usual.write(text)
        tail.write(text)
        return len(text)

    def flush(self) -> None:
        if getattr(_threads, "tail", None) is None and not self.usual.closed:
            self.usual.flush()

    def isatty(self) -> bool:
        return getattr(_threads, "tail", None) is None and self.usual.isatty()

    def fileno(self) -> int:
        return self.usual.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        return self.usual.encoding


class _LogHandler(logging.Handler):
    """Sends log records to the capture of the calling thread, if it has one."""

    def emit(self, record: logging.LogRecord) -> None:
        tail = getattr(_threads, "tail", None)
        if tail is not None:
            tail.write(self.format(record) + "\n")


_handler = _LogHandler()
_handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))


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
        tail = getattr(_threads, "tail", None)
        if tail is None or file is not None:
            self._usual(message, category, filename, lineno, file, line)
        else:
            tail.write(
                warnings.formatwarning(message, category, filename, lineno, line)
            )
