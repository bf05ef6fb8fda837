"""A pipeline as definitions of the original Ziggy, where those can say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ziggy_dask.definitions.location import Location
from ziggy_dask.definitions.pipeline import (
    DataReceiptStep,
    DataType,
    EventHandler,
    ModelType,
    Node,
    Pipeline,
    Priority,
    Process,
    ProductKind,
    ProgramStep,
    ScriptStep,
)
from ziggy_dask.definitions.ziggy_xml.convert import DATA_RECEIPT
from ziggy_dask.definitions.ziggy_xml.java import python_pattern
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyDirectory,
    ZiggyEvent,
    ZiggyFileType,
    ZiggyModelType,
    ZiggyNode,
    ZiggyPipeline,
    ZiggyRegexp,
    ZiggySet,
    ZiggyStep,
)
from ziggy_dask.errors import DefinitionError, Fault


def library_from_pipeline(pipeline: Pipeline) -> Library:
    """Return the definitions of a pipeline.

    Raises
    ------
    DefinitionError
        With everything in it that they can't say.
    """
    faults = [Fault(message=f"{pipeline.name}: {text}") for text in _unsaid(pipeline)]
    if faults:
        raise DefinitionError(faults)
    nodes = [_node(pipeline, one) for one in pipeline.nodes]
    children = {child for one in nodes for child in one.children}
    places = list(_places(pipeline))
    return Library(
        events={one.name: _event(pipeline, one) for one in pipeline.events},
        steps={
            one.name: _step(one)
            for one in pipeline.nodes
            if not isinstance(one.step, DataReceiptStep)
        },
        pipelines={
            pipeline.name: ZiggyPipeline(
                name=pipeline.name,
                description=pipeline.description,
                roots=tuple(one.name for one in nodes if one.name not in children),
                priority=""
                if pipeline.priority is Priority.NORMAL
                else pipeline.priority.name,
                parameter_sets=pipeline.parameters,
                nodes=tuple(nodes),
            )
        },
        parameter_sets={
            one.name: ZiggySet(content=one) for one in pipeline.parameter_sets
        },
        file_types={one.name: _file_type(pipeline, one) for one in pipeline.data_types},
        model_types={one.name: _model_type(one) for one in pipeline.model_types},
        regexps={
            one.name: ZiggyRegexp(name=one.name, value=one.pattern)
            for one in pipeline.placeholders
        },
        directories={one.path: one for place in places for one in place.directories},
    )


def _event(pipeline: Pipeline, one: EventHandler) -> ZiggyEvent:
    return ZiggyEvent(
        name=one.name,
        pipeline=pipeline.name,
        directory=one.directory,
        is_enabled=one.is_enabled,
    )


def _model_type(one: ModelType) -> ZiggyModelType:
    return ZiggyModelType(
        name=one.name,
        files=one.files,
        version_group=one.version_group or -1,
        timestamp_group=one.timestamp_group or -1,
        semantic_version=one.semantic_version,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A location as Ziggy writes it, and the datastore nodes on its way."""

    text: str
    directories: tuple[ZiggyDirectory, ...]


def _unsaid(pipeline: Pipeline) -> Iterator[str]:
    """Yield what the original's definitions can't say."""
    for one in pipeline.data_types:
        if one.kind is not ProductKind.FILE or not one.files:
            yield (
                f"data type {one.name!r} is not of 'kind: file' with 'files'; the original "
                "knows only files"
            )
        elif any(len(segment) != 1 for segment in one.full_location.segments):
            yield f"location '{one.full_location}' has a placeholder inside a name"
    for node in pipeline.nodes:
        if not isinstance(node.step, ProgramStep | ScriptStep | DataReceiptStep):
            yield f"node {node.name!r} is a function; the original knows only programs"
        if isinstance(node.step, ScriptStep) and node.step.function != node.name:
            yield f"node {node.name!r} must have the name of its function"
        if isinstance(node.step, DataReceiptStep) and node.name != DATA_RECEIPT:
            yield f"node {node.name!r} must be called {DATA_RECEIPT!r}"
        if len(_parents(pipeline, node)) > 1:
            yield (
                f"node {node.name!r} follows {', '.join(_parents(pipeline, node))}; "
                "in the original a node follows one"
            )
    for event in pipeline.events:
        if event.schedule:
            yield f"event {event.name!r} starts it by the clock"
    if pipeline.process is not Process.ALL:
        yield "only new items are processed"
    for node in pipeline.nodes:
        if node.memory_bytes or node.retry.times:
            yield f"node {node.name!r} has 'memory' or 'retry'"
        if node.remote or node.gpu or node.cores != 1:
            yield f"node {node.name!r} has 'remote', 'gpu' or 'cores'"
    for model_type in pipeline.model_types:
        if model_type.observed:
            yield f"models of {model_type.name!r} are chosen by time of observation"
    patterns = [
        *(one.pattern for one in pipeline.placeholders),
        *(one.files.rpartition("/")[2] for one in pipeline.data_types),
        *(one.files for one in pipeline.model_types),
    ]
    for pattern in dict.fromkeys(patterns):
        try:
            is_same = python_pattern(pattern) == pattern
        except DefinitionError:
            is_same = False
        if not is_same:
            yield f"the expression {pattern!r} means something else in Java"
    sides = {name for node in pipeline.nodes for name in _sides(node)}
    for name in sorted(
        n for n, all_subtasks in sides if (n, not all_subtasks) in sides
    ):
        yield f"data type {name!r} is read in two ways; the original knows one"


def _sides(node: Node) -> Iterator[tuple[str, bool]]:
    yield from ((one.data_type, one.all_subtasks) for one in node.inputs)


def _parents(pipeline: Pipeline, node: Node) -> list[str]:
    """Return the nodes that a node follows, but for those that others follow anyway."""
    direct = pipeline.upstream[node.name]
    above = {up for name in direct for up in _all_upstream(pipeline, name)}
    return [name for name in direct if name not in above]


def _all_upstream(pipeline: Pipeline, name: str) -> set[str]:
    found = set(pipeline.upstream[name])
    return found | {up for one in found for up in _all_upstream(pipeline, one)}


def _node(pipeline: Pipeline, node: Node) -> ZiggyNode:
    children = [n.name for n in pipeline.nodes if node.name in _parents(pipeline, n)]
    return ZiggyNode(
        name=node.name,
        children=tuple(children),
        single_subtask=node.single_subtask,
        max_workers=node.max_workers,
        parameter_sets=node.parameters,
        inputs=tuple(one.data_type for one in node.inputs),
        outputs=node.outputs,
        models=node.models,
    )


def _step(node: Node) -> ZiggyStep:
    file = node.step.script if isinstance(node.step, ScriptStep) else ""
    if isinstance(node.step, ProgramStep):
        file = node.step.program
    return ZiggyStep(name=node.name, file=file)


def _file_type(pipeline: Pipeline, one: DataType) -> ZiggyFileType:
    whole = {i.data_type for n in pipeline.nodes for i in n.inputs if i.all_subtasks}
    deeper, slash, name = one.files.rpartition("/")
    return ZiggyFileType(
        name=one.name,
        location=_place(one.location).text,
        files=f"{_place(Location(deeper)).text}/{name}" if slash else name,
        all_subtasks=one.name in whole,
    )


def _places(pipeline: Pipeline) -> Iterator[_Place]:
    for one in pipeline.data_types:
        yield _place(one.full_location)


def _place(location: Location) -> _Place:
    texts = []
    directories = []
    above = ""
    for (part,) in location.segments:
        name = part.placeholder or part.text
        above = f"{above}/{name}".lstrip("/")
        directories.append(ZiggyDirectory(path=above, is_regexp=bool(part.placeholder)))
        texts.append(name if part.pin is None else f"{name}${part.pin}")
    return _Place("/".join(texts), tuple(directories))
