"""What is wrong with a pipeline definition: all of it, at once.

`check` looks at a whole pipeline and returns every problem with the place where
it stands, as a path of keys like ``("nodes", "flip", "inputs")``. Whoever read
the definition from a file turns such a path into a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from ziggy_dask.definitions.data_type_check import (
    data_type_problems,
    deeper_location,
    place_problems,
)
from ziggy_dask.definitions.names import (
    is_identifier,
    is_name,
    suggestion,
)
from ziggy_dask.definitions.node_check import node_problems
from ziggy_dask.definitions.pipeline import (
    DaskFunctionStep,
    DataReceiptStep,
    Node,
    Pipeline,
    ProductKind,
    ProgramStep,
    ScriptStep,
)
from ziggy_dask.definitions.problem import Problem, compiles, pattern_problems
from ziggy_dask.definitions.schedule import schedule_faults
from ziggy_dask.errors import DefinitionError, Fault


def check(pipeline: Pipeline) -> tuple[Problem, ...]:
    """Return everything that is wrong with a pipeline; nothing if it is sound."""
    return tuple(
        problem
        for look in (
            _names,
            _placeholders,
            data_type_problems,
            place_problems,
            _model_types,
            _events,
            _references,
            _writers,
            _readers,
            _cycles,
            _subtasks,
            _program_outputs,
            _output_places,
        )
        for problem in look(pipeline)
    )


def require_sound(pipeline: Pipeline) -> None:
    """Raise one `DefinitionError` that lists everything wrong with a pipeline."""
    problems = check(pipeline)
    if problems:
        raise DefinitionError(
            [Fault(message=f"{' › '.join(p.where)}: {p.message}") for p in problems]
        )


def _names(pipeline: Pipeline) -> Iterator[Problem]:
    if not is_name(pipeline.name):
        yield Problem(("pipeline",), f"{pipeline.name!r} can't name a pipeline")
    if not pipeline.nodes:
        yield Problem(("nodes",), "a pipeline needs at least one node")
    kinds = (
        ("nodes", "node", [one.name for one in pipeline.nodes]),
        ("data_types", "data type", [one.name for one in pipeline.data_types]),
        ("model_types", "model type", [one.name for one in pipeline.model_types]),
        ("parameter_sets", "parameter set", [s.name for s in pipeline.parameter_sets]),
        ("placeholders", "placeholder", [one.name for one in pipeline.placeholders]),
    )
    for key, kind, names in kinds:
        for name, times in Counter(names).items():
            if not is_name(name):
                yield Problem(
                    (key, name),
                    f"{name!r} can't name a {kind}: use up to 100 characters, no "
                    "slashes, no control characters, no white space at the ends",
                )
            if times > 1:
                yield Problem((key, name), f"{times} {kind}s have the name {name!r}")


def _placeholders(pipeline: Pipeline) -> Iterator[Problem]:
    for one in pipeline.placeholders:
        where = ("placeholders", one.name)
        if not is_identifier(one.name):
            yield Problem(
                where,
                f"placeholder {one.name!r} must be letters, digits and underscores",
            )
        yield from pattern_problems(where, one.pattern)


def _model_types(pipeline: Pipeline) -> Iterator[Problem]:
    for one in pipeline.model_types:
        where = ("model_types", one.name)
        yield from pattern_problems((*where, "files"), one.files)
        if not compiles(one.files):
            continue
        groups = re.compile(one.files).groups
        for key, group in (
            ("version_group", one.version_group),
            ("timestamp_group", one.timestamp_group),
            ("valid_from_group", one.valid_from_group),
            ("valid_until_group", one.valid_until_group),
        ):
            if group > groups:
                yield Problem(
                    (*where, key),
                    f"{key} is {group}, but {one.files!r} has only {groups} groups",
                )
        if one.semantic_version and one.version_group < 1:
            yield Problem(where, "semantic_version needs a version_group")
        if bool(one.observed) != bool(one.valid_from_group):
            yield Problem(
                where,
                "'observed', the placeholder that tells when data were taken, and "
                "'valid_from_group' need each other",
            )
        if one.observed:
            yield from _known(
                (*where, "observed"), "placeholder", one.observed, pipeline.patterns
            )


def _events(pipeline: Pipeline) -> Iterator[Problem]:
    for one in pipeline.events:
        where = ("events", one.name)
        if bool(one.directory) == bool(one.schedule):
            yield Problem(
                where,
                f"event {one.name!r} needs either a 'directory', for ready files, or a "
                "'schedule', such as \"30 2 * * *\"",
            )
        if one.schedule:
            for key, message in schedule_faults(one.schedule, one.timezone):
                yield Problem((*where, key), message)
        elif one.timezone != "UTC":
            yield Problem(
                (*where, "timezone"),
                f"event {one.name!r} has a 'timezone', but no 'schedule'",
            )


def _references(pipeline: Pipeline) -> Iterator[Problem]:
    for name in pipeline.parameters:
        yield from _known(("parameters",), "parameter set", name, pipeline.sets)
    for node in pipeline.nodes:
        where = ("nodes", node.name)
        uses: tuple[tuple[str, str, Iterable[str], Iterable[str]], ...] = (
            ("inputs", "data type", [i.data_type for i in node.inputs], pipeline.types),
            ("outputs", "data type", node.outputs, pipeline.types),
            ("parameters", "parameter set", node.parameters, pipeline.sets),
            ("models", "model type", node.models, pipeline.models),
            ("after", "node", node.after, pipeline.by_name),
        )
        for key, kind, names, known in uses:
            for name, times in Counter(names).items():
                yield from _known((*where, key), kind, name, known)
                if times > 1:
                    yield Problem((*where, key), f"{name!r} is named {times} times")
        yield from node_problems(node)
        yield from _times_of_models(pipeline, node)


def _times_of_models(pipeline: Pipeline, node: Node) -> Iterator[Problem]:
    types = [pipeline.types.get(one.data_type) for one in node.inputs]
    given = {name for one in types if one for name in one.location.placeholders}
    for one in pipeline.model_types:
        if one.name in node.models and one.observed and one.observed not in given:
            yield Problem(
                ("nodes", node.name, "models"),
                f"{one.name!r} is chosen by {one.observed!r}, which the location of no "
                f"input of {node.name!r} has",
            )


def _known(
    where: tuple[str, ...], kind: str, name: str, known: Iterable[str]
) -> Iterator[Problem]:
    names = list(known)
    if name not in names:
        yield Problem(where, f"unknown {kind} {name!r}{suggestion(name, names)}")


def _program_outputs(pipeline: Pipeline) -> Iterator[Problem]:
    for node in pipeline.nodes:
        if not isinstance(node.step, ProgramStep | ScriptStep):
            continue
        for one in (pipeline.types[o] for o in node.outputs if o in pipeline.types):
            if one.files and (one.reader or one.kind is ProductKind.FILE):
                continue
            needs = (
                "'files'" if one.kind is ProductKind.FILE else "'files' and 'reader'"
            )
            yield Problem(
                ("nodes", node.name, "outputs"),
                f"{node.name!r} is a program, so its output {one.name!r} needs {needs}: "
                "they tell which of its files to take in",
            )


def _writers(pipeline: Pipeline) -> Iterator[Problem]:
    receipts = [n for n in pipeline.nodes if isinstance(n.step, DataReceiptStep)]
    for node in receipts[1:]:
        yield Problem(("nodes", node.name), "a pipeline can have one data receipt node")
    writers: dict[str, str] = {
        one.name: receipts[0].name for one in pipeline.delivered if receipts
    }
    for node in pipeline.nodes:
        for name in node.outputs:
            if name in writers and writers[name] != node.name:
                yield Problem(
                    ("nodes", node.name, "outputs"),
                    f"{name!r} is already written by node {writers[name]!r}; "
                    "two products can't be in one place",
                )
            writers.setdefault(name, node.name)


def _readers(pipeline: Pipeline) -> Iterator[Problem]:
    written = {name for node in pipeline.nodes for name in node.outputs}
    for node in pipeline.nodes:
        for one in node.inputs:
            data_type = pipeline.types.get(one.data_type)
            brought = data_type and (data_type.reader or data_type.external)
            if data_type and not brought and one.data_type not in written:
                yield Problem(
                    ("nodes", node.name, "inputs"),
                    f"node {node.name!r} reads {one.data_type!r}, which no node writes "
                    "and no delivery can bring"
                    + suggestion(one.data_type, written - {one.data_type})
                    + " (or give the data type 'files' and a 'reader', or 'external: "
                    "true' if another pipeline writes it)",
                )


def _cycles(pipeline: Pipeline) -> Iterator[Problem]:
    done = {node.name for node in pipeline.ordered}
    left = {node.name for node in pipeline.nodes} - done
    if not left:
        return
    path = [min(left)]
    while True:
        following = min(up for up in pipeline.upstream[path[-1]] if up in left)
        if following in path:
            cycle = [*path[path.index(following) :], following]
            break
        path.append(following)
    yield Problem(
        ("nodes", cycle[0]),
        "the nodes form a cycle: " + " → ".join(repr(name) for name in reversed(cycle)),
    )


def _subtasks(pipeline: Pipeline) -> Iterator[Problem]:
    for node in pipeline.nodes:
        cut = [
            pipeline.types[one.data_type]
            for one in node.inputs
            if one.data_type in pipeline.types
            and not one.all_subtasks
            and pipeline.types[one.data_type].has_items
        ]
        outputs = [pipeline.types[o] for o in node.outputs if o in pipeline.types]
        whole = node.single_subtask or isinstance(node.step, DaskFunctionStep)
        if whole or not cut:
            continue
        where = ("nodes", node.name)
        for other in [*cut[1:], *outputs]:
            if other.has_items and other.chunk != cut[0].chunk:
                yield Problem(
                    where,
                    f"a subtask takes {cut[0].chunk} items of {cut[0].name!r} but "
                    f"{other.chunk} of {other.name!r}, so its region would not be whole "
                    f"chunks; give both the same 'chunk'",
                )
        for output in outputs:
            if not output.has_items:
                yield Problem(
                    (*where, "outputs"),
                    f"{output.name!r} has no 'subtask' dimension, so the many subtasks "
                    f"of {node.name!r} would overwrite each other; give it one, or set "
                    "'single_subtask: true' on the node",
                )


def _output_places(pipeline: Pipeline) -> Iterator[Problem]:
    for node in pipeline.nodes:
        inputs = [
            pipeline.types[one.data_type]
            for one in node.inputs
            if one.data_type in pipeline.types
        ]
        given = {name for one in inputs for name in one.location.placeholders}
        deeper = {n for d in map(deeper_location, inputs) if d for n in d.placeholders}
        for output in (pipeline.types[o] for o in node.outputs if o in pipeline.types):
            below = deeper_location(output)
            needs = (
                (output.location, given),
                *(((below, given | deeper),) if below else ()),
            )
            for location, known in needs:
                for name in location.free:
                    if inputs and name not in known:
                        yield Problem(
                            ("nodes", node.name, "outputs"),
                            f"the location '{location}' of {output.name!r} needs "
                            f"{name!r}, which no input of {node.name!r} has",
                        )
