"""Pictures of an instance as SVG that stands in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ziggy_dask.definitions.drawing import INK, PALETTE, WIDTH, shortened, svg
from ziggy_dask.display import Html, markup
from ziggy_dask.records.statistics import NodeStatistics
from ziggy_dask.records.timeline import Timeline

FAILED = "#d55e00"


def colours(nodes: Sequence[str]) -> dict[str, str]:
    """Return a colour for each node."""
    return {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(nodes)}


def timeline_svg(drawn: Timeline, nodes: Sequence[str]) -> Html:
    """Draw when subtasks ran: a row for each worker's thread, time to the right."""
    if not drawn.bars:
        return Html('<p class="zg-soft">no subtask has run</p>')
    left, top, step = 150, 30, 16
    places = {place: n for n, place in enumerate(drawn.rows)}
    scale = (WIDTH - left - 30) / (drawn.length_s or 1.0)
    height = top + step * len(places) + 28
    palette = colours(nodes)
    parts = [*_legend(palette, left)]
    for place, n in places.items():
        label = markup(shortened(place[0], 22)) if place[1] == 0 else ""
        y = top + n * step
        parts.append(f'<text x="0" y="{y + 10}" font-size="10" {INK}>{label}</text>')
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
            f'font-size="10" text-anchor="middle" {INK}>{moment:.3g} s</text>'
        )
    return svg("When subtasks ran", height, parts)


def durations_svg(found: Sequence[NodeStatistics]) -> Html:
    """Draw how long subtasks take: smallest to largest, median, 90th percentile."""
    shown = [one for one in found if one.times is not None]
    if not shown:
        return Html('<p class="zg-soft">no subtask is complete</p>')
    left, step = 150, 24
    most = max(one.times.largest for one in shown if one.times) or 1.0
    scale = (WIDTH - left - 60) / most
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
            f'<text x="0" y="{y + 11}" font-size="11" {INK}>'
            f"{markup(shortened(one.node, 22))}</text>"
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
            f'text-anchor="middle" {INK}>{most * part / 4:.3g} s</text>'
        )
    return svg("How long subtasks take", base + 22, parts)


def _legend(palette: Mapping[str, str], left: int) -> list[str]:
    parts, x = [], left
    for name, colour in [*palette.items(), ("failed", FAILED)]:
        shown = shortened(name, 18)
        if x + 8 * len(shown) + 20 > WIDTH:
            break
        parts.append(
            f'<rect x="{x}" y="4" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 14}" y="13" font-size="11" {INK}>{markup(shown)}</text>'
        )
        x += 8 * len(shown) + 26
    return parts
