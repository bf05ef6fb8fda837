"""What commands print: aligned tables, or JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import click

Row = Mapping[str, Any]


def show(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Print rows as a table, or as a JSON list.

    Parameters
    ----------
    rows
        Rows with the same keys; keys are the headings.
    as_json
        Whether to print JSON.
    empty
        What to say when there are none.
    """
    if as_json:
        show_value([dict(row) for row in rows])
        return
    if not rows:
        click.echo(empty)
        return
    target = console()
    room = target.width if sys.stdout.isatty() else None
    target.print(table(rows, room), soft_wrap=True)


def show_value(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(_plain(value), indent=2))


def table(rows: Sequence[Row], room: int | None = None) -> Any:
    """Return rows, of which there is at least one, as a table for a rich console.

    Parameters
    ----------
    rows
        The rows.
    room
        Characters in a line; columns of text are shortened to fit. None: any number.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    headings = [name.replace("_", " ") for name in rows[0]]
    columns = [[row.get(name) for row in rows] for name in rows[0]]
    widths = [
        max(cell_len(text) for text in (heading, *map(_line, values)))
        for heading, values in zip(headings, columns, strict=True)
    ]
    free = [
        name not in _WHOLE and all(isinstance(one, str | None) for one in values)
        for name, values in zip(rows[0], columns, strict=True)
    ]
    if room is not None:
        widths = fitted(widths, free, room - 3 * (len(widths) - 1))
    for heading, values, width in zip(headings, columns, widths, strict=True):
        right = any(isinstance(one, int | float) for one in values) and not any(
            isinstance(one, bool | str) for one in values
        )
        made.add_column(
            Text(heading, overflow="ellipsis", no_wrap=True),
            justify="right" if right else "left",
            width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for line in zip(*columns, strict=True):
        made.add_row(*(Text(_line(value), style=_style(value)) for value in line))
    return made


_WHOLE = ("id", "state", "kind", "cause", "change", "severity", "example", "snapshot")
"""Columns that are of use only whole."""
_NARROWEST = 6


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


def console(*, stderr: bool = False) -> Any:
    """Return the console that output goes to; as wide as needed when it is no terminal."""
    from rich.console import Console

    plain = Console(stderr=stderr)
    stream = sys.stderr if stderr else sys.stdout
    return plain if stream.isatty() else Console(stderr=stderr, width=_ANY_WIDTH)


_ANY_WIDTH = 100_000


def colours() -> bool | None:
    """Return whether output is to have colours; None: if it goes to a terminal.

    As on https://no-color.org and https://force-color.org: variables that are set and
    not empty count.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def choose_colours(choice: str) -> None:
    """Make ``always`` or ``never`` hold for all that this process and its own print."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        if choice != "auto":
            os.environ.pop(name, None)
    if choice == "always":
        os.environ["FORCE_COLOR"] = "1"
    elif choice == "never":
        os.environ["NO_COLOR"] = "1"


def _line(value: object) -> str:
    """Return a value on one line."""
    return " ".join(_text(value).split())


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, Enum):
        return str(value.value)
    return "" if value is None else str(value)


def _style(value: object) -> str:
    text = _text(value)
    if text.startswith(("ERROR", "FAILED", "TRANSITION_FAILED")):
        return "red"
    return "green" if text in ("COMPLETE", "COMPLETED") else ""


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return str(value) if isinstance(value, Path) else value
