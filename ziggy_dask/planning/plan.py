"""The plan of an instance: every task of every node, before anything runs.

Planning has no side effects: pipeline, what the datastore holds, and options go
in, a frozen plan comes out. It covers nodes whose inputs do not exist yet, since
outputs inherit the items of their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Protocol

import icechunk

from ziggy_dask.datastore import Labels, find_stored
from ziggy_dask.definitions import (
    DaskFunctionStep,
    DataReceiptStep,
    Node,
    Pipeline,
    ProductKind,
    ProgramStep,
    ScriptStep,
)
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.display import Html, card, markup, number, section, table
from ziggy_dask.errors import DefinitionError
from ziggy_dask.planning.units import (
    Holding,
    Unit,
    Where,
    join_holdings,
    name_units,
)

Holdings = Mapping[str, Sequence[Holding]]
UnitInputs = tuple[str, tuple[str, ...]]
"""A node's name, and the paths of the inputs of one of its units of work."""
IsSettled = Callable[[str, Sequence[str]], bool]


class Processed(Protocol):
    """Items that a node has made products of, by its name and the input's path."""

    def get(self, key: tuple[str, str], /) -> Labels | None:
        """Return the items; None: there are none."""


NONE_PROCESSED: Processed = MappingProxyType({})


def never_settled(node: str, paths: Sequence[str]) -> bool:
    """Say of no unit that nothing is left to do in it."""
    return False


class Span(Enum):
    """How much of an input one subtask gets."""

    SLICE = "slice"
    """The items of the subtask."""
    WHOLE = "whole"
    """Everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """An input of a task."""

    data_type: str
    """Name of the data type."""
    path: str
    """Product that is read."""
    span: Span
    """How much of it a subtask gets."""
    labels: Labels | None
    """Items of the product; None: one whole, or not known yet."""
    task: int | None
    """Index of the task in this plan that makes it; None: it is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An output of a task."""

    data_type: str
    """Name of the data type."""
    path: str
    """Product that is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """One task: a node on a unit of work."""

    index: int
    """Position in the plan, from 0."""
    node: str
    """Name of the node."""
    unit: Unit
    """What it is in charge of."""
    feeds: tuple[Feed, ...]
    """Its inputs, in the order of the node's."""
    targets: tuple[Target, ...]
    """Its outputs."""
    labels: Labels | None
    """All items, in order; None: a single subtask has everything."""
    chunk: int
    """Items per subtask."""
    after: tuple[int, ...] = ()
    """Indices of tasks that must be stored first although it does not read them."""
    is_open: bool = False
    """Whether its subtasks are known only when its inputs are stored."""
    was_open: bool = False
    """Whether that was so before they were."""

    @property
    def count(self) -> int:
        """Number of subtasks, as far as known."""
        if self.is_open:
            return 0
        return 1 if self.labels is None else -(-len(self.labels) // self.chunk)

    @property
    def upstream(self) -> set[int]:
        """Indices of the tasks that it waits for."""
        read = {feed.task for feed in self.feeds if feed.task is not None}
        return read | set(self.after)

    def items(self, subtask: int) -> slice:
        """Return the positions of a subtask's items among `labels`."""
        length = len(self.labels) if self.labels is not None else 1
        return slice(subtask * self.chunk, min((subtask + 1) * self.chunk, length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All tasks of an instance."""

    pipeline: Pipeline
    """What is run."""
    nodes: tuple[str, ...]
    """The nodes that take part, each after those that it follows."""
    tasks: tuple[TaskPlan, ...]
    """The tasks, node by node, each node's sorted by unit of work."""
    warnings: tuple[str, ...]
    """What the operator should know."""
    unchanged: int = 0
    """Tasks that are left out because all their items were processed before."""
    settled: tuple[UnitInputs, ...] = ()
    """Those of them whose inputs had to be looked at for that."""

    @property
    def subtask_count(self) -> int:
        """Number of subtasks, as far as known."""
        return sum(task.count for task in self.tasks)

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        return _plan_card(self)

    def of_node(self, name: str) -> tuple[TaskPlan, ...]:
        """Return the tasks of a node."""
        return tuple(task for task in self.tasks if task.node == name)


def stored_holdings(
    session: icechunk.Session, pipeline: Pipeline, where: Where
) -> dict[str, list[Holding]]:
    """Return what a snapshot holds of each data type that a pipeline reads.

    Parameters
    ----------
    session
        Reads the snapshot.
    pipeline
        The pipeline.
    where
        Choice among the files of a product; products themselves are all returned.
    """
    wanted = {one.data_type for node in pipeline.nodes for one in node.inputs}
    return {
        name: [
            Holding(path=path, values=values, labels=labels, misfit=misfit)
            for path, values, labels, misfit in find_stored(
                session, pipeline.types[name], pipeline.patterns, where.accepts
            )
        ]
        for name in sorted(wanted)
    }


def plan_instance(
    pipeline: Pipeline,
    holdings: Holdings,
    *,
    nodes: Sequence[str],
    where: Where,
    processed: Processed = NONE_PROCESSED,
    is_settled: IsSettled = never_settled,
) -> Plan:
    """Plan all tasks of some nodes of a pipeline.

    Parameters
    ----------
    pipeline
        A sound pipeline.
    holdings
        What is stored, and what data receipt is going to store, by data type.
    nodes
        The nodes to plan, from `selected_nodes`.
    where
        The units of work that are wanted.
    processed
        Items that are left out.
    is_settled
        Tells of a node and the paths of stored inputs whether all their items were
        processed, as an earlier plan found out.

    Raises
    ------
    DefinitionError
        If two tasks would write the same product, or a node would read what was
        stored as another kind.
    """
    available = {name: {h.path: h for h in held} for name, held in holdings.items()}
    tasks: list[TaskPlan] = []
    warnings: list[str] = []
    settled: list[UnitInputs] = []
    unchanged = 0
    for name in nodes:
        node = pipeline.by_name[name]
        if isinstance(node.step, DataReceiptStep):
            continue
        after = tuple(task.index for task in tasks if task.node in node.after)
        found, known = _plan_node(
            pipeline, node, available, where, warnings, is_settled
        )
        if not found and not known:
            warnings.append(_why_no_units(pipeline, node, available, where))
        kept, done = _new_ones(found, pipeline, processed)
        settled += [
            (name, tuple(feed.path for feed in one.feeds))
            for one in done
            if not _dropped(one)  # that is told of each time
        ]
        unchanged += known + len(done)
        made = [
            replace(task, index=len(tasks) + number, after=after)
            for number, task in enumerate(kept)
        ]
        tasks.extend(made)
        for task in made:
            _add_outputs(pipeline, node, task, available)
    _refuse_conflicts(tasks)
    return Plan(
        pipeline=pipeline,
        nodes=tuple(nodes),
        tasks=tuple(tasks),
        warnings=tuple(warnings),
        unchanged=unchanged,
        settled=tuple(settled),
    )


def selected_nodes(
    pipeline: Pipeline, start: str | None = None, stop: str | None = None
) -> tuple[str, ...]:
    """Return the names of the nodes from `start` down to `stop`, in order.

    Without `start`, from all roots. Nodes below `stop` are left out; other
    branches go on to their ends.

    Raises
    ------
    DefinitionError
        If a name is unknown, or nothing is left.
    """
    for name in (start, stop):
        if name is not None and name not in pipeline.by_name:
            raise DefinitionError(
                f"pipeline {pipeline.name!r} has no node {name!r}"
                + suggestion(name, pipeline.by_name)
            )
    chosen = {node.name for node in pipeline.ordered}
    if start is not None:
        chosen &= {start} | _below(pipeline, start)
    if stop is not None:
        chosen -= _below(pipeline, stop)
    if not chosen or (stop is not None and stop not in chosen):
        raise DefinitionError(f"node {stop!r} does not come after {start!r}")
    return tuple(node.name for node in pipeline.ordered if node.name in chosen)


def only_new(task: TaskPlan, pipeline: Pipeline, processed: Processed) -> TaskPlan:
    """Return a task without the items that its node has processed before.

    Files are added to products one by one. Products of other kinds are stored as a
    whole: if one item is new, all are processed again. Nothing is left out if a
    single subtask gets everything, or if it is not known yet what there is.

    Parameters
    ----------
    task
        A task.
    pipeline
        Its pipeline.
    processed
        What was processed.

    Returns
    -------
    TaskPlan
        If nothing is new, a task without subtasks that stores nothing.
    """
    if task.labels is None or processed is NONE_PROCESSED:
        return task
    new = task.labels
    for feed in task.feeds:
        before = processed.get((task.node, feed.path))
        if feed.span is Span.SLICE and before is not None:
            new = new.without(before)
    if not len(new):
        return replace(task, labels=new, targets=())
    kinds = {pipeline.types[target.data_type].kind for target in task.targets}
    return replace(task, labels=new) if kinds <= {ProductKind.FILE} else task


def is_done(task: TaskPlan) -> bool:
    """Tell whether `only_new` has left nothing of a task."""
    return task.labels is not None and not len(task.labels) and not task.targets


def settle(
    task: TaskPlan,
    pipeline: Pipeline,
    stored: Sequence[Labels | None],
    processed: Processed = NONE_PROCESSED,
) -> TaskPlan:
    """Return an open task with its subtasks, now that its inputs are stored.

    Parameters
    ----------
    task
        A task with `is_open`.
    pipeline
        Its pipeline.
    stored
        Items of its stored inputs, in their order.
    processed
        Items that are left out.
    """
    feeds = tuple(
        replace(feed, labels=labels)
        for feed, labels in zip(task.feeds, stored, strict=True)
    )
    node = pipeline.by_name[task.node]
    labels = None if _is_whole(pipeline, node) else _joined(feeds)
    settled = replace(task, feeds=feeds, labels=labels, is_open=False, was_open=True)
    return only_new(settled, pipeline, processed)


def reopen(task: TaskPlan) -> TaskPlan:
    """Return a settled task as it was before, since its inputs are made again."""
    return replace(task, labels=None, is_open=True, was_open=False)


def followers(tasks: Iterable[TaskPlan], first: Iterable[int]) -> set[int]:
    """Return the indices of the tasks that need something of some, near or far."""
    found = set(first)
    for task in sorted(tasks, key=lambda one: one.index):
        if not found.isdisjoint(task.upstream):
            found.add(task.index)
    return found - set(first)


def _below(pipeline: Pipeline, name: str) -> set[str]:
    below = {name}
    for node in pipeline.ordered:
        if below & set(pipeline.upstream[node.name]):
            below.add(node.name)
    return below - {name}


def _plan_node(
    pipeline: Pipeline,
    node: Node,
    available: Mapping[str, Mapping[str, Holding]],
    where: Where,
    warnings: list[str],
    is_settled: IsSettled,
) -> tuple[list[TaskPlan], int]:
    """Plan the tasks of a node, all of them as if they were the first of the plan.

    Returns
    -------
    list, int
        The tasks, and the number of those in which nothing is left to do.
    """
    types = [pipeline.types[one.data_type] for one in node.inputs]
    locations = [one.location for one in types]
    candidates = [list(available.get(one.name, {}).values()) for one in types]
    rows = join_holdings(locations, candidates, where)
    made, known = [], 0
    for unit, row in name_units(locations, rows):
        paths = [one.path for one in row.holdings]
        if all(one.look is not None for one in row.holdings) and is_settled(
            node.name, paths
        ):
            known += 1
            continue
        task = _plan_task(pipeline, node, unit, row.holdings)
        if where.is_choice and task.labels is not None and not len(task.labels):
            continue  # none of its items is among the chosen ones
        dropped = _dropped(task)
        if dropped:
            warnings.append(
                f"node {node.name!r} {unit.name}: {len(dropped)} items are not in all "
                f"inputs and are left out, e.g. {dropped[0]!r}"
            )
        made.append(task)
    return made, known


def _new_ones(
    tasks: Iterable[TaskPlan], pipeline: Pipeline, processed: Processed
) -> tuple[list[TaskPlan], list[TaskPlan]]:
    """Return tasks without what was processed before, and those of which nothing is left."""
    left: list[TaskPlan] = []
    done: list[TaskPlan] = []
    for task in tasks:
        new = only_new(task, pipeline, processed)
        if is_done(new):
            done.append(task)
        else:
            left.append(new)
    return left, done


def _plan_task(
    pipeline: Pipeline,
    node: Node,
    unit: Unit,
    holdings: Sequence[Holding],
) -> TaskPlan:
    whole = _is_whole(pipeline, node)
    feeds = []
    is_open = isinstance(node.step, DaskFunctionStep)
    for one, bare in zip(node.inputs, holdings, strict=True):
        holding = bare.seen()
        if holding.misfit:
            raise DefinitionError(
                f"node {node.name!r} {unit.name}: {holding.misfit}; make it anew, or give "
                "the data type another location"
            )
        data_type = pipeline.types[one.data_type]
        sliced = not whole and not one.all_subtasks and data_type.has_items
        is_open |= sliced and not holding.labels_known
        is_open |= holding.task is not None and data_type.kind is ProductKind.FILE
        feeds.append(
            Feed(
                data_type=one.data_type,
                path=holding.path,
                span=Span.SLICE if sliced else Span.WHOLE,
                labels=holding.labels,
                task=holding.task,
            )
        )
    values = dict(unit.values)
    targets = tuple(
        Target(data_type=name, path=pipeline.types[name].location.fill(values))
        for name in node.outputs
    )
    return TaskPlan(
        index=0,
        node=node.name,
        unit=unit,
        feeds=tuple(feeds),
        targets=targets,
        labels=None if whole or is_open else _joined(feeds),
        chunk=_chunk(pipeline, node),
        is_open=is_open,
    )


def _is_whole(pipeline: Pipeline, node: Node) -> bool:
    """Tell whether one subtask of a node gets everything."""
    return (
        node.single_subtask
        or isinstance(node.step, DaskFunctionStep)
        or not any(
            pipeline.types[one.data_type].has_items and not one.all_subtasks
            for one in node.inputs
        )
    )


def _chunk(pipeline: Pipeline, node: Node) -> int:
    chunks = [
        pipeline.types[one.data_type].chunk
        for one in node.inputs
        if not one.all_subtasks and pipeline.types[one.data_type].subtask
    ]
    return chunks[0] if chunks else 1


def _joined(feeds: Iterable[Feed]) -> Labels | None:
    joined: Labels | None = None
    for feed in feeds:
        if feed.span is Span.SLICE and feed.labels is not None:
            joined = feed.labels if joined is None else joined.common(feed.labels)
    return joined


def _dropped(task: TaskPlan) -> list[str]:
    """Return the items of inputs that a task does not have, since others lack them."""
    if task.labels is None:
        return []
    return [
        text
        for feed in task.feeds
        if feed.span is Span.SLICE
        and feed.labels is not None
        and feed.labels is not task.labels
        for text in feed.labels.without(task.labels)
    ]


def _add_outputs(
    pipeline: Pipeline,
    node: Node,
    task: TaskPlan,
    available: dict[str, dict[str, Holding]],
) -> None:
    for target in task.targets:
        data_type = pipeline.types[target.data_type]
        values = data_type.location.match(target.path, pipeline.patterns)
        if values is None:
            raise DefinitionError(
                f"node {node.name!r} {task.unit.name} would write '{target.path}', which "
                f"does not match the location '{data_type.location}' of "
                f"{data_type.name!r}; mind its placeholders' expressions"
            )
        inherits = (
            task.labels is not None
            and not task.is_open
            and data_type.kind is not ProductKind.FILE
            and not isinstance(node.step, ProgramStep | ScriptStep)
        )
        available.setdefault(target.data_type, {})[target.path] = Holding(
            path=target.path,
            values=values,
            labels=task.labels if inherits else None,
            task=task.index,
            labels_known=inherits or not data_type.has_items,
        )


def _refuse_conflicts(tasks: Iterable[TaskPlan]) -> None:
    writers: dict[tuple[str, str], TaskPlan] = {}
    for task in tasks:
        for target in task.targets:
            other = writers.setdefault((target.data_type, target.path), task)
            if other is not task:
                raise DefinitionError(
                    f"node {task.node!r} would write '{target.path}' for both units of "
                    f"work {other.unit.name} and {task.unit.name}; the location of "
                    f"{target.data_type!r} needs the placeholder in which they differ"
                )


def _why_no_units(
    pipeline: Pipeline,
    node: Node,
    available: Mapping[str, Mapping[str, Holding]],
    where: Where,
) -> str:
    for one in node.inputs:
        held = available.get(one.data_type, {})
        location = pipeline.types[one.data_type].location
        if not held:
            return (
                f"node {node.name!r} has nothing to do: the datastore has no "
                f"{one.data_type!r} at '{location}'"
            )
        if not any(where.accepts(holding.values) for holding in held.values()):
            return (
                f"node {node.name!r} has nothing to do: none of the {len(held)} products "
                f"at '{location}' is among the chosen units of work"
            )
        if where.is_choice and not any(
            holding.labels is None or len(holding.labels)
            for holding in (one.seen() for one in held.values())
        ):
            return (
                f"node {node.name!r} has nothing to do: no item of {one.data_type!r} at "
                f"'{location}' is among the chosen ones"
            )
    return f"node {node.name!r} has nothing to do: its inputs have no unit of work in common"


_MOST_SHOWN = 100
"""So many tasks of a plan are shown in a notebook."""


def _plan_card(made: Plan) -> str:
    rows = [
        {
            "node": task.node,
            "unit": task.unit.name,
            "subtasks": Html("when its inputs are stored")
            if task.is_open
            else number(task.count),
            "reads": ", ".join(feed.path for feed in task.feeds),
            "writes": ", ".join(target.path for target in task.targets),
        }
        for task in made.tasks[:_MOST_SHOWN]
    ]
    more = len(made.tasks) - len(rows)
    tail = f'<p class="zg-soft">and {more} more</p>' if more else ""
    warnings = "".join(f'<p class="zg-busy">{markup(w)}</p>' for w in made.warnings)
    note = Html(f"{len(made.tasks)} tasks, {made.subtask_count} subtasks")
    tasks = Html(table(rows) + tail)
    parts = [Html(warnings), section("Tasks", tasks, is_open=len(rows) <= 20)]
    return card("Plan of", made.pipeline.name, note, parts)
