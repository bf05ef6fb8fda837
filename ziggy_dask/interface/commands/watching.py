"""``--json`` and ``--watch``: one way for all commands that show how things stand."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import wraps
from typing import Any

import click

from ziggy_dask.interface.commands.context import json_option

PERIOD_S = 1.0
"""Time between two looks, in seconds."""
INTERRUPTED = 130


def watchable(function: Callable[..., bool | None]) -> Callable[..., None]:
    """Add ``--json`` and ``--watch`` to a command that prints how things stand.

    The function returns True when what it shows has ended, so that watching ends too.
    On a terminal, what it prints takes the place of what it printed before; elsewhere
    it is printed again when it has changed.
    """

    @wraps(function)
    def command(*args: Any, watch: bool, **options: Any) -> None:
        if not watch:
            function(*args, **options)
            return
        try:
            _follow(lambda: function(*args, **options))
        except KeyboardInterrupt:
            click.get_current_context().exit(INTERRUPTED)

    option = click.option(
        "--watch", is_flag=True, help="Look every second, to the end or to Ctrl-C."
    )
    made: Callable[..., None] = json_option(option(command))
    return made


def _follow(look: Callable[[], bool | None]) -> None:
    """Show what a function prints, again and again, until it says that it is over."""
    if not sys.stdout.isatty():
        for text in _changes(_looks(look)):
            click.echo(text, nl=False)
        return
    from rich.live import Live
    from rich.text import Text

    from ziggy_dask.interface.output import console

    with Live(console=console(), auto_refresh=False, vertical_overflow="crop") as live:
        for text in _changes(_looks(look)):
            live.update(Text.from_ansi(text, no_wrap=True), refresh=True)


def _looks(look: Callable[[], bool | None]) -> Iterator[str]:
    while True:
        printed = _Terminal() if sys.stdout.isatty() else io.StringIO()
        with redirect_stdout(printed):
            is_over = look()
        yield printed.getvalue()
        if is_over:
            return
        time.sleep(PERIOD_S)


def _changes(texts: Iterator[str]) -> Iterator[str]:
    last = None
    for text in texts:
        if text != last:
            yield text
        last = text


class _Terminal(io.StringIO):
    """Keeps what is printed, and looks like the terminal that it will go to."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True
