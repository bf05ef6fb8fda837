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


def compiles(pattern: str) -> bool:
    """Tell whether a text is a regular expression."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
