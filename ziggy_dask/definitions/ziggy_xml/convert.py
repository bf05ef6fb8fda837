"""What Ziggy's definitions mean here: one pipeline of them, as a `Pipeline`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ziggy_dask.definitions.location import Location
from ziggy_dask.definitions.names import argument_name, suggestion
from ziggy_dask.definitions.pipeline import (
    DataReceiptStep,
    DataType,
    EventHandler,
    Input,
    ModelType,
    Node,
    Pipeline,
    Placeholder,
    Priority,
    ProductKind,
    ProgramStep,
    ScriptStep,
    Step,
)
from ziggy_dask.definitions.ziggy_xml.java import python_pattern
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyFileType,
    ZiggyModelType,
    ZiggyNode,
    ZiggyPipeline,
    ZiggyStep,
)
from ziggy_dask.errors import DefinitionError, Fault

DATA_RECEIPT = "data-receipt"
BYTES = "bytes"
"""Reader of delivered files that are kept as they are."""
DIRECTORY = "{directory}"
_SETTINGS = (
    "typical_s",
    "limit_s",
    "memory_bytes",
    "cores",
    "gpu",
    "remote",
    "retry",
    "max_failed_subtasks",
)
"""Of nodes: what XML can't say. The original keeps it beside the definitions."""


def pipeline_from_ziggy(library: Library, name: str, root: Path | None) -> Pipeline:
    """Return a pipeline of a library.

    Parameters
    ----------
    library
        All that it can refer to.
    name
        Its name.
    root
        Directory of its algorithms: programs in ``bin``, environments in ``env``.

    Raises
    ------
    DefinitionError
        With everything that it refers to and that is missing or has no meaning here.
    """
    given = library.pipelines[name]
    nodes = _reachable(given)
    faults = list(_missing(library, given, nodes))
    if faults:
        raise DefinitionError(faults)
    used = list(dict.fromkeys(t for n in nodes for t in (*n.inputs, *n.outputs)))
    has_receipt = any(one.name == DATA_RECEIPT for one in nodes)
    made = {output for one in nodes for output in one.outputs}
    types = _received(library, used) if has_receipt else used
    models = dict.fromkeys(m for one in nodes for m in one.models)
    if has_receipt:
        models |= dict.fromkeys(library.model_types)
    sets = dict.fromkeys(
        (*given.parameter_sets, *(s for n in nodes for s in n.parameter_sets))
    )
    return Pipeline(
        name=given.name,
        description=given.description,
        priority=Priority[given.priority] if given.priority else Priority.NORMAL,
        placeholders=_placeholders(library),
        data_types=tuple(
            _data_type(library, library.file_types[one], one in made, has_receipt)
            for one in types
        ),
        model_types=tuple(_model_type(library.model_types[one]) for one in models),
        parameter_sets=tuple(library.parameter_sets[one].content for one in sets),
        parameters=given.parameter_sets,
        nodes=tuple(_node(library, one, nodes) for one in nodes),
        events=tuple(
            EventHandler(
                name=one.name, directory=one.directory, is_enabled=one.is_enabled
            )
            for one in library.events.values()
            if one.pipeline == name
        ),
        root=root,
    )


def with_settings_of(pipeline: Pipeline, earlier: Pipeline) -> Pipeline:
    """Return a pipeline whose nodes keep what an earlier one's say that XML can't say.

    Those are needs and limits of a subtask, where it runs, and what is done when it fails,
    which belong to the names of pipeline and node.
    """
    kept = {
        one.name: {name: getattr(one, name) for name in _SETTINGS}
        for one in earlier.nodes
    }
    nodes = (replace(one, **kept.get(one.name, {})) for one in pipeline.nodes)
    return replace(pipeline, nodes=tuple(nodes))


def place_of(library: Library, location: str) -> str:
    """Return a location of Ziggy's datastore as a template.

    Raises
    ------
    DefinitionError
        If there is no such place in the tree of datastore nodes.
    """
    above = ""
    segments = []
    for element in location.split("/"):
        name, dollar, pin = element.partition("$")
        above = f"{above}/{name}".lstrip("/")
        directory = library.directories.get(above)
        if directory is None:
            raise DefinitionError(
                f"location {location!r}: the datastore has no node {above!r}"
                + suggestion(above, library.directories)
            )
        if not directory.is_regexp:
            if dollar:
                raise DefinitionError(
                    f"location {location!r} pins {name!r}, which is not an expression"
                )
            segments.append(name)
            continue
        segments.append(f"{{{argument_name(name)}{'=' if dollar else ''}{pin}}}")
    return "/".join(segments)


def _reachable(pipeline: ZiggyPipeline) -> list[ZiggyNode]:
    """Return the nodes that can be reached from the roots, in their order.

    Raises
    ------
    DefinitionError
        If they form a cycle.
    """
    by_name = {one.name: one for one in pipeline.nodes}
    reached: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " → ".join([*path[path.index(name) :], name])
            raise DefinitionError(
                f"pipeline {pipeline.name!r}: its nodes form a cycle: {cycle}"
            )
        if name in reached and not path:
            return
        reached.add(name)
        for child in by_name[name].children:
            walk(child, (*path, name))

    for root in pipeline.roots:
        walk(root, ())
    return [one for one in pipeline.nodes if one.name in reached]


def _missing(
    library: Library, pipeline: ZiggyPipeline, nodes: Sequence[ZiggyNode]
) -> Iterator[Fault]:
    who = f"pipeline {pipeline.name!r}"
    yield from _absent(
        who, "parameter set", pipeline.parameter_sets, library.parameter_sets
    )
    for node in nodes:
        who = f"pipeline {pipeline.name!r}: node {node.name!r}"
        if node.name != DATA_RECEIPT:
            yield from _absent(who, "step", [node.name], library.steps)
        groups: tuple[tuple[str, Sequence[str], Mapping[str, object]], ...] = (
            ("parameter set", node.parameter_sets, library.parameter_sets),
            ("data file type", (*node.inputs, *node.outputs), library.file_types),
            ("model type", node.models, library.model_types),
        )
        for kind, names, known in groups:
            yield from _absent(who, kind, names, known)


def _absent(
    who: str, kind: str, names: Sequence[str], known: Mapping[str, object]
) -> Iterator[Fault]:
    for name in dict.fromkeys(names):
        if name not in known:
            yield Fault(
                message=f"{who} refers to the {kind} {name!r}, which is defined "
                f"nowhere{suggestion(name, known)}"
            )


def _received(library: Library, used: Sequence[str]) -> list[str]:
    """Return the types that a pipeline with data receipt knows: those with a place."""
    placed = [
        name for name, one in library.file_types.items() if _has_place(library, one)
    ]
    return list(dict.fromkeys((*used, *placed)))


def _has_place(library: Library, one: ZiggyFileType) -> bool:
    try:
        place_of(library, _full(one)[0])
    except DefinitionError:
        return False
    return True


def _full(one: ZiggyFileType) -> tuple[str, str]:
    """Return the whole location of a type, and the expression for names."""
    deeper, slash, name = one.files.rpartition("/")
    return (f"{one.location}/{deeper}" if slash else one.location), name


def _placeholders(library: Library) -> tuple[Placeholder, ...]:
    used = {
        one.path.rpartition("/")[2]
        for one in library.directories.values()
        if one.is_regexp
    }
    return tuple(
        Placeholder(name=argument_name(one.name), pattern=python_pattern(one.value))
        for one in library.regexps.values()
        if one.name in used
    )


def _data_type(
    library: Library, one: ZiggyFileType, is_made: bool, has_receipt: bool
) -> DataType:
    full, name = _full(one)
    template = place_of(library, full)
    depth = len(one.location.split("/"))
    segments = template.split("/")
    is_received = has_receipt and not is_made
    return DataType(
        name=one.name,
        location=Location("/".join(segments[:depth])),
        kind=ProductKind.FILE,
        files="/".join([*segments[depth:], python_pattern(name)]),
        reader=BYTES if is_received else "",
        external=not is_received,
    )


def _model_type(one: ZiggyModelType) -> ModelType:
    return ModelType(
        name=one.name,
        files=python_pattern(one.files),
        version_group=max(one.version_group, 0),
        timestamp_group=max(one.timestamp_group, 0),
        semantic_version=one.semantic_version,
    )


def _node(library: Library, one: ZiggyNode, nodes: Sequence[ZiggyNode]) -> Node:
    parents = [parent.name for parent in nodes if one.name in parent.children]
    if one.name == DATA_RECEIPT:
        return Node(name=one.name, step=DataReceiptStep())
    made = {output: node.name for node in nodes for output in node.outputs}
    implied = {made.get(name) for name in one.inputs} | {DATA_RECEIPT}
    return Node(
        name=one.name,
        step=_step(library.steps[one.name]),
        inputs=tuple(
            Input(data_type=name, all_subtasks=library.file_types[name].all_subtasks)
            for name in one.inputs
        ),
        outputs=one.outputs,
        parameters=one.parameter_sets,
        models=one.models,
        after=tuple(parent for parent in parents if parent not in implied),
        single_subtask=one.single_subtask,
        max_workers=one.max_workers,
    )


def _step(step: ZiggyStep) -> Step:
    file = step.file or step.name
    if file.endswith(".py"):
        return ScriptStep(script=file, function=step.name)
    return ProgramStep(program=file, arguments=(DIRECTORY,))
