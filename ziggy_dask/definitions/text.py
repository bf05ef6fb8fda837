"""Pipeline definitions as YAML: reading with all faults at once, and writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TypeVar

import yaml

from ziggy_dask.definitions.check import check
from ziggy_dask.definitions.code import check_code
from ziggy_dask.definitions.compute_text import read_remote, remote_content
from ziggy_dask.definitions.location import Location
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.parameters import (
    Parameter,
    ParameterSet,
    parameter_from_value,
)
from ziggy_dask.definitions.pipeline import (
    QUARANTINE,
    REFUSE,
    DaskFunctionStep,
    DataReceiptStep,
    DataType,
    EventHandler,
    FunctionStep,
    Input,
    ModelType,
    Node,
    Pipeline,
    Placeholder,
    Priority,
    Process,
    ProductKind,
    ProgramStep,
    Retry,
    ScriptStep,
    Step,
)
from ziggy_dask.definitions.problem import Problem
from ziggy_dask.definitions.section import (
    Document,
    Section,
    open_document,
    parse_document,
)
from ziggy_dask.errors import DefinitionError

DEFINITION_FILE = "pipeline.yaml"
DATA_RECEIPT = "data-receipt"


def read_pipeline(path: Path) -> Pipeline:
    """Read and check a pipeline definition.

    Parameters
    ----------
    path
        A YAML file, or a directory that holds one called ``pipeline.yaml``. The
        algorithms are looked for beside the file.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with file, line and fix.
    """
    file = path / DEFINITION_FILE if path.is_dir() else path
    if not file.exists():
        raise DefinitionError(
            f"{file}: no such file; a pipeline is a directory with a {DEFINITION_FILE}, "
            "or the path of such a file"
        )
    document, top = open_document(file)
    return _finish(document, top, file.parent.resolve(), with_code=True)


def pipeline_from_yaml(
    text: str, root: Path | None = None, file: str = "definition"
) -> Pipeline:
    """Read a pipeline from YAML text, without importing its algorithms."""
    document, top = parse_document(text, file)
    return _finish(document, top, root, with_code=False)


def pipeline_from_record(text: str, root: Path | None, name: str) -> Pipeline:
    """Read a pipeline that was checked when it was registered.

    What it needed then, such as a reader, may be gone by now; that is no reason
    not to show it.
    """
    document, top = parse_document(text, f"registered pipeline {name!r}")
    pipeline = pipeline_of(top, root)
    document.raise_faults()
    return pipeline


def read_parameters(path: Path) -> tuple[ParameterSet, ...]:
    """Read a file of parameter sets: names of sets, of parameters, and values.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with its line.
    """
    if not path.is_file():
        raise DefinitionError(f"{path}: no such file")
    document, top = open_document(path)
    sets = tuple(parameter_set_of(name, top.section(name)) for name in top.names())
    document.raise_faults()
    return sets


def parameters_to_yaml(sets: Sequence[ParameterSet]) -> str:
    """Return parameter sets as text that `read_parameters` reads."""
    return _dumped({one.name: _set_content(one) for one in sets})


def pipeline_to_yaml(pipeline: Pipeline) -> str:
    """Return the canonical text of a pipeline; defaults are left out."""
    content: dict[str, object] = {
        "pipeline": pipeline.name,
        "description": pipeline.description,
        "priority": _unless(pipeline.priority, Priority.NORMAL),
        "process": _unless(pipeline.process, Process.ALL),
        "placeholders": {one.name: one.pattern for one in pipeline.placeholders},
        "parameter_sets": {s.name: _set_content(s) for s in pipeline.parameter_sets},
        "interface_names": {
            s.name: s.interface_name
            for s in pipeline.parameter_sets
            if s.interface_name
        },
        "data_types": {d.name: _data_type_content(d) for d in pipeline.data_types},
        "model_types": {m.name: _model_type_content(m) for m in pipeline.model_types},
        "parameters": list(pipeline.parameters),
        "events": {e.name: _event_content(e) for e in pipeline.events},
        "nodes": {n.name: _node_content(n) for n in pipeline.nodes},
    }
    return _dumped(content)


def _dumped(content: dict[str, object]) -> str:
    return yaml.safe_dump(_lean(content), sort_keys=False, allow_unicode=True, width=88)


def _finish(
    document: Document, top: Section, root: Path | None, *, with_code: bool
) -> Pipeline:
    pipeline = pipeline_of(top, root)
    for problem in check(pipeline):
        document.take(problem)
    if with_code and not document.faults:
        for problem in check_code(pipeline):
            document.take(problem)
    document.raise_faults()
    return pipeline


def pipeline_of(top: Section, root: Path | None) -> Pipeline:
    """Read a pipeline; faults are left with its document."""
    placeholders = top.section("placeholders")
    interfaces = top.section("interface_names")
    sets = _each(top, "parameter_sets", parameter_set_of)
    known = [one.name for one in sets]
    for name in interfaces.names():
        if name not in known:
            interfaces.fault(
                name, f"unknown parameter set {name!r}{suggestion(name, known)}"
            )
    pipeline = Pipeline(
        name=top.text("pipeline"),
        description=top.text("description", ""),
        priority=top.choice("priority", Priority.NORMAL),
        process=top.choice("process", Process.ALL),
        placeholders=tuple(
            Placeholder(name=name, pattern=placeholders.text(name))
            for name in placeholders.names()
        ),
        parameter_sets=tuple(
            replace(one, interface_name=interfaces.text(one.name, "")) for one in sets
        ),
        data_types=_each(top, "data_types", _data_type),
        model_types=_each(top, "model_types", _model_type),
        events=_each(top, "events", _event),
        parameters=top.texts("parameters"),
        nodes=_each(top, "nodes", _node),
        root=root,
    )
    top.done()
    return pipeline


T = TypeVar("T")


def _each(top: Section, key: str, make: Callable[[str, Section], T]) -> tuple[T, ...]:
    made = []
    for name, section in top.sections(key):
        try:
            made.append(make(name, section))
        except DefinitionError as error:
            section.document.take(Problem(section.where, str(error)))
    return tuple(made)


def _data_type(name: str, section: Section) -> DataType:
    chunks = section.section("chunks")
    dtypes = section.section("dtypes")
    reader, options = _reader(section)
    data_type = DataType(
        name=name,
        location=_location(section),
        kind=section.choice("kind", ProductKind.ARRAY),
        subtask=section.text("subtask", ""),
        chunk=section.integer("chunk", 1),
        chunks=tuple((dim, chunks.integer(dim)) for dim in chunks.names()),
        compression=section.text("compression", "zstd"),
        files=section.text("files", ""),
        reader=reader,
        reader_options=options,
        dtypes=tuple((name, dtypes.text(name)) for name in dtypes.names()),
        external=section.flag("external"),
        file_format=section.text("file_format", "netcdf"),
    )
    section.done()
    return data_type


def _reader(section: Section) -> tuple[str, tuple[tuple[str, object], ...]]:
    """Return the name of a reader, and its options if it has any."""
    if not section.is_mapping("reader"):
        return section.text("reader", ""), ()
    outer = section.section("reader")
    name, *others = outer.names() or ("",)
    if others:
        section.fault(
            "reader",
            f"a data type has one reader, not {len(others) + 1}; write "
            f"'reader: {{{name}: {{OPTION: VALUE}}}}'",
        )
    inner = outer.section(name) if name else outer
    options = []
    for option in inner.names():
        value = inner.plain(option)
        options.append((option, tuple(value) if isinstance(value, list) else value))
    return name, tuple(options)


def _location(section: Section) -> Location:
    text = section.text("location")
    try:
        return Location(text or "missing")
    except DefinitionError as error:
        section.fault("location", str(error))
        return Location("faulty")


def _model_type(name: str, section: Section) -> ModelType:
    model_type = ModelType(
        name=name,
        files=section.text("files"),
        version_group=section.integer("version_group", 0),
        timestamp_group=section.integer("timestamp_group", 0),
        semantic_version=section.flag("semantic_version"),
        observed=section.text("observed", ""),
        valid_from_group=section.integer("valid_from_group", 0),
        valid_until_group=section.integer("valid_until_group", 0),
    )
    section.done()
    return model_type


def _event(name: str, section: Section) -> EventHandler:
    handler = EventHandler(
        name=name,
        directory=section.text("directory", ""),
        schedule=section.text("schedule", ""),
        timezone=section.text("timezone", "UTC"),
        is_enabled=section.flag("enabled", True),
    )
    section.done()
    return handler


def parameter_set_of(name: str, section: Section) -> ParameterSet:
    """Read a parameter set; faults are left with its document."""
    parameters = []
    for key in section.names():
        try:
            parameters.append(_parameter(key, section))
        except DefinitionError as error:
            section.fault(key, str(error))
    return ParameterSet(name=name, parameters=tuple(parameters))


def _parameter(key: str, section: Section) -> Parameter:
    if not section.is_mapping(key):
        return parameter_from_value(key, section.plain(key))
    inner = section.section(key)
    parameter = parameter_from_value(key, inner.plain("value"), inner.text("type"))
    inner.done()
    return parameter


def _node(name: str, section: Section) -> Node:
    time = section.section("time")
    retry = section.section("retry")
    section.refuse_zero("memory", "max_workers")
    time.refuse_zero("typical", "limit")
    node = Node(
        name=name,
        step=_step(name, section),
        inputs=_inputs(section),
        outputs=section.texts("outputs"),
        parameters=section.texts("parameters"),
        models=section.texts("models"),
        after=section.texts("after"),
        single_subtask=section.flag("single_subtask"),
        max_failed_subtasks=section.integer("max_failed_subtasks", 0),
        typical_s=time.duration("typical"),
        limit_s=time.duration("limit"),
        memory_bytes=section.size("memory"),
        cores=section.integer("cores", 1),
        gpu=section.integer("gpu", 0),
        remote=read_remote(section.section("remote")) if "remote" in section else None,
        retry=Retry(
            times=retry.integer("times", 0),
            memory=_factor(retry, "memory"),
            time=_factor(retry, "time"),
        ),
        max_workers=section.integer("max_workers", 0),
    )
    time.done()
    retry.done()
    section.done()
    return node


def _factor(section: Section, key: str) -> float:
    """Return a factor, as in ``x2``."""
    text = section.text(key, "x1")
    number = text.removeprefix("x")
    try:
        return float(number)
    except ValueError:
        section.fault(key, f"{text!r} is not a factor; write e.g. 'x2'")
        return 1.0


def _step(name: str, section: Section) -> Step:
    known = ("dask_function", "program", "script", "step")
    kinds = [key for key in known if key in section]
    if "function" in section and "script" not in section:
        kinds.insert(0, "function")
    if len(kinds) != 1:
        section.document.fault(
            section.where,
            f"node {name!r} needs exactly one of 'function', 'dask_function', "
            f"'program', 'script' and 'step: {DATA_RECEIPT}', "
            f"found {' and '.join(kinds) or 'none'}",
        )
    if "script" in section:
        return ScriptStep(
            script=section.text("script"), function=section.text("function", name)
        )
    if "program" in section:
        return ProgramStep(
            program=section.text("program"), arguments=section.texts("arguments")
        )
    if "function" in section:
        return FunctionStep(function=section.text("function"))
    if "dask_function" in section:
        return DaskFunctionStep(function=section.text("dask_function"))
    word = section.text("step", DATA_RECEIPT)
    if word != DATA_RECEIPT:
        section.fault(
            "step", f"unknown step {word!r}{suggestion(word, [DATA_RECEIPT])}"
        )
    bad_files = section.text("bad_files", REFUSE)
    if bad_files not in (REFUSE, QUARANTINE):
        section.fault(
            "bad_files",
            f"bad_files is {bad_files!r}, which is neither '{REFUSE}' nor '{QUARANTINE}'"
            f"{suggestion(bad_files, [REFUSE, QUARANTINE])}",
        )
    return DataReceiptStep(bad_files=bad_files)


def _inputs(section: Section) -> tuple[Input, ...]:
    if not section.is_mapping("inputs"):
        return tuple(Input(data_type=name) for name in section.texts("inputs"))
    inputs = []
    for name, inner in section.sections("inputs"):
        inputs.append(Input(data_type=name, all_subtasks=inner.flag("all_subtasks")))
        inner.done()
    return tuple(inputs)


def _unless(value: Enum, default: Enum) -> object:
    return None if value is default else value.value


def _lean(content: object) -> object:
    """Drop empty values, at every level but for the entries of named things."""
    if not isinstance(content, dict):
        return content
    return {
        key: value for key, value in content.items() if value not in (None, "", [], {})
    }


def _set_content(one: ParameterSet) -> dict[str, object]:
    return {
        parameter.name: _parameter_content(parameter) for parameter in one.parameters
    }


def _parameter_content(one: Parameter) -> object:
    value = list(one.value) if isinstance(one.value, tuple) else one.value
    plain = parameter_from_value(one.name, value) if value != [] else None
    if plain == one:
        return value
    return {"type": one.type_text, "value": value}


def _data_type_content(one: DataType) -> object:
    return _lean(
        {
            "location": str(one.location),
            "kind": _unless(one.kind, ProductKind.ARRAY),
            "subtask": one.subtask,
            "chunk": one.chunk if one.chunk != 1 else None,
            "chunks": dict(one.chunks),
            "compression": one.compression if one.compression != "zstd" else None,
            "files": one.files,
            "reader": _reader_content(one),
            "dtypes": dict(one.dtypes),
            "external": one.external or None,
            "file_format": one.file_format if one.file_format != "netcdf" else None,
        }
    )


def _reader_content(one: DataType) -> object:
    if not one.reader_options:
        return one.reader
    options = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in one.reader_options
    }
    return {one.reader: options}


def _model_type_content(one: ModelType) -> object:
    return _lean(
        {
            "files": one.files,
            "version_group": one.version_group or None,
            "timestamp_group": one.timestamp_group or None,
            "semantic_version": one.semantic_version or None,
            "observed": one.observed,
            "valid_from_group": one.valid_from_group or None,
            "valid_until_group": one.valid_until_group or None,
        }
    )


def _event_content(one: EventHandler) -> object:
    return _lean(
        {
            "directory": one.directory,
            "schedule": one.schedule,
            "timezone": one.timezone if one.timezone != "UTC" else None,
            "enabled": None if one.is_enabled else False,
        }
    )


def _node_content(one: Node) -> object:
    return _lean(
        {
            **_step_content(one.step),
            "inputs": _input_content(one.inputs),
            "outputs": list(one.outputs),
            "parameters": list(one.parameters),
            "models": list(one.models),
            "after": list(one.after),
            "single_subtask": one.single_subtask or None,
            "max_failed_subtasks": one.max_failed_subtasks or None,
            "memory": one.memory_bytes or None,
            "cores": one.cores if one.cores != 1 else None,
            "gpu": one.gpu or None,
            "retry": _retry_content(one.retry),
            "max_workers": one.max_workers or None,
            "time": _lean(
                {"typical": one.typical_s or None, "limit": one.limit_s or None}
            ),
            "remote": remote_content(one.remote) if one.remote else None,
        }
    )


def _retry_content(one: Retry) -> object:
    if not one.times:
        return None
    return {
        "times": one.times,
        **{
            key: f"x{factor:g}"
            for key, factor in (("memory", one.memory), ("time", one.time))
            if factor != 1.0
        },
    }


def _step_content(step: Step) -> dict[str, object]:
    if isinstance(step, FunctionStep):
        return {"function": step.function}
    if isinstance(step, DaskFunctionStep):
        return {"dask_function": step.function}
    if isinstance(step, ProgramStep):
        return {"program": step.program, "arguments": list(step.arguments)}
    if isinstance(step, ScriptStep):
        return {"script": step.script, "function": step.function}
    return {
        "step": DATA_RECEIPT,
        "bad_files": None if step.bad_files == REFUSE else step.bad_files,
    }


def _input_content(inputs: Sequence[Input]) -> object:
    if any(one.all_subtasks for one in inputs):
        return {
            one.data_type: {"all_subtasks": True} if one.all_subtasks else {}
            for one in inputs
        }
    return [one.data_type for one in inputs]
