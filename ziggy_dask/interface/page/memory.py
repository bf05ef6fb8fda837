"""Memory: pictures of what workers needed, over time and by node."""

from __future__ import annotations

from collections.abc import Mapping

from ziggy_dask.definitions.drawing import INK, PALETTE, WIDTH, shortened, svg
from ziggy_dask.display import Html, markup
from ziggy_dask.interface.report.drawings import colours
from ziggy_dask.records.timeline import Timeline

_LEFT, _TOP, _HIGH = 150, 8, 120
_ROW = 40
PARTS = 60
"""Parts into which memory is divided to count subtasks."""


def memory_svg(ran: Timeline, most: int) -> Html:
    """Draw the memory of all workers together, time to the right.

    Parameters
    ----------
    ran
        When subtasks ran, perhaps up to a moment.
    most
        The top of the scale, in bytes.
    """
    if not ran.bars:
        return Html('<p class="zg-soft">no subtask has run</p>')
    values = ran.memory()
    step = (WIDTH - _LEFT - 30) / len(values)
    base = _TOP + _HIGH
    corners = [f"M{_LEFT} {base}"]
    for part, value in enumerate(values):
        y = base - value / (most or 1) * _HIGH
        corners.append(f"V{y:.1f}H{_LEFT + (part + 1) * step:.1f}")
    area = (
        f'<path d="{"".join(corners)}V{base}Z" fill="{PALETTE[4]}" fill-opacity="0.5" '
        f'stroke="{PALETTE[0]}"><title>at most {max(values) / 1e6:.0f} MB</title></path>'
    )
    parts = [area]
    for share in (0.0, 0.5, 1.0):
        y = base - share * _HIGH
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - 30}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="#8895a3" stroke-opacity="0.35"/><text x="{_LEFT - 8}" '
            f'y="{y + 4:.1f}" font-size="10" text-anchor="end" {INK}>'
            f"{share * most / 1e6:.0f} MB</text>"
        )
    for part in range(5):
        x = _LEFT + (WIDTH - _LEFT - 30) * part / 4
        parts.append(
            f'<text x="{x:.1f}" y="{base + 16}" font-size="10" text-anchor="middle" '
            f"{INK}>{ran.length_s * part / 4:.3g} s</text>"
        )
    return svg("Memory of all workers together", base + 24, parts)


def memory_counts_svg(
    counts: Mapping[str, Mapping[int, int]], width_bytes: int
) -> Html:
    """Draw how many subtasks of each node had how much memory, memory to the right."""
    if not counts:
        return Html('<p class="zg-soft">no subtask is complete</p>')
    step = (WIDTH - _LEFT - 30) / PARTS
    palette = colours(list(counts))
    parts = []
    for row, (node, found) in enumerate(counts.items()):
        base, most = (row + 1) * _ROW, max(found.values())
        parts.append(
            f'<text x="0" y="{base - 10}" font-size="11" {INK}>'
            f"{markup(shortened(node, 22))}</text>"
        )
        for part, count in found.items():
            high = max(count / most * (_ROW - 8), 1)
            parts.append(
                f'<rect x="{_LEFT + min(part, PARTS - 1) * step:.1f}" '
                f'y="{base - high:.1f}" width="{step:.1f}" height="{high:.1f}" '
                f'fill="{palette[node]}"><title>{markup(node)}: {count} subtasks with '
                f"{part * width_bytes / 1e6:.0f} to {(part + 1) * width_bytes / 1e6:.0f} MB"
                "</title></rect>"
            )
    base = len(counts) * _ROW
    parts.append(
        f'<line x1="{_LEFT}" x2="{WIDTH - 30}" y1="{base}" y2="{base}" stroke="#8895a3"/>'
    )
    for part in range(5):
        x = _LEFT + (WIDTH - _LEFT - 30) * part / 4
        parts.append(
            f'<text x="{x:.1f}" y="{base + 14}" font-size="10" text-anchor="middle" '
            f"{INK}>{part / 4 * PARTS * width_bytes / 1e6:.0f} MB</text>"
        )
    return svg("Memory of subtasks by node", base + 22, parts)
