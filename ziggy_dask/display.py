"""Pieces of HTML that everything shown to people is made of.

Text is escaped where it enters; what is HTML already says so by its type.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum


class Html(str):
    """Text that is HTML, and not to be escaped again."""

    __slots__ = ()


STYLE = """
.zg { --zg-ink: #1b2733; --zg-soft: #5c6b7a; --zg-line: #d9e0e7; --zg-back: #ffffff;
  --zg-shade: #f4f7f9; --zg-blue: #0072b2; --zg-green: #00795c; --zg-red: #b3460b;
  --zg-amber: #8a6500; color: var(--zg-ink); background: var(--zg-back);
  font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; line-height: 1.45; }
@media (prefers-color-scheme: dark) { .zg { --zg-ink: #e3e9ee; --zg-soft: #9aa8b5;
  --zg-line: #3a4550; --zg-back: #14191e; --zg-shade: #1e252c; --zg-blue: #56b4e9;
  --zg-green: #3ecba5; --zg-red: #f08a4b; --zg-amber: #e6b93d; } }
html[data-theme="light"] .zg, body[data-jp-theme-light="true"] .zg { --zg-ink: #1b2733;
  --zg-soft: #5c6b7a; --zg-line: #d9e0e7; --zg-back: #ffffff; --zg-shade: #f4f7f9;
  --zg-blue: #0072b2; --zg-green: #00795c; --zg-red: #b3460b; --zg-amber: #8a6500; }
html[data-theme="dark"] .zg, body[data-jp-theme-light="false"] .zg, body.vscode-dark .zg {
  --zg-ink: #e3e9ee; --zg-soft: #9aa8b5; --zg-line: #3a4550; --zg-back: #14191e;
  --zg-shade: #1e252c; --zg-blue: #56b4e9; --zg-green: #3ecba5; --zg-red: #f08a4b;
  --zg-amber: #e6b93d; }
.zg-card { border: 1px solid var(--zg-line); border-radius: 6px; padding: 8px 12px;
  max-width: 960px; }
.zg-head { display: flex; gap: 10px; align-items: baseline; flex-wrap: wrap;
  padding-bottom: 4px; }
.zg-head b { font-size: 15px; }
.zg-soft { color: var(--zg-soft); }
.zg details { border-top: 1px solid var(--zg-line); padding: 4px 0; }
.zg summary { cursor: pointer; font-weight: 600; }
.zg summary span { color: var(--zg-soft); font-weight: 400; }
.zg .zg-wide { overflow-x: auto; }
.zg table { border-collapse: collapse; margin: 4px 0; font-size: 12px; color: inherit; }
.zg th, .zg td { text-align: left; padding: 3px 12px 3px 0; vertical-align: top;
  border: 0; border-bottom: 1px solid var(--zg-line); background: none; color: inherit; }
.zg th { color: var(--zg-soft); font-weight: 600; white-space: nowrap; }
.zg td.zg-n, .zg th.zg-n { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.zg time { white-space: nowrap; }
.zg-good { color: var(--zg-green); font-weight: 600; }
.zg-bad { color: var(--zg-red); font-weight: 600; }
.zg-busy { color: var(--zg-amber); font-weight: 600; }
.zg-bar { display: inline-block; width: 110px; height: 8px; border-radius: 4px;
  background: var(--zg-line); overflow: hidden; white-space: nowrap; font-size: 0; }
.zg-bar i { display: inline-block; height: 8px; background: var(--zg-green); }
.zg-bar i.zg-fail { background: var(--zg-red); }
.zg pre, .zg code { font-family: ui-monospace, "DejaVu Sans Mono", monospace;
  font-size: 11.5px; color: inherit; background: none; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.zg svg { max-width: 100%; height: auto; display: block; }
.zg svg text { fill: var(--zg-ink); }
"""


def markup(value: object) -> Html:
    """Return a value as HTML: numbers and times in a form that programs can read."""
    if isinstance(value, Html):
        return value
    if isinstance(value, Enum):
        return markup(value.value)
    if isinstance(value, bool) or value is None:
        return Html("" if value is None else str(value).lower())
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        full = moment.isoformat(timespec="milliseconds")
        return Html(f'<time datetime="{full}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>')
    return Html(html.escape(str(value)))


def number(value: float, shown: str = "") -> Html:
    """Return a number as it is shown, and in full for programs that read the page."""
    text = shown or (f"{value:,}" if isinstance(value, int) else f"{value:.3g}")
    return Html(f'<data value="{value!r}">{html.escape(text)}</data>')


def seconds(value: float) -> Html:
    """Return a time that something took."""
    if value < 0.0995:
        return number(value, f"{value * 1e3:.3g} ms")
    if value < 120:
        return number(value, f"{value:.3g} s")
    minutes, rest = divmod(round(value), 60)
    return number(value, f"{minutes // 60}:{minutes % 60:02}:{rest:02}")


def size(value: float) -> Html:
    """Return a number of bytes."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return number(value, f"{value / scale:.3g} {unit}")
    return number(value, f"{value:g} B")


def state(text: str) -> Html:
    """Return a state in its colour."""
    good = text in ("COMPLETE", "COMPLETED")
    bad = text.startswith(("ERROR", "FAILED", "TRANSITION_FAILED"))
    kind = "good" if good else "bad" if bad else "busy"
    return Html(f'<span class="zg-{kind}">{markup(text)}</span>')


def bar(complete: int, failed: int, total: int) -> Html:
    """Return a bar that shows how many of so many are complete or failed."""
    parts = ""
    for count, kind in ((complete, "zg-done"), (failed, "zg-fail")):
        if count and total:
            parts += f'<i class="{kind}" style="width:{100 * count / total:.4g}%"></i>'
    return Html(f'<span class="zg-bar">{parts}</span>')


def table(rows: Sequence[Mapping[str, object]], name: str = "") -> Html:
    """Return rows as a table; keys of the first are the headings."""
    if not rows:
        return Html('<p class="zg-soft">none</p>')
    right = {key: _is_number(value) for key, value in rows[0].items()}
    head = "".join(f"<th{_side(right[key])}>{markup(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_side(right[key])}>{markup(value)}</td>" for key, value in row.items()
        )
        + "</tr>\n"
        for row in rows
    )
    mark = f' id="{name}"' if name else ""
    return Html(
        f'<div class="zg-wide"><table{mark}><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(
    title: str, body: Html, note: object = "", *, is_open: bool = False
) -> Html:
    """Return a part that can be folded."""
    more = f" <span>{markup(note)}</span>" if note != "" else ""
    opened = " open" if is_open else ""
    return Html(
        f"<details{opened}><summary>{markup(title)}{more}</summary>{body}</details>"
    )


def card(kind: str, name: object, note: Html, sections: Iterable[Html]) -> str:
    """Return what a notebook shows of an object."""
    return (
        f'<div class="zg"><style>{STYLE}</style><div class="zg-card">'
        f'<div class="zg-head"><span class="zg-soft">{markup(kind)}</span>'
        f"<b>{markup(name)}</b>{note}</div>{''.join(sections)}</div></div>"
    )


def _is_number(value: object) -> bool:
    if isinstance(value, Html):
        return value.startswith("<data")
    return isinstance(value, int | float) and not isinstance(value, bool)


def _side(is_right: bool) -> str:
    return ' class="zg-n"' if is_right else ""
