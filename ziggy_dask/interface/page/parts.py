"""Parts that panels are made of: tables, buttons, numbers. Cells are HTML already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from ziggy_dask.interface.page.view import PAGE


def state(text: str) -> str:
    """Return a state, coloured by what it is."""
    return f'<span class="state" data-state="{escape(text)}">{escape(text)}</span>'


def seconds(start: datetime | None, end: datetime | None) -> str:
    """Return the time from one moment to another, or to now, in seconds."""
    if start is None:
        return ""
    taken = ((end or datetime.now(UTC)) - start).total_seconds()
    return f'<span class="number">{taken:.1f}</span>'


def clock(seconds: float) -> str:
    """Return what a clock shows, in seconds; nothing if it never ran."""
    return f'<span class="number">{seconds:.1f}</span>' if seconds else ""


def button(verb: str, value: object, text: str, *, pressed: bool = False) -> str:
    """Return a button that asks the server to do something with a value."""
    mark = ' aria-pressed="true"' if pressed else ""
    return (
        f'<button data-do="{verb}" data-value="{escape(str(value))}"{mark}>'
        f"{escape(text)}</button>"
    )


def table(heads: Iterable[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Return a table, or a line that says why there is none."""
    if not rows:
        return f'<p class="empty">{escape(empty)}</p>'
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def pages(verb: str, page: int, total: int) -> str:
    """Return where in a list a page of it is, and buttons to others."""
    last = max(0, (total - 1) // PAGE)
    parts = [f"page {page + 1} of {last + 1}, {total} rows"]
    if page > 0:
        parts.append(button(verb, page - 1, "previous"))
    if page < last:
        parts.append(button(verb, page + 1, "next"))
    return f"<p>{' '.join(parts)}</p>"


def number(value: object) -> str:
    """Return a number that stands below others."""
    return f'<span class="number">{value}</span>'
