"""Tables of text: aligned, as wide as the terminal, quick for many rows."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import click

Row = Mapping[str, Any]

WHOLE = ("id", "state", "kind", "cause", "change", "severity", "example", "snapshot")
"""Columns that are of use only whole."""
_NARROWEST = 6
_GAP = 2
"""Characters between columns."""


def table(rows: Sequence[Row], room: int | None = None) -> str:
    """Return rows, of which there is at least one, as lines with colours.

    Parameters
    ----------
    rows
        Rows with the same keys; keys are the headings.
    room
        Characters in a line; columns of text are shortened to fit, and those that
        have no room come below, with the first column again. None: any number.
    """
    columns = [_Column(name, [row.get(name) for row in rows]) for name in rows[0]]
    widths = [one.width for one in columns]
    if room is None:
        return "\n".join(_lines(columns, widths))
    least = [
        min(w, _NARROWEST) if c.is_free else w
        for c, w in zip(columns, widths, strict=True)
    ]
    parts = []
    for some in blocks(least, room):
        free = [columns[i].is_free for i in some]
        fit = room - _GAP * (len(some) - 1)
        shown = fitted([widths[i] for i in some], free, fit)
        parts.append("\n".join(_lines([columns[i] for i in some], shown)))
    return "\n\n".join(parts)


class _Column:
    """A column as text.

    Parameters
    ----------
    name
        Its name.
    values
        Its values.
    """

    def __init__(self, name: str, values: Sequence[object]) -> None:
        self.heading = name.replace("_", " ")
        # Of many thousands of values there are few different ones, and few types.
        texts = list(map(text_of, values))
        lines = {one: _line(one) for one in set(texts)}
        self.texts = [lines[one] for one in texts]
        self.width = max(map(_cells, {self.heading, *lines.values()}))
        kinds = set(map(type, values))
        self.is_free = name not in WHOLE and all(
            issubclass(one, str | None) for one in kinds
        )
        self.is_right = any(issubclass(one, int | float) for one in kinds) and not any(
            issubclass(one, bool | str) for one in kinds
        )

    def cells(self, width: int) -> list[str]:
        """Return heading, rule and texts, all of the same width, with colours."""
        heading = self._aligned(self.heading, width, {"bold": True})
        made = {one: self._aligned(one, width, _style(one)) for one in set(self.texts)}
        return [heading, "─" * width, *(made[one] for one in self.texts)]

    def _aligned(self, text: str, width: int, style: dict[str, Any]) -> str:
        shown = _shortened(text, width)
        padding = " " * (width - _cells(shown))
        styled = click.style(shown, **style) if style else shown
        return padding + styled if self.is_right else styled + padding


def _lines(columns: Sequence[_Column], widths: Sequence[int]) -> list[str]:
    cells = [one.cells(width) for one, width in zip(columns, widths, strict=True)]
    heading, rule, *lines = zip(*cells, strict=True)
    gap = " " * _GAP
    return [
        gap.join(heading).rstrip(),
        ("─" * _GAP).join(rule),
        *(gap.join(line).rstrip() for line in lines),
    ]


def blocks(least: Sequence[int], room: int) -> list[list[int]]:
    """Return which columns stand side by side; all blocks begin with the first one.

    Parameters
    ----------
    least
        Least widths of the columns, in characters.
    room
        Characters in a line.

    Examples
    --------
    >>> blocks([4, 10, 10, 10], 32)
    [[0, 1, 2], [0, 3]]
    """
    made = [[0]]
    used = least[0]
    for column in range(1, len(least)):
        wanted = _GAP + least[column]
        if used + wanted > room and len(made[-1]) > 1:
            made.append([0])
            used = least[0]
        made[-1].append(column)
        used += wanted
    return made


def fitted(widths: Sequence[int], free: Sequence[bool], room: int) -> list[int]:
    """Return widths of columns that fit; the widest free ones give way first.

    Parameters
    ----------
    widths
        What the columns want, in characters.
    free
        Which of them may be shortened.
    room
        What there is for all of them.

    Examples
    --------
    >>> fitted([3, 40, 20], [False, True, True], 33)
    [3, 15, 15]
    >>> fitted([3, 40, 8], [False, True, True], 33)
    [3, 22, 8]
    """
    made = list(widths)
    excess = sum(made) - room
    while excess > 0:
        wide = [i for i, is_free in enumerate(free) if is_free and made[i] > _NARROWEST]
        if not wide:
            break
        widest = max(wide, key=lambda i: (made[i], i))
        made[widest] -= 1
        excess -= 1
    return made


def text_of(value: object) -> str:
    """Return a value as tables show it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value.value if isinstance(value, Enum) else value)


def _line(text: str) -> str:
    """Return text on one line, with nothing that a terminal would obey."""
    text = " ".join(text.split())
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text
    )


def _style(text: str) -> dict[str, Any]:
    if text.startswith(("ERROR", "FAILED", "TRANSITION_FAILED")):
        return {"fg": "red"}
    return {"fg": "green"} if text in ("COMPLETE", "COMPLETED") else {}


def _cells(text: str) -> int:
    """Return the number of character cells that a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shortened(text: str, width: int) -> str:
    """Return a text that is at most so wide; an ellipsis says that there is more."""
    if _cells(text) <= width:
        return text
    while _cells(text) >= width:
        text = text[:-1]
    return f"{text}…"
