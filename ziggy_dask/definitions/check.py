"""What is wrong with a pipeline definition: all of it, at once.

`check` looks at a whole pipeline and returns every problem with the place where
it stands, as a path of keys like ``("nodes", "flip", "inputs")``. Whoever read
the definition from a file turns such a path into a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import PurePosixPath

from ziggy_dask.definitions.batch import (
    Remote,
)
from ziggy_dask.definitions.location import Location
from ziggy_dask.definitions.names import (
    argument_name,
    is_identifier,
    is_name,
    suggestion,
)
from ziggy_dask.definitions.pipeline import (
    DaskFunctionStep,
    DataReceiptStep,
    DataType,
    Node,
    Pipeline,
    ProductKind,
    ProgramStep,
    ScriptStep,
    Step,
)
from ziggy_dask.definitions.problem import Problem
from ziggy_dask.definitions.schedule import schedule_faults
from ziggy_dask.errors import DefinitionError, Fault

COMPRESSIONS = ("zstd", "blosc", "none")
FILE_FORMATS = ("netcdf", "zarr")


def check(pipeline: Pipeline) -> tuple[Problem, ...]:
    """Return everything that is wrong with a pipeline; nothing if it is sound."""
    return tuple(
        problem
        for look in (
            _names,
            _placeholders,
            _data_types,
            _places,
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


def reader_names() -> tuple[str, ...]:
    """Return the names of all installed readers."""
    return tuple(sorted({one.name for one in entry_points(group="ziggy_dask.readers")}))


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
        yield from _pattern(where, one.pattern)


def _pattern(where: tuple[str, ...], pattern: str) -> Iterator[Problem]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(
            where,
            f"{pattern!r} is no regular expression: {error.msg}"
            + (f" at position {error.pos}" if error.pos is not None else ""),
        )


def _data_types(pipeline: Pipeline) -> Iterator[Problem]:
    for one in pipeline.data_types:
        where = ("data_types", one.name)
        for key, location in (("location", one.location), ("files", _deeper(one))):
            for name in location.placeholders if location else ():
                if name not in pipeline.patterns:
                    yield Problem(
                        (*where, key),
                        f"location '{location}' uses the unknown placeholder {name!r}"
                        + suggestion(name, pipeline.patterns),
                    )
            if location:
                yield from _pins(pipeline, one, location)
        yield from _storage(one)
        yield from _delivery(one)


def _deeper(one: DataType) -> Location | None:
    try:
        return one.deeper
    except DefinitionError:
        return None


def _pins(pipeline: Pipeline, one: DataType, location: Location) -> Iterator[Problem]:
    for part in (part for segment in location.segments for part in segment):
        pattern = pipeline.patterns.get(part.placeholder, "")
        if part.pin is None or not pattern or not _compiles(pattern):
            continue
        if re.fullmatch(pattern, part.pin) is None:
            yield Problem(
                ("data_types", one.name, "location"),
                f"location '{location}' pins {part.placeholder!r} to {part.pin!r}, "
                f"which does not match its pattern {pattern!r}",
            )


def _storage(one: DataType) -> Iterator[Problem]:
    where = ("data_types", one.name)
    if one.chunk < 1:
        yield Problem(
            (*where, "chunk"), f"chunk is {one.chunk}, but must be at least 1"
        )
    if one.chunk > 1 and not one.subtask:
        yield Problem(
            (*where, "chunk"), "chunk needs 'subtask', the dimension that is cut"
        )
    if one.chunk > 1 and one.kind is not ProductKind.ARRAY:
        yield Problem(
            (*where, "chunk"), f"a {one.kind.value} product has one item per subtask"
        )
    for dimension, size in one.chunks:
        if size < 1 or dimension == one.subtask:
            yield Problem(
                (*where, "chunks"),
                f"chunks: {dimension}: {size} is no size of a stored chunk along "
                "another dimension than 'subtask' (which has 'chunk')",
            )
    if one.compression not in COMPRESSIONS:
        yield Problem(
            (*where, "compression"),
            f"unknown compression {one.compression!r}"
            + suggestion(one.compression, COMPRESSIONS),
        )


def _delivery(one: DataType) -> Iterator[Problem]:
    where = ("data_types", one.name)
    is_file = one.kind is ProductKind.FILE
    if one.files:
        yield from _files(where, one)
    if bool(one.files) is not bool(one.reader) and not (is_file and one.files):
        has, lacks = ("files", "reader") if one.files else ("reader", "files")
        yield Problem(
            (*where, has),
            f"{has!r} needs {lacks!r}: deliveries want both the pattern of the file "
            "names and the reader",
        )
    if one.reader and one.reader not in reader_names():
        yield Problem(
            (*where, "reader"),
            f"no reader is called {one.reader!r}"
            + suggestion(one.reader, reader_names()),
        )
    if one.file_format not in FILE_FORMATS:
        yield Problem(
            (*where, "file_format"),
            f"unknown file format {one.file_format!r}"
            + suggestion(one.file_format, FILE_FORMATS),
        )
    if one.files and one.subtask and not is_file and _compiles(one.files):
        groups = re.compile(one.files).groups
        if not groups:
            yield Problem(
                (*where, "files"),
                f"{one.files!r} has no group, so files can't be told apart along "
                f"{one.subtask!r}; put parentheses around what names the item",
            )


def _files(where: tuple[str, ...], one: DataType) -> Iterator[Problem]:
    directory, slash, name = one.files.rpartition("/")
    yield from _pattern((*where, "files"), name)
    if not slash:
        return
    if one.kind is not ProductKind.FILE:
        yield Problem(
            (*where, "files"),
            f"{one.files!r}: only files of 'kind: file' can be in directories below "
            "their product",
        )
    try:
        Location(directory)
    except DefinitionError as error:
        yield Problem((*where, "files"), str(error))


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _places(pipeline: Pipeline) -> Iterator[Problem]:
    for number, one in enumerate(pipeline.data_types):
        for other in pipeline.data_types[:number]:
            pair = sorted((_shape(pipeline, one), _shape(pipeline, other)), key=len)
            if pair[1][: len(pair[0])] != pair[0] or _are_different_files(one, other):
                continue
            same = len(pair[0]) == len(pair[1])
            yield Problem(
                ("data_types", one.name, "location"),
                f"location '{one.location}' of {one.name!r} "
                f"{'is also that' if same else 'is nested with that'} of "
                f"{other.name!r} ('{other.location}'); each product needs its own place",
            )


def _are_different_files(one: DataType, other: DataType) -> bool:
    """Tell whether two types can share a directory, or lie within each other's."""
    if {one.kind, other.kind} != {ProductKind.FILE}:
        return False
    return (one.location, one.files) != (other.location, other.files)


def _shape(pipeline: Pipeline, one: DataType) -> tuple[str, ...]:
    """Return the location with patterns in place of placeholders' names."""
    return tuple(
        "".join(
            part.text
            or (f"{{={part.pin}}}" if part.pin is not None else "")
            or f"{{{pipeline.patterns.get(part.placeholder, part.placeholder)}}}"
            for part in segment
        )
        for segment in one.location.segments
    )


def _model_types(pipeline: Pipeline) -> Iterator[Problem]:
    for one in pipeline.model_types:
        where = ("model_types", one.name)
        yield from _pattern((*where, "files"), one.files)
        if not _compiles(one.files):
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
        yield from _node(node)
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


def _node(node: Node) -> Iterator[Problem]:
    where = ("nodes", node.name)
    if node.max_failed_subtasks < 0:
        yield Problem(where, "max_failed_subtasks can't be negative")
    if node.typical_s < 0:
        yield Problem(where, "typical time can't be negative")
    if node.limit_s < 0:
        yield Problem(where, "time limit can't be negative")
    if node.max_workers < 0:
        yield Problem(where, "max_workers can't be negative")
    if node.cores < 1:
        yield Problem(
            (*where, "cores"), f"cores is {node.cores}, but must be at least 1"
        )
    if node.gpu < 0:
        yield Problem((*where, "gpu"), "gpu can't be negative")
    if node.limit_s and node.typical_s > node.limit_s:
        yield Problem(
            (*where, "time"),
            f"the typical time, {node.typical_s:g} s, is longer than the limit, "
            f"{node.limit_s:g} s",
        )
    if node.remote is not None:
        yield from _remote((*where, "remote"), node, node.remote)
    if node.retry.times < 0:
        yield Problem(where, "retry: times can't be negative")
    if node.retry.memory < 1 or node.retry.time < 1:
        yield Problem(where, "retry: factors can't be less than 1")
    if node.retry.memory > 1 and not node.memory_bytes:
        yield Problem(where, "retry: memory grows only if the node says its 'memory'")
    if node.retry.time > 1 and not node.limit_s:
        yield Problem(where, "retry: time grows only if the node has a 'time: limit'")
    yield from _script(where, node.step)
    if isinstance(node.step, DataReceiptStep):
        if node.inputs or node.outputs:
            yield Problem(
                where,
                "data receipt has no inputs or outputs: it brings every data type "
                "that has 'files' and a 'reader'",
            )
        return
    is_program = isinstance(node.step, ProgramStep | ScriptStep)
    for key, given in (("inputs", node.inputs), ("outputs", node.outputs)):
        if not given and not (is_program and key == "outputs"):
            yield Problem(where, f"node {node.name!r} has no {key}")
    arguments = Counter(argument_name(one.data_type) for one in node.inputs)
    for name, times in arguments.items():
        if times > 1:
            yield Problem(
                (*where, "inputs"), f"{times} inputs have the argument name {name!r}"
            )


def _remote(where: tuple[str, ...], node: Node, remote: Remote) -> Iterator[Problem]:
    if not is_name(remote.environment):
        yield Problem(
            (*where, "environment"),
            f"{remote.environment!r} can't name an environment of the cluster file",
        )
    for key, number, least in (
        ("max_nodes", remote.max_nodes, 0),
        ("subtasks_per_core", remote.subtasks_per_core, 0),
        ("min_subtasks", remote.min_subtasks, -1),
    ):
        if number < least:
            yield Problem(
                (*where, key), f"{key} is {number:g}, but must be at least {least}"
            )
    if remote.queue and remote.reserved_queue:
        yield Problem(
            (*where, "reserved_queue"), "give 'queue' or 'reserved_queue', not both"
        )
    if isinstance(node.step, DataReceiptStep):
        yield Problem(where, "data receipt runs in the supervisor, never elsewhere")


def _script(where: tuple[str, ...], step: Step) -> Iterator[Problem]:
    if isinstance(step, ProgramStep) and not step.program.strip():
        yield Problem((*where, "program"), "names no program")
    if not isinstance(step, ScriptStep):
        return
    path = PurePosixPath(step.script)
    if path.suffix != ".py" or path.is_absolute() or ".." in path.parts:
        yield Problem(
            (*where, "script"),
            f"{step.script!r} is no script; write 'package/module.py'",
        )


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
        one.name: receipts[0].name
        for one in pipeline.data_types
        if receipts and one.reader
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
        deeper = {n for d in map(_deeper, inputs) if d for n in d.placeholders}
        for output in (pipeline.types[o] for o in node.outputs if o in pipeline.types):
            below = _deeper(output)
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
