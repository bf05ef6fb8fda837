"""Memory: a picture of what workers needed while an instance ran."""

from __future__ import annotations

from ziggy_dask.definitions.drawing import INK, PALETTE, WIDTH, svg
from ziggy_dask.display import Html
from ziggy_dask.records.timeline import Timeline

_LEFT, _TOP, _HIGH = 150, 8, 120


def memory_svg(ran: Timeline) -> Html:
    """Draw the memory of all workers together, time to the right."""
    if not ran.bars:
        return Html('<p class="zg-soft">no subtask has run</p>')
    values = ran.memory()
    most = max(values) or 1
    step = (WIDTH - _LEFT - 30) / len(values)
    base = _TOP + _HIGH
    corners = [f"M{_LEFT} {base}"]
    for part, value in enumerate(values):
        y = base - value / most * _HIGH
        corners.append(f"V{y:.1f}H{_LEFT + (part + 1) * step:.1f}")
    area = (
        f'<path d="{"".join(corners)}V{base}Z" fill="{PALETTE[4]}" fill-opacity="0.5" '
        f'stroke="{PALETTE[0]}"><title>at most {most / 1e6:.0f} MB</title></path>'
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
