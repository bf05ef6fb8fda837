"""A pipeline as a picture: nodes, and the data types that they read and write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ziggy_dask.definitions.pipeline import DataReceiptStep, Pipeline
from ziggy_dask.display import Html, markup

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#5f666d")
"""Colours of nodes: those of Okabe and Ito, which colour-blind people tell apart."""
WIDTH = 920
"""Width of a picture that fills a page, in points."""
INK = 'fill="#1b2733" font-family="DejaVu Sans, sans-serif"'
"""How text is drawn."""


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


def lineage_svg(
    pipeline: Pipeline,
    notes: Mapping[str, str],
    colours: Mapping[str, str] | None = None,
) -> Html:
    """Draw nodes and the data types that they read and write.

    Parameters
    ----------
    pipeline
        The pipeline.
    notes
        A line below the name, by node.
    colours
        Colours by node, where they are not to be those of all nodes.
    """
    boxes, lines = arrange(pipeline)
    columns = max(box.column for box in boxes) + 1
    heights = [sum(b.column == c for b in boxes) for c in range(columns)]
    tallest = max(heights)
    wide, high = 136, 38
    across = wide + 26
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
        colour = PALETTE[2]
        if box.is_node:
            colour = (colours or {}).get(box.name, PALETTE[0])
        note = notes.get(box.name, "") if box.is_node else ""
        parts.append(
            f'<rect x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}" width="{wide}" '
            f'height="{high}" rx="{5 if box.is_node else 19}" fill="{colour}" '
            f'fill-opacity="0.13" stroke="{colour}"/>'
            f'<text x="{x:.1f}" y="{y + (-1 if note else 4):.1f}" font-size="12" '
            f'text-anchor="middle" {INK}>{markup(shortened(box.name, 18))}'
            f"<title>{markup(box.name)}</title></text>"
        )
        if note:
            parts.append(
                f'<text x="{x:.1f}" y="{y + 12:.1f}" font-size="10" '
                f'text-anchor="middle" {INK}>{markup(note)}</text>'
            )
    height = tallest * (high + 16) + 6
    return svg("Where products come from", height, parts, columns * across)


def _lines(pipeline: Pipeline) -> list[tuple[tuple[str, bool], tuple[str, bool]]]:
    found: dict[tuple[tuple[str, bool], tuple[str, bool]], None] = {}
    for node in pipeline.ordered:
        here = (node.name, True)
        if isinstance(node.step, DataReceiptStep):
            brought = [one.name for one in pipeline.delivered]
            found.update(dict.fromkeys((here, (name, False)) for name in brought))
        found.update(
            dict.fromkeys(((one.data_type, False), here) for one in node.inputs)
        )
        found.update(dict.fromkeys((here, (name, False)) for name in node.outputs))
        found.update(dict.fromkeys(((name, True), here) for name in node.after))
    return list(found)


def shortened(text: str, most: int) -> str:
    """Return a text of so many characters at most."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def svg(title: str, height: float, parts: Sequence[str], width: float = WIDTH) -> Html:
    """Return a picture of so many points in height, made of its elements."""
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{markup(title)}">'
        f"{''.join(parts)}</svg>"
    )
