"""From a request to an instance: everything it depends on, fixed for ever."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from ziggy_dask.datastore import Labels
from ziggy_dask.definitions import ParameterSet, Pipeline, Process
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.engine.code import code_of_pipeline
from ziggy_dask.engine.history import ProcessedItems, to_leave_out
from ziggy_dask.engine.holdings import held, keep_settled
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DefinitionError, RecordsError
from ziggy_dask.planning import (
    NONE_PROCESSED,
    Holding,
    Plan,
    Where,
    never_settled,
    plan_instance,
    selected_nodes,
)
from ziggy_dask.records import instances, library
from ziggy_dask.records.code import save_code
from ziggy_dask.records.library import StoredPipeline, StoredSet
from ziggy_dask.records.triggers import NewEvent

_LOOKED_AT = 20
"""So many publications are looked at, newest first, for instances that are not on record."""
_PACKAGES = ("ziggy-dask", "icechunk", "zarr", "xarray", "dask", "distributed", "numpy")

Overrides = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the operator asks for."""

    pipeline: str
    """Name of the pipeline."""
    name: str = ""
    """Name for the instance."""
    start: str | None = None
    """Node to start from; None: all roots."""
    stop: str | None = None
    """Node whose followers are left out; None: none."""
    where: Where = field(default_factory=Where)
    """Choice of units of work."""
    process: Process | None = None
    """Which items to process; None: as the pipeline says."""
    parameters: Overrides = field(default_factory=dict)
    """Values to change for this instance, by set and parameter."""
    labels: tuple[str, ...] | None = None
    """Labels of the event that asks: directories of deliveries to take in; None: no
    event does."""
    event: NewEvent | None = None
    """The event that asks; it is recorded with the instance."""
    number: int | None = None
    """Number of the operator's request on record; None: it is not."""
    receipt: Path | None = None
    """Where deliveries are looked for; None: the cluster's receipt directory."""
    needs_manifest: bool = True
    """Whether deliveries must have manifests."""


def launch(site: OpenCluster, request: Request) -> int:
    """Make an instance; return its number. Nothing runs yet.

    Raises
    ------
    DefinitionError
        If the request does not fit the pipeline; nothing is changed then.
    """
    _require_fitting(site)
    stored = library.pipeline(site.database, request.pipeline)
    selected_nodes(stored.pipeline, request.start, request.stop)
    chosen_sets(site, stored, request.parameters)  # what is refused locks nothing
    code = code_of_pipeline(stored.pipeline)
    if code is not None:
        save_code(site.database, code)
    stored, known = library.lock_newest(site.database, request.pipeline)
    sets = _with_values(stored, known, request.parameters)
    return instances.create_instance(
        site.database,
        instances.NewInstance(
            name=request.name,
            pipeline_id=stored.id,
            code_version=code.version if code is not None else "installed",
            code=code.digest if code is not None else "",
            options=_options(request),
            parameters={
                name: {
                    "version": base.version,
                    "content": library.set_to_json(one),
                    "changed": sorted(request.parameters.get(name, {})),
                }
                for name, (base, one) in sets.items()
            },
            software=software_versions(),
            base_snapshot=site.repository.tip(),
        ),
        request.event,
    )


def _require_fitting(site: OpenCluster) -> None:
    """Refuse to launch where records were put back that are older than the datastore.

    Its number would be that of an instance whose products are stored already.
    """
    known = instances.newest_number(site.database)
    for commit in islice(site.repository.history(), _LOOKED_AT):
        number = commit.metadata.get("instance")
        if isinstance(number, int) and number > known:
            raise RecordsError(
                f"the datastore has products of instance {number}, but the newest one on "
                f"record is {known}: an older database was put back; restore the backup "
                "that belongs to this datastore with: ziggy restore FILE"
            )


def chosen_sets(
    site: OpenCluster, stored: StoredPipeline, overrides: Overrides
) -> dict[str, tuple[StoredSet, ParameterSet]]:
    """Return the newest version of each set of a pipeline, and its values for a run.

    Raises
    ------
    DefinitionError
        If an override names an unknown set or parameter, or has a bad value.
    """
    known = library.parameter_sets(site.database, stored.pipeline.name)
    return _with_values(stored, known, overrides)


def _with_values(
    stored: StoredPipeline, known: Mapping[str, StoredSet], overrides: Overrides
) -> dict[str, tuple[StoredSet, ParameterSet]]:
    """Return the sets of a pipeline that are among those that are known; see above."""
    known = {name: known[name] for name in stored.pipeline.sets}
    for name in overrides:
        if name not in known:
            raise DefinitionError(
                f"pipeline {stored.pipeline.name!r} has no parameter set {name!r}"
                + suggestion(name, known)
            )
    return {
        name: (base, base.content.with_values(overrides.get(name, {})))
        for name, base in known.items()
    }


def plan(
    site: OpenCluster,
    pipeline: Pipeline,
    request: Request,
    expected: Mapping[str, list[Holding]],
    *,
    keeps: bool = False,
) -> Plan:
    """Plan all tasks that a request would run now.

    Parameters
    ----------
    site
        The open cluster; the newest snapshot of its datastore counts.
    pipeline
        The pipeline.
    request
        What is asked for.
    expected
        Products that data receipt is going to bring, by data type.
    keeps
        Whether to keep for later plans in which units nothing is left to do; only the
        supervisor does.
    """
    nodes = selected_nodes(pipeline, request.start, request.stop)
    stored = held(site, pipeline, request.where)
    holdings: dict[str, list[Holding]] = dict(stored.holdings)
    processed = to_leave_out(site.database, pipeline, request.process)
    for name, arriving in expected.items():
        known = {one.path: one for one in holdings.get(name, [])}
        for one in arriving:
            known[one.path] = _together(known.get(one.path), one)
        holdings[name] = list(known.values())
    made = plan_instance(
        pipeline,
        holdings,
        nodes=nodes,
        where=request.where,
        processed=processed,
        is_settled=(
            never_settled if processed is NONE_PROCESSED else stored.is_settled
        ),
    )
    if isinstance(processed, ProcessedItems) and keeps and not request.where.is_choice:
        settled = [
            (node, paths)
            for node, paths in made.settled
            # What is in flight may fail yet.
            if not any((node, path) in processed.in_flight for path in paths)
        ]
        keep_settled(site, pipeline, stored.number, settled)
    return made


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def request_from_options(pipeline: str, options: Mapping[str, Any]) -> Request:
    """Return the request that an instance was made of, but for name and parameters."""
    return Request(
        pipeline=pipeline,
        start=options["start"],
        stop=options["stop"],
        where=Where(
            include=tuple((k, v) for k, v in options["include"]),
            exclude=tuple((k, v) for k, v in options["exclude"]),
        ),
        process=Process(options["process"]) if options.get("process") else None,
        labels=tuple(options["labels"]) if options.get("labels") is not None else None,
        receipt=Path(options["receipt"]) if options["receipt"] else None,
        needs_manifest=options["needs_manifest"],
    )


def request_to_json(request: Request) -> dict[str, Any]:
    """Return plain values that `request_from_json` turns back into an equal request."""
    return {
        "pipeline": request.pipeline,
        "name": request.name,
        "options": _options(request),
        "parameters": {name: dict(v) for name, v in request.parameters.items()},
        "handler": request.event.handler if request.event else "",
    }


def request_from_json(content: Mapping[str, Any]) -> Request:
    """Return the request that `request_to_json` described."""
    asked = request_from_options(content["pipeline"], content["options"])
    handler = content.get("handler", "")
    return replace(
        asked,
        name=content["name"],
        parameters=content["parameters"],
        event=fired_event(asked.pipeline, handler, asked.labels) if handler else None,
    )


def fired_event(
    pipeline: str, handler: str, labels: tuple[str, ...] | None
) -> NewEvent:
    """Return the event that an operator fires."""
    return NewEvent(pipeline=pipeline, handler=handler, labels=labels or ())


def _options(request: Request) -> dict[str, Any]:
    return {
        "start": request.start,
        "stop": request.stop,
        "include": [list(pair) for pair in request.where.include],
        "exclude": [list(pair) for pair in request.where.exclude],
        "process": request.process.value if request.process else "",
        "labels": request.labels if request.labels is None else list(request.labels),
        "request": request.number,
        "receipt": str(request.receipt.resolve()) if request.receipt else "",
        "needs_manifest": request.needs_manifest,
    }


def _together(stored: Holding | None, arriving: Holding) -> Holding:
    """Return a product as it will be when a delivery has been added to it."""
    if stored is not None and stored.misfit:
        return stored
    stored = None if stored is None else stored.seen()
    if stored is None or stored.labels is None or arriving.labels is None:
        return arriving
    texts = [*stored.labels, *arriving.labels.without(stored.labels)]
    return Holding(
        path=stored.path,
        values=stored.values,
        labels=Labels.of(texts),
        task=arriving.task,
    )
