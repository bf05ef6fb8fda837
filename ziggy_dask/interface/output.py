"""What commands print: aligned tables, or JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ziggy_dask.interface.table import Row, table

if TYPE_CHECKING:
    from ziggy_dask.datastore.comparing import Difference


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
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(table(rows, room))


def show_value(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(_plain(value), indent=2))


def console(*, stderr: bool = False) -> Any:
    """Return the console that output goes to; as wide as needed when it is not a terminal."""
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


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What an object does not show of itself is not for others.
        shown = (one.name for one in dataclasses.fields(value) if one.repr)
        return {name: _plain(getattr(value, name)) for name in shown}
    return str(value) if isinstance(value, Path) else value


def difference_rows(differences: Iterable[Difference]) -> list[Row]:
    """Return the lines of a table of values that differ."""
    return [
        {
            "product": one.path,
            "variable": one.variable,
            "item": one.item,
            "differing": one.differing,
            "of": one.values,
            "largest": one.largest,
            "relative": one.relative,
            "where": one.where,
            "note": one.note,
        }
        for one in differences
    ]
