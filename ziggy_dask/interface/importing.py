"""Importing and exporting definition files of the original Ziggy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ziggy_dask.definitions import Pipeline, check_code, pipeline_to_yaml
from ziggy_dask.definitions.check import check
from ziggy_dask.definitions.ziggy_xml import (
    Library,
    ZiggySet,
    library_from_pipeline,
    merge_libraries,
    parse_ziggy_xml,
    pipeline_from_ziggy,
    read_ziggy_xml,
    with_settings_of,
    ziggy_xml,
)
from ziggy_dask.errors import DefinitionError, Fault
from ziggy_dask.records import Database, library
from ziggy_dask.records.library import Change, Registered


def import_ziggy(
    database: Database,
    paths: Sequence[Path],
    *,
    updates: bool,
    home: Path | None,
    dry_run: bool,
) -> list[Registered]:
    """Register the definitions of files of the original Ziggy, all or nothing.

    Parameters
    ----------
    database
        Where.
    paths
        The files.
    updates
        Whether definitions that are there already are replaced.
    home
        Directory of the algorithms; None: that of the first file.
    dry_run
        Whether to check only.

    Returns
    -------
    list
        What became of pipelines and parameter sets.

    Raises
    ------
    DefinitionError
        With everything that is wrong; nothing is registered then.
    """
    new = read_ziggy_xml(paths)
    stored = stored_library(database)
    merged = merge_libraries(stored, new, updates=updates)
    known = {one.pipeline.name: one.pipeline for one in library.pipelines(database)}
    foreign = [
        one for one in new.pipelines if one in known and one not in stored.pipelines
    ]
    if foreign:
        raise DefinitionError(
            f"pipeline {foreign[0]!r} is registered from another definition; give one "
            "of them another name"
        )
    default = (home or paths[0].parent).resolve()
    pipelines = list(_sound(merged, known, default))
    if dry_run:
        return []
    done = library.register(database, pipelines, ziggy_xml(merged))
    return [*_once(done), *_library_only(new, merged)]


def stored_library(database: Database) -> Library:
    """Return the original's definitions, with the newest values of parameters."""
    text = library.ziggy_library(database)
    stored = parse_ziggy_xml(text) if text else Library()
    sets = dict(stored.parameter_sets)
    for name in stored.pipelines:
        for one in library.parameter_sets(database, name).values():
            if one.content.name in sets:
                sets[one.content.name] = ZiggySet(content=one.content)
    return replace(stored, parameter_sets=sets)


def export_definition(database: Database, name: str, *, as_xml: bool) -> str:
    """Return a pipeline with its newest parameters as YAML, or as the original's XML.

    Raises
    ------
    DefinitionError
        If there is no such pipeline, or XML can't say what it is.
    """
    pipeline = library.pipeline(database, name).pipeline
    newest = library.parameter_sets(database, name)
    sets = tuple(newest[one.name].content for one in pipeline.parameter_sets)
    current = replace(pipeline, parameter_sets=sets)
    if not as_xml:
        return pipeline_to_yaml(current)
    stored = stored_library(database)
    if name in stored.pipelines:
        return ziggy_xml(_only(stored, name, current))
    return ziggy_xml(library_from_pipeline(current))


def _sound(
    merged: Library, known: dict[str, Pipeline], default: Path
) -> Iterator[Pipeline]:
    """Yield the pipelines of a library; raise if any is unsound."""
    faults: list[Fault] = []
    made: list[Pipeline] = []
    for name in merged.pipelines:
        earlier = known.get(name)
        root = (earlier and earlier.root) or default
        try:
            pipeline = pipeline_from_ziggy(merged, name, root)
        except DefinitionError as error:
            faults.extend(error.faults)
            continue
        if earlier:
            pipeline = with_settings_of(pipeline, earlier)
        problems = check(pipeline) or tuple(check_code(pipeline))
        faults.extend(
            Fault(message=f"pipeline {name!r}: {' › '.join(p.where)}: {p.message}")
            for p in problems
        )
        made.append(pipeline)
    if faults:
        raise DefinitionError(faults)
    yield from made


def _once(done: Sequence[Registered]) -> list[Registered]:
    """Return what was done, of sets that several pipelines share only once."""
    found: dict[tuple[str, str], Registered] = {}
    for one in done:
        before = found.get((one.kind, one.name))
        if before is None or before.change is Change.SAME:
            found[one.kind, one.name] = one
    return list(found.values())


def _library_only(new: Library, merged: Library) -> Iterator[Registered]:
    for name in merged.parameter_sets:
        if name not in new.parameter_sets:
            yield Registered(
                kind="parameter set", name=name, version=0, change=Change.LIBRARY_ONLY
            )


def _only(stored: Library, name: str, pipeline: Pipeline) -> Library:
    """Return what a library has of one pipeline."""
    nodes = {one.name for one in pipeline.nodes}
    return replace(
        stored,
        steps={k: v for k, v in stored.steps.items() if k in nodes},
        pipelines={name: stored.pipelines[name]},
        parameter_sets={
            one.name: ZiggySet(content=one) for one in pipeline.parameter_sets
        },
        file_types={k: v for k, v in stored.file_types.items() if k in pipeline.types},
        model_types={
            k: v for k, v in stored.model_types.items() if k in pipeline.models
        },
        events={k: v for k, v in stored.events.items() if v.pipeline == name},
    )
