"""Pictures of an instance as SVG that stands in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ziggy_dask.definitions import DataReceiptStep, Pipeline
from ziggy_dask.display import Html, markup
from ziggy_dask.records.statistics import NodeStatistics
from ziggy_dask.records.timeline import Timeline

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6bb1", "#7a8793")
"""Colours of nodes, told apart also by people who see few colours."""
FAILED = "#d55e00"
_WIDTH = 920
_INK = 'fill="#1b2733" font-family="DejaVu Sans, sans-serif"'


def colours(nodes: Sequence[str]) -> dict[str, str]:
    """Return a colour for each node."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(nodes)}


def timeline_svg(drawn: Timeline, nodes: Sequence[str]) -> Html:
    """Draw when subtasks ran: a row for each worker's thread, time to the right."""
    if not drawn.bars:
        return Html('<p class="zg-soft">no subtask has run</p>')
    left, top, step = 150, 30, 16
    places = {place: n for n, place in enumerate(drawn.rows)}
    scale = (_WIDTH - left - 30) / (drawn.length_s or 1.0)
    height = top + step * len(places) + 28
    palette = colours(nodes)
    parts = [*_legend(palette, left)]
    for place, n in places.items():
        label = markup(_short(place[0], 22)) if place[1] == 0 else ""
        y = top + n * step
        parts.append(f'<text x="0" y="{y + 10}" font-size="10" {_INK}>{label}</text>')
    for bar in drawn.bars:
        y = top + places[bar.worker, bar.row] * step
        width = max((bar.end_s - bar.start_s) * scale, 1.0)
        told = f"{bar.node}: {bar.count} subtasks" if bar.count > 1 else bar.node
        parts.append(
            f'<rect x="{left + bar.start_s * scale:.2f}" y="{y}" width="{width:.2f}" '
            f'height="12" fill="{FAILED if bar.failed else palette[bar.node]}">'
            f"<title>{markup(told)}, {bar.start_s:.3g} s to {bar.end_s:.3g} s"
            f"{f', {bar.failed} failed' if bar.failed else ''}</title></rect>"
        )
    base = top + step * len(places) + 4
    for part in range(5):
        moment = drawn.length_s * part / 4
        x = left + moment * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{base}" '
            f'stroke="#8895a3" stroke-opacity="0.35"/><text x="{x:.1f}" y="{base + 14}" '
            f'font-size="10" text-anchor="middle" {_INK}>{moment:.3g} s</text>'
        )
    return _svg("When subtasks ran", height, parts)


def durations_svg(found: Sequence[NodeStatistics]) -> Html:
    """Draw how long subtasks take: smallest to largest, median, 90th percentile."""
    shown = [one for one in found if one.times is not None]
    if not shown:
        return Html('<p class="zg-soft">no subtask is complete</p>')
    left, step = 150, 24
    most = max(one.times.largest for one in shown if one.times) or 1.0
    scale = (_WIDTH - left - 60) / most
    palette = colours([one.node for one in found])
    parts = []
    for n, one in enumerate(shown):
        times = one.times
        if times is None:
            continue
        y = n * step + 6
        small, large = times.smallest * scale + left, times.largest * scale + left
        middle, high = (times.percentiles[p] * scale + left for p in (50, 90))
        colour = palette[one.node]
        parts.append(
            f'<text x="0" y="{y + 11}" font-size="11" {_INK}>'
            f"{markup(_short(one.node, 22))}</text>"
            f'<line x1="{small:.2f}" x2="{large:.2f}" y1="{y + 7}" y2="{y + 7}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<rect x="{middle:.2f}" y="{y}" width="{max(high - middle, 1):.2f}" '
            f'height="14" fill="{colour}" fill-opacity="0.35"/>'
            f'<line x1="{middle:.2f}" x2="{middle:.2f}" y1="{y}" y2="{y + 14}" '
            f'stroke="{colour}" stroke-width="3"/>'
        )
    base = len(shown) * step + 8
    for part in range(5):
        x = left + most * part / 4 * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{base}" stroke="#8895a3" '
            f'stroke-opacity="0.35"/><text x="{x:.1f}" y="{base + 14}" font-size="10" '
            f'text-anchor="middle" {_INK}>{most * part / 4:.3g} s</text>'
        )
    return _svg("How long subtasks take", base + 22, parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node or a data type in the picture of a pipeline."""

    name: str
    """Its name."""
    is_node: bool
    """Whether it is a node; else a data type."""
    column: int
    """Column, from 0, left to right."""
    row: int
    """Row within the column, from 0."""


def arrange(pipeline: Pipeline) -> tuple[list[Box], list[tuple[Box, Box]]]:
    """Place nodes and data types in columns, each to the right of what it comes from."""
    lines = _lines(pipeline)
    columns: dict[tuple[str, bool], int] = {}
    for _, end in lines:
        columns[end] = 0
    columns |= {start: 0 for start, _ in lines if start not in columns}
    columns |= {
        (node.name, True): 0
        for node in pipeline.nodes
        if (node.name, True) not in columns
    }
    for _ in columns:
        for start, end in lines:
            columns[end] = max(columns[end], columns[start] + 1)
    rows: dict[int, int] = {}
    boxes = {}
    for (name, is_node), column in columns.items():
        row = rows.get(column, 0)
        rows[column] = row + 1
        boxes[name, is_node] = Box(name=name, is_node=is_node, column=column, row=row)
    return list(boxes.values()), [(boxes[a], boxes[b]) for a, b in lines]


def lineage_svg(pipeline: Pipeline, notes: Mapping[str, str]) -> Html:
    """Draw nodes and the data types that they read and write.

    Parameters
    ----------
    pipeline
        The pipeline.
    notes
        A line below the name, by node.
    """
    boxes, lines = arrange(pipeline)
    columns = max(box.column for box in boxes) + 1
    heights = [sum(b.column == c for b in boxes) for c in range(columns)]
    tallest = max(heights)
    wide, high = 150, 38
    across = wide + 36
    middle = {
        box: (
            box.column * across + wide / 2 + 4,
            (box.row + 0.5) * tallest / heights[box.column] * (high + 16) + 2,
        )
        for box in boxes
    }
    parts = []
    for start, end in lines:
        (x0, y0), (x1, y1) = middle[start], middle[end]
        x0, x1 = x0 + wide / 2, x1 - wide / 2
        half = (x0 + x1) / 2
        parts.append(
            f'<path d="M{x0:.1f} {y0:.1f}C{half:.1f} {y0:.1f} {half:.1f} {y1:.1f} '
            f'{x1:.1f} {y1:.1f}" fill="none" stroke="#8895a3" stroke-width="1.3"/>'
        )
    for box, (x, y) in middle.items():
        colour = PALETTE[0] if box.is_node else PALETTE[2]
        note = notes.get(box.name, "") if box.is_node else ""
        parts.append(
            f'<rect x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}" width="{wide}" '
            f'height="{high}" rx="{5 if box.is_node else 19}" fill="{colour}" '
            f'fill-opacity="0.13" stroke="{colour}"/>'
            f'<text x="{x:.1f}" y="{y + (-1 if note else 4):.1f}" font-size="12" '
            f'text-anchor="middle" {_INK}>{markup(_short(box.name, 20))}'
            f"<title>{markup(box.name)}</title></text>"
        )
        if note:
            parts.append(
                f'<text x="{x:.1f}" y="{y + 12:.1f}" font-size="10" '
                f'text-anchor="middle" {_INK}>{markup(note)}</text>'
            )
    height = tallest * (high + 16) + 6
    return _svg("Where products come from", height, parts, columns * across)


def _lines(pipeline: Pipeline) -> list[tuple[tuple[str, bool], tuple[str, bool]]]:
    found: dict[tuple[tuple[str, bool], tuple[str, bool]], None] = {}
    for node in pipeline.ordered:
        here = (node.name, True)
        if isinstance(node.step, DataReceiptStep):
            brought = [one.name for one in pipeline.data_types if one.reader]
            found.update(dict.fromkeys((here, (name, False)) for name in brought))
        found.update(
            dict.fromkeys(((one.data_type, False), here) for one in node.inputs)
        )
        found.update(dict.fromkeys((here, (name, False)) for name in node.outputs))
        found.update(dict.fromkeys(((name, True), here) for name in node.after))
    return list(found)


def _legend(palette: Mapping[str, str], left: int) -> list[str]:
    parts, x = [], left
    for name, colour in [*palette.items(), ("failed", FAILED)]:
        shown = _short(name, 18)
        if x + 8 * len(shown) + 20 > _WIDTH:
            break
        parts.append(
            f'<rect x="{x}" y="4" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 14}" y="13" font-size="11" {_INK}>{markup(shown)}</text>'
        )
        x += 8 * len(shown) + 26
    return parts


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(
    title: str, height: float, parts: Sequence[str], width: float = _WIDTH
) -> Html:
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{markup(title)}">'
        f"{''.join(parts)}</svg>"
    )
