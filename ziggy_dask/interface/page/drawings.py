"""Drawings: pictures of an instance, which take the database longer than tables."""

from __future__ import annotations

from collections.abc import Sequence

from ziggy_dask.definitions.drawing import PALETTE, lineage_svg
from ziggy_dask.interface.report.drawings import FAILED, durations_svg, timeline_svg
from ziggy_dask.records import Database, instances
from ziggy_dask.records.overview import NodeScore
from ziggy_dask.records.statistics import statistics
from ziggy_dask.records.timeline import timeline

PROGRESS = {
    "waiting": PALETTE[6],
    "processing": PALETTE[0],
    "complete": PALETTE[2],
    "failed": FAILED,
}
"""Colours of nodes by how far they are; the words stand beside them."""


def drawings(
    database: Database, number: int, scores: Sequence[NodeScore]
) -> dict[str, str]:
    """Return the HTML of the pictures of an instance by name of their panel.

    Parameters
    ----------
    database
        The records.
    number
        Number of the instance.
    scores
        Its scoreboard.
    """
    if not scores:
        nothing = '<p class="empty">This instance has no tasks.</p>'
        return dict.fromkeys(("graph", "timeline", "durations"), nothing)
    found = statistics(database, number)
    names = [one.node for one in scores]
    return {
        "graph": _graph(database, number, scores),
        "timeline": timeline_svg(timeline(database, number), names),
        "durations": durations_svg(found),
    }


def progress_of(score: NodeScore) -> str:
    """Say in one word how far a node is."""
    tasks = score.tasks
    if tasks.failed or score.failed:
        return "failed"
    if tasks.complete == tasks.total:
        return "complete"
    has_begun = tasks.processing or tasks.complete or score.complete
    return "processing" if has_begun else "waiting"


def _graph(database: Database, number: int, scores: Sequence[NodeScore]) -> str:
    pipeline, _ = instances.instance_pipeline(database, number)
    words = {one.node: progress_of(one) for one in scores}
    notes = {
        one.node: f"{words[one.node]}, {one.complete}/{one.subtasks}" for one in scores
    }
    shades = {node: PROGRESS[word] for node, word in words.items()}
    return lineage_svg(pipeline, notes, shades)
