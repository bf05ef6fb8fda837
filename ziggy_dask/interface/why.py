"""Why a value is what it is: what datastore and database know of it together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from ziggy_dask.datastore import Datastore
from ziggy_dask.datastore.origin import Origin
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import RecordsError
from ziggy_dask.planning import task_from_json
from ziggy_dask.records import instances, outcomes
from ziggy_dask.records.code import Kind
from ziggy_dask.records.recipes import find_recipes, recipe_of_subtask


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Who made a value, from what, with which code."""

    origin: Origin
    """What the datastore tells: node, task, subtask, code, parameters, models."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Snapshots from which inputs were read, by path."""
    host: str = ""
    """Machine that ran the subtask."""
    worker: str = ""
    """Worker that ran it."""
    started: datetime | None = None
    """When it began, UTC."""
    wall_s: float | None = None
    """Time that it took, in seconds."""
    node: Mapping[str, Any] = field(default_factory=dict)
    """Definition of the node as it was."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Python, packages and threads of the worker."""
    code: str = ""
    """Digest of the code that ran; see ``ziggy code``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        said = {k: v for k, v in asdict(self.origin).items() if k != "said"}
        own = {k: v for k, v in asdict(self).items() if k != "origin"}
        own["node_definition"] = own.pop("node")
        own["code_digest"] = own.pop("code")
        started = self.started.isoformat() if self.started else None
        return {**said, **own, "started": started}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what there is to say, each with a heading."""
        origin = self.origin
        yield "product", origin.path + (f"  {origin.item}" if origin.item else "")
        yield "made by", _maker(origin)
        for code in origin.code:
            yield "code", code
        for sets in origin.parameters:
            for name, values in sets.items():
                yield name, ", ".join(f"{k}={v}" for k, v in values.items())
        for name, file in origin.models.items():
            yield "model", f"{name}: {file}"
        for path, snapshot in self.inputs.items():
            yield "input", f"{path} of snapshot {snapshot}"
        if self.host:
            yield (
                "ran",
                f"on {self.host}, worker {self.worker}, for {self.wall_s:.3g} s",
            )
        if self.started:
            yield "started", f"{self.started:%Y-%m-%d %H:%M:%S} UTC"
        if self.environment:
            count = len(self.environment.get("packages", {}))
            yield (
                "python",
                f"{self.environment.get('python')}, {count} packages on record",
            )
        if origin.published:
            yield "published", origin.published
        for key in ("delivery", "file", "sha256"):
            if origin.said.get(key):
                yield key, str(origin.said[key])


def explain(
    site: OpenCluster, datastore: Datastore, path: str, where: Mapping[str, object]
) -> Why:
    """Return who made a product, or an item of it; see `Why`.

    Raises
    ------
    DatastoreError
        If there is no such product or item.
    """
    origin = datastore.product(path).why(**where)
    if origin.task is None:
        return Why(origin=origin)
    try:
        task = instances.task(site.database, origin.task)
    except RecordsError:  # the database is another one; the datastore knows the rest
        return Why(origin=origin)
    origin = _with_subtask(site, origin)
    why = Why(origin=origin, inputs=dict(task.inputs))
    if origin.subtask is not None:
        why = _with_outcome(site, why, task.id, origin.subtask)
    return _with_recipe(site, why)


def _with_subtask(site: OpenCluster, origin: Origin) -> Origin:
    """Find the subtask of an item in the task's plan, if the product does not tell it."""
    assert origin.task is not None
    assert origin.instance is not None
    if origin.item is None or origin.subtask is not None:
        return origin
    content = instances.task_plans(site.database, origin.instance).get(origin.task)
    plan = task_from_json(content, {}) if content else None
    if plan is None or plan.labels is None or origin.item not in plan.labels.texts():
        return origin
    return replace(origin, subtask=plan.labels.texts().index(origin.item) // plan.chunk)


def _with_outcome(site: OpenCluster, why: Why, task: int, number: int) -> Why:
    """Add when and where a subtask ran, if that is still the attempt that is stored."""
    found = recipe_of_subtask(site.database, task, number)
    stored = why.origin.attempt
    if found is None or (stored is not None and found[0] != stored):
        return why
    record = outcomes.subtask(site.database, task, number)
    return replace(
        why,
        host=record.host,
        worker=record.worker,
        started=record.started,
        wall_s=record.wall_s,
    )


def _with_recipe(site: OpenCluster, why: Why) -> Why:
    recipes = find_recipes(site.database, why.origin.recipes)
    for kind, _, digest, content in [one for some in recipes.values() for one in some]:
        if kind is Kind.NODE:
            why = replace(why, node=content)
        elif kind is Kind.ENVIRONMENT:
            why = replace(why, environment=content or {})
        elif kind is Kind.CODE:
            why = replace(why, code=digest)
    return why


def _maker(origin: Origin) -> str:
    words = [f"{origin.node} {origin.unit}".strip() or "another program"]
    if origin.instance is not None:
        words.append(f"instance {origin.instance} of {origin.pipeline}")
    if origin.task is not None:
        words.append(f"task {origin.task}")
    if origin.subtask is not None:
        words.append(f"subtask {origin.subtask}")
    if origin.attempt is not None:
        words.append(f"attempt {origin.attempt}")
    return ", ".join(words)
