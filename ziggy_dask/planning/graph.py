"""The Dask graph of planned tasks: a key per batch of subtasks, and what it waits for.

Where a node's subtasks line up with those of the node before, an edge runs from
batch to batch; where a subtask needs all of a task, the edge comes from a key
that merges the task's parts. Key prefixes are node names, so that the Dask
dashboard shows the pipeline by its own names.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from dask import _task_spec as task_spec
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from ziggy_dask.planning.plan import Feed, Span, TaskPlan

Key = tuple[str, int, int]

OURS = "ziggy/"
"""Begins the names of keys that belong to no node; no node can have such a name."""
_MERGE_WIDTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The functions that the keys of a graph call."""

    work: Callable[..., Any]
    """Makes what the batches of a task have in common, from its pickled form."""
    run: Callable[..., Any]
    """Runs a batch: work, subtask numbers, results of upstream keys."""
    merge: Callable[..., Any]
    """Merges results of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some subtasks of one task that run one after the other, as one Dask key."""

    key: Key
    """The Dask key."""
    task: int
    """Index of the task in its plan."""
    subtasks: Sequence[int]
    """Their numbers."""
    waits_for: tuple[Key, ...]
    """Keys of which it needs the results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGraph:
    """The part of a graph that belongs to one task."""

    task: TaskPlan
    """The task."""
    batches: tuple[Batch, ...]
    """The batches that are to run."""
    merges: Mapping[Key, tuple[Key, ...]] = field(default_factory=dict)
    """Keys that merge results, with what they merge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What is on record of a task that is not stored yet."""

    parts: Mapping[Key, Any]
    """Results of earlier runs by a key for each."""
    part_of: Mapping[int, Key]
    """Key of the result that has a subtask."""


NOTHING_RECORDED = Recorded(parts={}, part_of={})


def batch_size(count: int, duration_s: float, slots: int) -> int:
    """Return how many subtasks to run as one Dask key.

    Parameters
    ----------
    count
        Subtasks of the task.
    duration_s
        Typical time of one, in seconds; 0: not known.
    slots
        Subtasks that can run at once.

    Notes
    -----
    A batch should take half a second, so that Dask's few milliseconds per key do
    not matter, but every slot should get several batches. Of subtasks that may be
    short or long, no more are batched than hardly matter among all those of a slot.
    """
    share = count // max(1, slots)
    if duration_s <= 0:
        return max(1, min(share // 256, 4))
    return max(1, int(min(0.5 / duration_s, share // 8, 256)))


def layout_graph(
    tasks: Sequence[TaskPlan],
    *,
    token: str,
    recorded: Mapping[int, Recorded],
    size_of: Callable[[TaskPlan], int],
    lanes_of: Callable[[TaskPlan], int] = lambda _: 0,
) -> list[TaskGraph]:
    """Lay out the graph of some tasks, without any function in it.

    Parameters
    ----------
    tasks
        Tasks with known subtasks, each after those whose products it reads.
        Products of tasks that are not among them must be stored.
    token
        32 hexadecimal digits that make the keys unique.
    recorded
        What is on record of them, by task index; recorded subtasks do not run.
    size_of
        Batch size of a task.
    lanes_of
        So many batches of a task's node may run at once; 0: any number. They are
        laid out in lanes, in which each batch waits for the one before.
    """
    ends: dict[str, list[Key]] = {}
    graphs: dict[int, TaskGraph] = {}
    uncut = {task.index for task in tasks if task.labels is None}
    merged = {n for task in tasks for n in _read_whole(task, uncut)}
    for task in tasks:
        done = recorded.get(task.index, NOTHING_RECORDED)
        left = [n for n in range(task.count) if n not in done.part_of]
        size = size_of(task)
        links = [
            _link(task, feed, graphs[feed.task], recorded)
            for feed in task.feeds
            if feed.task is not None and feed.task in graphs
        ]
        batches = []
        for start in range(0, len(left), size):
            numbers = _compact(left[start : start + size])
            batch = Batch(
                key=(f"{task.node}-{token}", task.index, numbers[0]),
                task=task.index,
                subtasks=numbers,
                waits_for=_waits_for(task, numbers, links),
            )
            batches.append(
                _in_lane(batch, ends.setdefault(task.node, []), lanes_of(task))
            )
        graphs[task.index] = TaskGraph(task=task, batches=tuple(batches))
        if task.index in merged:
            graphs[task.index] = _with_merges(graphs[task.index], done, token)
    return list(graphs.values())


def dask_graph(
    graphs: Iterable[TaskGraph],
    *,
    token: str,
    recorded: Mapping[int, Recorded],
    works: Mapping[int, bytes],
    calls: Calls,
    annotations_of: Callable[[TaskPlan], Mapping[str, Any]] = lambda _: {},
) -> HighLevelGraph:
    """Return the Dask graph of laid-out tasks, one layer per task and one for the rest.

    Parameters
    ----------
    graphs
        From `layout_graph`.
    token
        The same as there.
    recorded
        The same as there.
    works
        What `calls.work` makes a task's common part of, by task index.
    calls
        The functions to call.
    annotations_of
        Dask annotations of a task's batches, e.g. the resources that they need.
    """
    dsk: dict[Hashable, task_spec.Task] = {}
    layers = {f"{OURS}rest-{token}": MaterializedLayer(dsk)}
    for graph in graphs:
        index = graph.task.index
        work: Key = (f"{OURS}work-{token}", index, 0)
        dsk[work] = task_spec.Task(work, calls.work, works[index])
        for key, part in recorded.get(index, NOTHING_RECORDED).parts.items():
            dsk[key] = task_spec.Task(key, _itself, part)
        annotations = dict(annotations_of(graph.task))
        layers[f"{graph.task.node}-{index}-{token}"] = MaterializedLayer(
            {batch.key: _batch_task(batch, work, calls) for batch in graph.batches},
            annotations=annotations or None,
        )
        for key, merged in graph.merges.items():
            dsk[key] = task_spec.Task(
                key, calls.merge, *(task_spec.TaskRef(one) for one in merged)
            )
    # The keys themselves say what depends on what; layers here only carry annotations.
    return HighLevelGraph(layers, {name: set() for name in layers})


def _batch_task(batch: Batch, work: Key, calls: Calls) -> task_spec.Task:
    waits = [task_spec.TaskRef(key) for key in batch.waits_for]
    reference = task_spec.TaskRef(work)
    return task_spec.Task(batch.key, calls.run, reference, batch.subtasks, *waits)


def merge_key(task: TaskPlan, token: str) -> Key:
    """Return the key whose result is all of a task."""
    return (f"{OURS}merge-{task.node}-{token}", task.index, 0)


def _itself(value: Any) -> Any:
    return value


def _in_lane(batch: Batch, ends: list[Key], lanes: int) -> Batch:
    """Return a batch that also waits for the last one in the lane that is next."""
    if not lanes:
        return batch
    if len(ends) >= lanes:
        waits_for = tuple(dict.fromkeys((*batch.waits_for, ends.pop(0))))
        batch = replace(batch, waits_for=waits_for)
    ends.append(batch.key)
    return batch


def _compact(numbers: list[int]) -> Sequence[int]:
    whole = range(numbers[0], numbers[-1] + 1)
    return whole if len(whole) == len(numbers) else tuple(numbers)


def _read_whole(task: TaskPlan, uncut: set[int]) -> set[int]:
    """Return the indices of the tasks that each subtask of a task needs all of."""
    return {
        feed.task
        for feed in task.feeds
        if feed.task is not None
        and (feed.span is Span.WHOLE or feed.task in uncut or task.labels is None)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """How one input of a task hangs on a task before it."""

    upstream: TaskGraph
    """Graph of the task before."""
    done: Recorded
    """What is on record of it."""
    positions: np.ndarray[Any, np.dtype[np.int64]] | None
    """Positions of the task's items in the product; None: the same."""
    whole: bool
    """Whether a subtask needs all of it."""
    starts: np.ndarray[Any, np.dtype[np.int64]]
    """First subtasks of the batches of the task before."""


def _link(
    task: TaskPlan, feed: Feed, upstream: TaskGraph, recorded: Mapping[int, Recorded]
) -> _Link:
    done = recorded.get(upstream.task.index, NOTHING_RECORDED)
    known = task.labels is not None and feed.labels is not None
    whole = feed.span is Span.WHOLE or not known or upstream.task.labels is None
    aligned = whole or feed.labels == task.labels
    positions = None
    if not aligned and feed.labels is not None and task.labels is not None:
        positions = feed.labels.positions(task.labels)
    return _Link(
        upstream=upstream,
        done=done,
        positions=positions,
        whole=whole,
        starts=np.array([batch.subtasks[0] for batch in upstream.batches], np.int64),
    )


def _waits_for(
    task: TaskPlan, numbers: Sequence[int], links: Sequence[_Link]
) -> tuple[Key, ...]:
    keys: dict[Key, None] = {}
    for link in links:
        if link.whole:
            *_, last = link.upstream.merges
            keys[last] = None
            continue
        wanted = _upstream_subtasks(task, numbers, link)
        part_of = link.done.part_of
        keys.update((part_of[n], None) for n in wanted if n in part_of)
        wanted = {n for n in wanted if n not in part_of}
        keys.update(_batches_with(link, wanted))
    return tuple(keys)


def _upstream_subtasks(task: TaskPlan, numbers: Sequence[int], link: _Link) -> set[int]:
    if link.positions is None:
        return set(numbers)
    chunk = link.upstream.task.chunk
    return {
        int(place) // chunk
        for number in numbers
        for place in link.positions[task.items(number)]
    }


def _batches_with(link: _Link, wanted: set[int]) -> dict[Key, None]:
    """Return the keys of the batches that have wanted subtasks; batches are in order."""
    if not wanted:
        return {}
    places = np.searchsorted(link.starts, sorted(wanted), side="right") - 1
    return {link.upstream.batches[int(i)].key: None for i in np.unique(places)}


def _with_merges(graph: TaskGraph, done: Recorded, token: str) -> TaskGraph:
    final = merge_key(graph.task, token)
    level = [*done.parts, *(batch.key for batch in graph.batches)]
    merges: dict[Key, tuple[Key, ...]] = {}
    while len(level) > _MERGE_WIDTH:
        above: list[Key] = []
        for start in range(0, len(level), _MERGE_WIDTH):
            key = (final[0], final[1], len(merges) + 1)
            merges[key] = tuple(level[start : start + _MERGE_WIDTH])
            above.append(key)
        level = above
    merges[final] = tuple(level)
    return TaskGraph(task=graph.task, batches=graph.batches, merges=merges)
