"""The Dask graph of a plan as a picture: a column per node, a dot per subtask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.whole_files import file_written, write_file
from ziggy_dask.planning import Key, Plan, TaskGraph, layout_graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOKEN = "0" * 32
_MOST = 400
"""Most dots in a column; a node with more subtasks is drawn as one dot per task."""
_ENDINGS = (".svg", ".png", ".pdf", ".dot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A key of the graph, or a task of which the keys are not drawn."""

    name: str
    """Identifies it."""
    node: str
    """Node that it belongs to; its column."""
    label: str
    """What stands beside it."""
    is_open: bool
    """Whether it stands for subtasks that are not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Dots and the lines between them."""

    dots: tuple[Dot, ...]
    """All dots, node by node."""
    lines: tuple[tuple[str, str], ...]
    """Names of dots: what is waited for, and what waits."""


def draw_plan(plan: Plan, path: Path) -> None:
    """Write the picture of a plan's graph to a file.

    Raises
    ------
    DefinitionError
        If the file's ending is none of .svg, .png, .pdf and .dot, or nothing is
        planned.
    """
    if path.suffix not in _ENDINGS:
        raise DefinitionError(
            f"{path}: can't draw that kind of file; use one of: {', '.join(_ENDINGS)}"
        )
    if not plan.tasks:
        raise DefinitionError("there is nothing to draw: " + "; ".join(plan.warnings))
    picture = picture_of(plan)
    if path.suffix == ".dot":
        write_file(path, _dot_text(picture))
    else:
        _plot(picture, plan, path)


def picture_of(plan: Plan) -> Picture:
    """Return what to draw for a plan."""
    closed = [task for task in plan.tasks if not task.is_open]
    known = {task.index for task in closed}
    laid_out = [task for task in closed if _upstream_known(task.feeds, known)]
    graphs = layout_graph(laid_out, token=_TOKEN, recorded={}, size_of=lambda task: 1)
    crowded = {
        node
        for node in plan.nodes
        if sum(len(g.batches) for g in graphs if g.task.node == node) > _MOST
    }
    names: dict[Key, str] = {}
    dots: dict[str, Dot] = {}
    for graph in graphs:
        for dot, keys in _dots_of(graph, crowded):
            dots[dot.name] = dot
            names.update(dict.fromkeys(keys, dot.name))
    drawn = {graph.task.index for graph in graphs}
    for task in plan.tasks:
        if task.index not in drawn:
            name = f"{task.node}-{task.index}"
            dots[name] = Dot(
                name=name, node=task.node, label=task.unit.name, is_open=True
            )
    lines = {**_lines(graphs, names), **_open_lines(plan, drawn, dots)}
    return Picture(dots=tuple(dots.values()), lines=tuple(lines))


def _upstream_known(feeds: object, known: set[int]) -> bool:
    return all(
        feed.task is None or feed.task in known
        for feed in feeds  # type: ignore[attr-defined]  # a tuple of feeds
    )


def _dots_of(graph: TaskGraph, crowded: set[str]) -> Iterator[tuple[Dot, list[Key]]]:
    task = graph.task
    keys = [batch.key for batch in graph.batches]
    if task.node in crowded:
        label = f"{task.unit.name} ({task.count})"
        name = f"{task.node}-{task.index}"
        dot = Dot(name=name, node=task.node, label=label, is_open=False)
        yield dot, [*keys, *(merge.key for merge in graph.merges)]
        return
    for batch in graph.batches:
        number = batch.parts[0].subtasks[0]
        items = (
            ", ".join(task.labels.take(task.items(number)).texts()[:2])
            if task.labels is not None
            else task.unit.name
        )
        name = f"{task.node}-{task.index}-{number}"
        yield Dot(name=name, node=task.node, label=items, is_open=False), [batch.key]


def _lines(
    graphs: list[TaskGraph], names: dict[Key, str]
) -> dict[tuple[str, str], None]:
    merges = {one.key: one.waits_for for graph in graphs for one in graph.merges}
    lines: dict[tuple[str, str], None] = {}
    for graph in graphs:
        for batch in graph.batches:
            for key in batch.waits_for:
                for source in _leaves(key, merges):
                    if names[source] != names[batch.key]:
                        lines[names[source], names[batch.key]] = None
    return lines


def _leaves(key: Key, merges: dict[Key, tuple[Key, ...]]) -> Iterator[Key]:
    if key not in merges:
        yield key
        return
    for below in merges[key]:
        yield from _leaves(below, merges)


def _open_lines(
    plan: Plan, drawn: set[int], dots: dict[str, Dot]
) -> dict[tuple[str, str], None]:
    lines: dict[tuple[str, str], None] = {}
    for task in plan.tasks:
        if task.index in drawn:
            continue
        for feed in task.feeds:
            for name in dots:
                if feed.task is not None and _belongs(name, plan, feed.task):
                    lines[name, f"{task.node}-{task.index}"] = None
    return lines


def _belongs(name: str, plan: Plan, index: int) -> bool:
    start = f"{plan.tasks[index].node}-{index}"
    return name == start or name.startswith(f"{start}-")


def _dot_text(picture: Picture) -> str:
    quoted = {dot.name: f'"{dot.name}"' for dot in picture.dots}
    lines = ["digraph plan {", "  rankdir=LR;", "  node [shape=ellipse];"]
    for dot in picture.dots:
        style = ", style=dashed" if dot.is_open else ""
        label = f"{dot.node}\\n{dot.label}".replace('"', "'")
        lines.append(f'  {quoted[dot.name]} [label="{label}"{style}];')
    lines += [f"  {quoted[a]} -> {quoted[b]};" for a, b in picture.lines]
    return "\n".join([*lines, "}", ""])


def _plot(picture: Picture, plan: Plan, path: Path) -> None:
    from matplotlib.figure import Figure

    columns = {
        node: [dot for dot in picture.dots if dot.node == node] for node in plan.nodes
    }
    columns = {node: dots for node, dots in columns.items() if dots}
    tallest = max(len(dots) for dots in columns.values())
    height = min(max(3.0, 0.45 * tallest + 1), 120)
    figure = Figure(figsize=(3.2 * len(columns) + 0.8, height), layout="constrained")
    axes = figure.subplots()
    places: dict[str, tuple[float, float]] = {}
    for x, (node, dots) in enumerate(columns.items()):
        for row, dot in enumerate(dots):
            places[dot.name] = (x, -(row + 0.5) * tallest / len(dots))
        axes.text(x, 0.6, node, ha="center", va="bottom", weight="bold")
    _draw(axes, picture, places)
    axes.set_xlim(-0.5, len(columns) - 0.3)
    axes.set_ylim(-tallest - 0.3, 1.4)
    axes.axis("off")
    with file_written(path) as place:
        figure.savefig(place, dpi=150, format=path.suffix[1:])


def _draw(axes: Axes, picture: Picture, places: dict[str, tuple[float, float]]) -> None:
    for source, end in picture.lines:
        (x0, y0), (x1, y1) = places[source], places[end]
        axes.plot([x0, x1], [y0, y1], color="0.75", linewidth=0.8, zorder=1)
    for dot in picture.dots:
        x, y = places[dot.name]
        face = "white" if dot.is_open else "#0072b2"
        axes.plot(
            x, y, "o", color="#0072b2", markerfacecolor=face, markersize=7, zorder=2
        )
        axes.annotate(
            dot.label,
            (x, y),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="0.3",
            zorder=3,
        )
