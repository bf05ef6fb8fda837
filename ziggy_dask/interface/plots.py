"""Pictures of an instance for notebooks, in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ziggy_dask.definitions.drawing import PALETTE, arrange
from ziggy_dask.records import Database, instances
from ziggy_dask.records.statistics import statistics
from ziggy_dask.records.timeline import timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAILED = "#d55e00"


class InstancePlots:
    """Pictures of an instance. Each returns the axes that it drew in.

    Parameters
    ----------
    database
        Has all that is drawn.
    instance
        Number of the instance.
    """

    def __init__(self, database: Database, instance: int) -> None:
        self._database = database
        self._instance = instance

    def __repr__(self) -> str:
        """Say what can be drawn."""
        return f"<plots of instance {self._instance}: timeline, durations, lineage>"

    def timeline(self, ax: Axes | None = None) -> Axes:
        """Draw when subtasks ran: a row for each worker's thread, time to the right."""
        from matplotlib.patches import Patch

        drawn = timeline(self._database, self._instance)
        nodes = [one.node for one in statistics(self._database, self._instance)]
        palette = {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(nodes)}
        places = {place: n for n, place in enumerate(drawn.rows)}
        axes = _axes(ax, 1.2 + 0.25 * len(places))
        for bar in drawn.bars:
            axes.barh(
                places[bar.worker, bar.row],
                bar.end_s - bar.start_s,
                left=bar.start_s,
                height=0.8,
                color=_FAILED if bar.failed else palette[bar.node],
            )
        axes.set_yticks(list(places.values()), [worker for worker, _ in places])
        axes.invert_yaxis()
        axes.set_xlabel("time, s")
        shown = [Patch(color=colour, label=name) for name, colour in palette.items()]
        if any(bar.failed for bar in drawn.bars):
            shown.append(Patch(color=_FAILED, label="failed"))
        axes.legend(handles=shown, loc="upper left", bbox_to_anchor=(1, 1))
        return axes

    def durations(self, ax: Axes | None = None) -> Axes:
        """Draw times of complete subtasks: extremes, median, 90th percentile."""
        numbers = statistics(self._database, self._instance)
        found = [one for one in numbers if one.times is not None]
        axes = _axes(ax, 1.2 + 0.4 * len(found))
        for row, one in enumerate(found):
            times = one.times
            if times is None:
                continue
            colour = PALETTE[row % len(PALETTE)]
            middle, high = times.percentiles[50], times.percentiles[90]
            axes.plot([times.smallest, times.largest], [row, row], color=colour)
            axes.barh(
                row, high - middle, left=middle, height=0.5, color=colour, alpha=0.4
            )
            axes.plot(
                [middle], [row], "|", color=colour, markersize=16, markeredgewidth=3
            )
        axes.set_yticks(range(len(found)), [one.node for one in found])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("time of a subtask, s")
        return axes

    def lineage(self, ax: Axes | None = None) -> Axes:
        """Draw where products come from: nodes, and data types that they read and write."""
        pipeline, _ = instances.instance_pipeline(self._database, self._instance)
        boxes, lines = arrange(pipeline)
        heights = [sum(b.column == c for b in boxes) for c in range(len(boxes))]
        axes = _axes(ax, 1 + 0.6 * max(heights))
        place = {
            box: (box.column, -(box.row + 0.5) * max(heights) / heights[box.column])
            for box in boxes
        }
        for start, end in lines:
            (x0, y0), (x1, y1) = place[start], place[end]
            axes.plot([x0, x1], [y0, y1], color="0.7", zorder=1)
        for box, (x, y) in place.items():
            colour = PALETTE[0] if box.is_node else PALETTE[2]
            style = "square" if box.is_node else "round"
            patch = {"boxstyle": f"{style},pad=0.4", "fc": "white", "ec": colour}
            axes.text(x, y, box.name, ha="center", va="center", fontsize=8, bbox=patch)
        axes.set_xlim(-0.7, max(box.column for box in boxes) + 0.7)
        axes.set_ylim(-max(heights) - 0.2, 0.2)
        axes.axis("off")
        return axes


def _axes(ax: Axes | None, height: float) -> Axes:
    """Return where to draw: what was given, or a new figure."""
    import matplotlib.pyplot as plt

    if ax is not None:
        return ax
    return plt.subplots(figsize=(9, height), layout="constrained")[1]
