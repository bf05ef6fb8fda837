"""Why a value is what it is: what datastore and database know of it together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from ziggy_dask.datastore import Datastore
from ziggy_dask.datastore.index import read_product
from ziggy_dask.datastore.origin import Origin, is_of_product, origin_said
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.origin import origins_of
from ziggy_dask.errors import RecordsError
from ziggy_dask.interface.lineage import parts_of, version_text
from ziggy_dask.planning import task_from_json
from ziggy_dask.records import instances, outcomes
from ziggy_dask.records.catalogue import number_of
from ziggy_dask.records.code import Kind
from ziggy_dask.records.deliveries import Brought, brought_by
from ziggy_dask.records.instances import TaskRecord
from ziggy_dask.records.lineage import MODELS
from ziggy_dask.records.outcomes import subtask_of_item
from ziggy_dask.records.recipes import find_recipes, recipe_of_subtask
from ziggy_dask.records.versions import Version, as_of, versions_of

_MOST_PARTS = 10
"""So many earlier versions are shown of which a product has parts."""


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
    """Python, packages and threads of the worker; empty: not known, or several."""
    environments: int = 0
    """From how many different environments the parts come."""
    code: str = ""
    """Digest of the code that ran; see ``ziggy code``. Empty: not known, or several."""
    brought: tuple[Brought, ...] = ()
    """Files of deliveries, of which one brought the item."""
    parts: tuple[Version, ...] = ()
    """Earlier versions of which the product has parts; if an item was asked for, those of
    which one brought it, where it is not on record which."""

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
        is_unknown = origin.item is not None and bool(self.parts)
        yield "made by", "one of these" if is_unknown else _maker(origin)
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
        if self.environments > 1:
            yield "python", f"{self.environments} environments; ask for one item"
        if origin.published:
            yield "published", origin.published
        for one in self.brought:
            number = "" if one.dataset_id is None else f" ({one.dataset_id})"
            perhaps = "perhaps " if len(self.brought) > 1 else ""
            yield (
                "brought by",
                f"{perhaps}{one.file} of delivery {one.delivery}{number}",
            )
            yield "sha256", one.sha256
        for version in self.parts[-_MOST_PARTS:]:
            parts = "also has", "parts of"
            heading, of = parts if self.origin.item is None else ("perhaps", "by")
            yield heading, f"{of} {version_text(version)}"
        if is_unknown and any(one.attempt is None for one in self.parts):
            yield "perhaps", "by an earlier one, which is not on record any more"
        if len(self.parts) > _MOST_PARTS:
            yield "", f"and of {len(self.parts) - _MOST_PARTS} earlier ones"


def explain(
    site: OpenCluster, datastore: Datastore, path: str, where: Mapping[str, object]
) -> Why:
    """Return who made a product, or an item of it; see `Why`.

    Raises
    ------
    DatastoreError
        If there is no such product or item.
    """
    origin = datastore.why(path, where)
    number = number_of(site.database, datastore.snapshot)
    brought = _brought(site, origin, number)
    if brought:
        origin = _as_brought(site, origin, {one.task for one in brought})
    parts = _parts(site, origin, number) if not where else ()
    if not brought and _is_of_any_version(origin):
        parts = _versions(site, origin.path, number)
        if len(parts) > 1 or any(one.attempt is None for one in parts):
            origin = _as_brought(site, origin, ())
    why = Why(origin=origin, brought=tuple(brought), parts=parts)
    if origin.task is None:
        return why
    task = _task_on_record(site, origin)
    if not is_of_product(origin):
        origin = _as_published(site, origin, task)
        why = replace(why, origin=origin)
    if task is None:  # the database is another one; the datastore knows the rest
        return why
    origin = _with_subtask(site, origin)
    why = replace(why, origin=origin, inputs=dict(task.inputs))
    if origin.subtask is not None:
        why = _with_outcome(site, why, task.id, origin.subtask)
    return _with_recipe(site, why)


def _task_on_record(site: OpenCluster, origin: Origin) -> TaskRecord | None:
    """Return the task of an origin; None: the database does not have it."""
    if origin.task is None:
        return None
    try:
        task = instances.task(site.database, origin.task)
    except RecordsError:
        return None
    if (task.instance, task.node) != (origin.instance, origin.node):
        return None
    if origin.published:
        # Numbers of what a restore put aside are given again.
        created = instances.instance(site.database, task.instance).created
        if datetime.fromisoformat(origin.published) < created.replace(microsecond=0):
            return None
    return task


def _brought(site: OpenCluster, origin: Origin, number: int | None) -> list[Brought]:
    """Return the files of deliveries of which one brought an item."""
    task = _task_on_record(site, origin)
    is_model = origin.task is None and origin.path.startswith(MODELS)
    if origin.item is None or not (
        is_model or (task is not None and task.position < 0)
    ):
        return []
    found = brought_by(site.database, origin.path, origin.item, number)
    if is_of_product(origin):
        return found
    return [one for one in found if is_model or one.task == origin.task]


def _as_brought(site: OpenCluster, origin: Origin, tasks: Collection[int]) -> Origin:
    """Return the origin of an item that some task took in; its product tells of the last."""
    if set(tasks) == {origin.task}:
        return origin
    if len(tasks) != 1:
        return replace(origin, instance=None, task=None, unit="", published="", said={})
    task = instances.task(site.database, *tasks)
    return replace(
        origin,
        instance=task.instance,
        task=task.id,
        node=task.node,
        unit=task.unit,
        published="",
        said={},
    )


def _is_of_any_version(origin: Origin) -> bool:
    """Tell whether an item came with a delivery of which its product does not tell."""
    if origin.item is None:
        return False
    if origin.task is None:
        return origin.path.startswith(MODELS)
    return is_of_product(origin) and "code_version" not in origin.said


def _versions(site: OpenCluster, path: str, number: int | None) -> tuple[Version, ...]:
    """Return the versions of a product up to a publication, since it was there."""
    found: list[Version] = []
    for one in versions_of(site.database, path):
        if number is None or one.number <= number:
            found = [] if one.is_removal else [*found, one]
    return tuple(found)


def _as_published(site: OpenCluster, origin: Origin, task: TaskRecord | None) -> Origin:
    """Return an origin with what its product said when its task was published."""
    commit = next(
        (
            one
            for one in site.repository.history(instance=origin.instance)
            if str(origin.task) in one.metadata.get("inputs", {})
        ),
        None,
    )
    said: Mapping[str, Any] = {}
    if commit is not None and commit.expired is None:
        session = site.repository.session_of(origin.path, commit.snapshot)
        said = read_product(session, origin.path).attributes
    if said.get("task") == origin.task:
        return origin_said(origin.path, origin.item, said, origin.subtask)
    if task is None:
        return origin
    content = instances.task_plans(site.database, task.instance).get(task.id)
    plans = {task.id: task_from_json(content, {})} if content else {}
    time = None if commit is None else commit.time
    said = {
        "pipeline": instances.instance(site.database, task.instance).pipeline,
        "instance": task.instance,
        "task": task.id,
        "node": task.node,
        "unit": task.unit,
        "published": "" if time is None else time.isoformat(timespec="seconds"),
        **origins_of(site.database, plans).get(task.id, {}),
    }
    return origin_said(origin.path, origin.item, said, origin.subtask)


def _parts(
    site: OpenCluster, origin: Origin, number: int | None
) -> tuple[Version, ...]:
    """Return the earlier versions of which a product has parts."""
    found = [] if number is None else versions_of(site.database, origin.path)
    start = as_of(found, number or 0)
    if start is None or start.is_removal:
        return ()
    return parts_of(site, start)


def _with_subtask(site: OpenCluster, origin: Origin) -> Origin:
    """Find the subtask of an item in the task's plan, if the product does not tell it."""
    assert origin.task is not None
    assert origin.instance is not None
    if origin.item is None or origin.subtask is not None:
        return origin
    subtask = subtask_of_item(site.database, origin.task, origin.path, origin.item)
    if subtask is None:
        return origin
    return origin_said(origin.path, origin.item, origin.said, subtask)


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
    """Add what the recipes say, as far as all of them say the same."""
    recipes = find_recipes(site.database, why.origin.recipes)
    found: dict[Kind, dict[str, Any]] = defaultdict(dict)
    for kind, _, digest, content in [one for some in recipes.values() for one in some]:
        found[kind][digest] = content
    nodes, environments = found[Kind.NODE], found[Kind.ENVIRONMENT]
    codes = found[Kind.CODE]
    return replace(
        why,
        node=_only(nodes) or {},
        environment=_only(environments) or {},
        code=next(iter(codes)) if len(codes) == 1 else "",
        environments=len(environments),
    )


def _only(contents: Mapping[str, Any]) -> Any:
    """Return the content that there is, if it is one alone."""
    return next(iter(contents.values())) if len(contents) == 1 else None


def _maker(origin: Origin) -> str:
    words = [f"{origin.node} {origin.unit}".strip() or "another program"]
    if origin.instance is not None:
        of = f" of {origin.pipeline}" if origin.pipeline else ""
        words.append(f"instance {origin.instance}{of}")
    if origin.task is not None:
        words.append(f"task {origin.task}")
    if origin.subtask is not None:
        words.append(f"subtask {origin.subtask}")
    if origin.attempt is not None:
        words.append(f"attempt {origin.attempt}")
    return ", ".join(words)
