"""Output that may fail: telling what happens never ends the work that is told of."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any

_ALIKE = {"─": "-", "━": "=", "│": "|", "…": "...", "→": "->", "–": "-"}
"""What is drawn where a terminal has no lines."""


def open_missing_streams() -> None:
    """Open the null device for standard streams that are closed.

    Otherwise the next file that is opened, such as the database, would get the number of
    one, and whatever prints there would write into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def write_any_character() -> None:
    """Let standard streams take letters that the encoding of a terminal does not have.

    Lines are drawn with others then; letters are written as Python escapes them.
    """
    codecs.register_error("ziggy", _written_otherwise)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="ziggy")


def _written_otherwise(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    written = (_ALIKE.get(c) or ascii(c)[1:-1] for c in letters)
    return "".join(written), error.end


def make_output_sturdy() -> None:
    """Let standard output and errors of this process take what can't be written, too."""
    if not isinstance(sys.stdout, Sturdy):
        sys.stdout = Sturdy(sys.stdout)
    if not isinstance(sys.stderr, Sturdy):
        sys.stderr = Sturdy(sys.stderr)


class Sturdy:
    """A text stream that says once that it can't be written to, and then takes all.

    Parameters
    ----------
    stream
        The stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_broken = False

    def write(self, text: str) -> int:
        """Write text, if that is possible; return its length."""
        if not self._is_broken:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write what was kept back."""
        if not self._is_broken:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream has."""
        return getattr(self._stream, name)

    def _give_up(self, error: Exception) -> None:
        self._is_broken = True
        with suppress(OSError, ValueError, AttributeError):
            # What is still kept back is written at the end of the process.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if self is not sys.stderr:
            reason = getattr(error, "strerror", None) or error
            print(
                f"ziggy: output can't be written any more: {reason}; the work goes on",
                file=sys.stderr,
            )
