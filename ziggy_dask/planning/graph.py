"""The Dask graph of planned tasks: a key per batch of subtasks, and what it waits for.

Where a node's subtasks line up with those of the node before, an edge runs from
batch to batch; where a subtask needs all of a task, the edge comes from a key
that merges the task's parts. Key prefixes are node names, so that the Dask
dashboard shows the pipeline by its own names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask import _task_spec as task_spec
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from ziggy_dask.planning.batches import Batch, Key, Part
from ziggy_dask.planning.plan import Feed, Span, TaskPlan

OURS = "ziggy/"
"""Begins the names of keys that belong to no node; no node can have such a name."""
MERGES = f"{OURS}merge"
"""Stands for the node of keys that merge results."""
_MERGE_WIDTH = 64
_NUMBER_BITS = 32
"""Bits of a key's number below those that say how often tasks were laid out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The functions that the keys of a graph call."""

    work: Callable[..., Any]
    """Makes what the batches of a task have in common, from its pickled form."""
    run: Callable[..., Any]
    """Runs a batch: work, subtask numbers, results of upstream keys."""
    run_alone: Callable[..., Any]
    """The same for a task of a single batch: it gets the work in its pickled form."""
    merge: Callable[..., Any]
    """Merges results of one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGraph:
    """The part of a graph that belongs to one task."""

    task: TaskPlan
    """The task."""
    batches: tuple[Batch, ...]
    """The batches that are to run."""
    merges: tuple[Batch, ...] = ()
    """Keys that merge results, with what they merge; the last one has all."""


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
    rank_of: Callable[[TaskPlan], int] = lambda _: 0,
    generation: int = 0,
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
    rank_of
        Rank of a task's first batch; those after it have the ranks that follow.
    generation
        How often tasks were laid out before with this token: keys are used once.
    """
    graphs: dict[int, TaskGraph] = {}
    uncut = {task.index for task in tasks if task.labels is None}
    merged = {n for task in tasks for n in _read_whole(task, uncut)}
    for task in tasks:
        done = recorded.get(task.index, NOTHING_RECORDED)
        left = [n for n in range(task.count) if n not in done.part_of]
        size = size_of(task)
        first = rank_of(task)
        links = [
            _link(task, feed, graphs[feed.task], recorded)
            for feed in task.feeds
            if feed.task is not None and feed.task in graphs
        ]
        batches: list[Batch] = []
        for start in range(0, len(left), size):
            numbers = _compact(left[start : start + size])
            batches.append(
                Batch(
                    key=(
                        f"{task.node}-{token}",
                        task.index,
                        (generation << _NUMBER_BITS) + numbers[0],
                    ),
                    node=task.node,
                    parts=(Part(task.index, numbers),),
                    waits_for=_waits_for(task, numbers, links),
                    rank=first + len(batches),
                )
            )
        graph = TaskGraph(task=task, batches=tuple(batches))
        if task.index in merged:
            graph = _with_merges(graph, done, token, generation, first)
        graphs[task.index] = graph
    return list(graphs.values())


def dask_graph(
    batches: Sequence[Batch],
    *,
    token: str,
    recorded: Mapping[int, Recorded],
    works: Mapping[int, bytes],
    calls: Calls,
    annotations_of: Callable[[Batch], Mapping[str, Any]] = lambda _: {},
    base_priority: int = 0,
) -> HighLevelGraph:
    """Return the Dask graph of some batches that were laid out.

    Parameters
    ----------
    batches
        Batches and merges, from `layout_graph`. What they wait for is among them, on
        record, or known to the scheduler.
    token
        The same as there.
    recorded
        The same as there.
    works
        What `calls.work` makes a task's common part of, by task index.
    calls
        The functions to call.
    annotations_of
        Dask annotations of a batch, e.g. the resources that it needs.
    base_priority
        Dask priority of rank 0.
    """
    rest: dict[Hashable, task_spec.Task] = {}
    layers: dict[tuple[str, str], dict[Hashable, task_spec.Task]] = {}
    annotations: dict[tuple[str, str], Mapping[str, Any]] = {}
    priorities: dict[Hashable, int] = {}
    shared = _with_many(batches)
    for batch in batches:
        priorities[batch.key] = base_priority - batch.rank
        for key in batch.waits_for:
            part = _recorded_part(key, recorded)
            if part is not None:
                rest[key] = task_spec.Task(key, _itself, part)
                priorities[key] = base_priority
        if not batch.parts:
            waits = (task_spec.TaskRef(key) for key in batch.waits_for)
            rest[batch.key] = task_spec.Task(batch.key, calls.merge, *waits)
            continue
        for index in shared.intersection(batch.tasks):
            work = _work_key(token, index)
            rest[work] = task_spec.Task(work, calls.work, works[index])
            priorities[work] = base_priority
        said = annotations_of(batch)
        name = (batch.node, repr(sorted(said.items())))
        annotations[name] = said
        (part,) = batch.parts
        alone = None if part.task in shared else works[part.task]
        task = _batch_task(batch, part, token, calls, alone)
        layers.setdefault(name, {})[batch.key] = task
    # The keys themselves say what depends on what; layers here only carry annotations.
    ranks = {"priority": priorities.__getitem__}
    made = {
        f"{node}-{number}-{token}": MaterializedLayer(
            layers[node, said], annotations={**annotations[node, said], **ranks}
        )
        for number, (node, said) in enumerate(layers)
    }
    made[f"{OURS}rest-{token}"] = MaterializedLayer(rest, annotations=ranks)
    return HighLevelGraph(made, {name: set() for name in made})


def _work_key(token: str, index: int) -> Key:
    return (f"{OURS}work-{token}", index, 0)


def _recorded_part(key: Key, recorded: Mapping[int, Recorded]) -> Any:
    """Return the recorded result that a key stands for; None: it is none."""
    return recorded.get(key[1], NOTHING_RECORDED).parts.get(key)


def _with_many(batches: Sequence[Batch]) -> set[int]:
    """Return the tasks of which several batches share what they have in common."""
    counts = Counter(index for batch in batches for index in batch.tasks)
    return {index for index, count in counts.items() if count > 1}


def _batch_task(
    batch: Batch, part: Part, token: str, calls: Calls, alone: bytes | None
) -> task_spec.Task:
    """Return the Dask task of a batch.

    A task of one batch has a single key, with all that it needs: schedulers and workers
    spend a millisecond on each.
    """
    waits = [task_spec.TaskRef(key) for key in batch.waits_for]
    if alone is not None:
        return task_spec.Task(batch.key, calls.run_alone, alone, part.subtasks, *waits)
    reference = task_spec.TaskRef(_work_key(token, part.task))
    return task_spec.Task(batch.key, calls.run, reference, part.subtasks, *waits)


def merge_key(task: TaskPlan, token: str) -> Key:
    """Return the key whose result is all of a task."""
    return (f"{OURS}merge-{task.node}-{token}", task.index, 0)


def _itself(value: Any) -> Any:
    return value


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
        starts=np.array(
            [batch.parts[0].subtasks[0] for batch in upstream.batches], np.int64
        ),
    )


def _waits_for(
    task: TaskPlan, numbers: Sequence[int], links: Sequence[_Link]
) -> tuple[Key, ...]:
    keys: dict[Key, None] = {}
    for link in links:
        if link.whole:
            keys[link.upstream.merges[-1].key] = None
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


def _with_merges(
    graph: TaskGraph, done: Recorded, token: str, generation: int, rank: int
) -> TaskGraph:
    name, index, _ = merge_key(graph.task, token)
    first = generation << _NUMBER_BITS
    level = [*done.parts, *(batch.key for batch in graph.batches)]
    merges: list[Batch] = []

    def merge(keys: Sequence[Key]) -> Key:
        key = (name, index, first + len(merges))
        merges.append(
            Batch(key=key, node=MERGES, parts=(), waits_for=tuple(keys), rank=rank)
        )
        return key

    while len(level) > _MERGE_WIDTH:
        level = [
            merge(level[start : start + _MERGE_WIDTH])
            for start in range(0, len(level), _MERGE_WIDTH)
        ]
    merge(level)
    return replace(graph, merges=tuple(merges))
