"""Drawings: pictures of an instance, which take the database longer than tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ziggy_dask.definitions import Pipeline
from ziggy_dask.definitions.drawing import PALETTE, lineage_svg
from ziggy_dask.interface.page.memory import PARTS, memory_counts_svg, memory_svg
from ziggy_dask.interface.page.workers_and_jobs import workers_panel
from ziggy_dask.interface.report.drawings import FAILED, durations_svg, timeline_svg
from ziggy_dask.records import Database, instances
from ziggy_dask.records.overview import NodeScore
from ziggy_dask.records.statistics import NodeStatistics, memory_counts, statistics
from ziggy_dask.records.timeline import Timeline, timeline

PROGRESS = {
    "waiting": PALETTE[6],
    "processing": PALETTE[0],
    "complete": PALETTE[2],
    "failed": FAILED,
}
"""Colours of nodes by how far they are; the words stand beside them."""
_PICTURES = ("graph", "timeline", "memory", "workers", "durations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What pictures of an instance are made of, whatever the moment that they show."""

    pipeline: Pipeline
    """Its pipeline."""
    ran: Timeline
    """When its subtasks ran."""
    nodes: Sequence[NodeStatistics]
    """Its nodes in numbers."""
    memory: Mapping[str, Mapping[int, int]]
    """How many subtasks of each node had how much memory."""
    width_bytes: int
    """How much memory is one step of that."""


def material(database: Database, number: int) -> Material:
    """Return what pictures of an instance are made of."""
    ran = timeline(database, number)
    most = max((bar.memory_bytes for bar in ran.bars), default=0)
    width = most // PARTS + 1
    return Material(
        pipeline=instances.instance_pipeline(database, number)[0],
        ran=ran,
        nodes=statistics(database, number),
        memory=memory_counts(database, number, width),
        width_bytes=width,
    )


def drawings(
    made_of: Material | None, scores: Sequence[NodeScore], at_s: float | None
) -> dict[str, str]:
    """Return the HTML of the pictures of an instance by name of their panel.

    Parameters
    ----------
    made_of
        What they are made of; None: there is no instance.
    scores
        The scoreboard of the moment.
    at_s
        The moment, in seconds since 1970; None: now.
    """
    if made_of is None or not made_of.nodes:
        nothing = '<p class="empty">This instance has no tasks.</p>'
        return dict.fromkeys(_PICTURES, nothing)
    ran = made_of.ran
    if at_s is not None:
        ran = ran.until(at_s - ran.start_s)
    return {
        "graph": _graph(made_of.pipeline, scores),
        "timeline": timeline_svg(ran, [one.node for one in made_of.nodes]),
        "memory": memory_svg(ran, max(made_of.ran.memory(), default=0))
        + memory_counts_svg(made_of.memory, made_of.width_bytes),
        "workers": workers_panel(ran),
        "durations": durations_svg(made_of.nodes),
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


def _graph(pipeline: Pipeline, scores: Sequence[NodeScore]) -> str:
    words = {one.node: progress_of(one) for one in scores}
    notes = {
        one.node: f"{words[one.node]}, {one.complete}/{one.subtasks}" for one in scores
    }
    shades = {node: PROGRESS[word] for node, word in words.items()}
    return lineage_svg(pipeline, notes, shades)
