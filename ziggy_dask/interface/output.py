"""What commands print: aligned tables, or JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
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
        click.echo(json.dumps([_plain(dict(row)) for row in rows], indent=2))
        return
    if not rows:
        click.echo(empty)
        return
    console().print(table(rows))


def table(rows: Sequence[Row]) -> Any:
    """Return rows, of which there is at least one, as a table for a rich console."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        right = isinstance(value, int | float) and not isinstance(value, bool)
        made.add_column(name.replace("_", " "), justify="right" if right else "left")
    for row in rows:
        made.add_row(
            *(Text(_text(value), style=_style(value)) for value in row.values())
        )
    return made


def console() -> Any:
    """Return the console that tables go to; as wide as needed when it is no terminal."""
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal else Console(width=200)


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
