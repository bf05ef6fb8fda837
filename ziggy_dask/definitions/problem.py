"""What is wrong with a definition, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    where: tuple[str, ...]
    """Keys from the top of the definition to the place."""
    message: str
    """What is wrong, and how to fix it."""


_TOO_MUCH = (RecursionError, OverflowError, MemoryError)


def pattern_problems(where: tuple[str, ...], pattern: str) -> Iterator[Problem]:
    """Yield what is wrong with a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(
            where,
            f"{pattern!r} is not a valid regular expression: {error.msg}"
            + (f" at position {error.pos}" if error.pos is not None else ""),
        )
    except _TOO_MUCH:
        yield Problem(
            where,
            f"{pattern[:60]!r}… is too much for a regular expression: it has groups inside "
            "each other too many levels deep, or repeats too often",
        )


def compiles(pattern: str) -> bool:
    """Tell whether a text is a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, *_TOO_MUCH):
        return False
    return True
