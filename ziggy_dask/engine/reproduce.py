"""Running tasks again as they were, beside the datastore, and comparing what comes out."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import icechunk

from ziggy_dask.datastore import Publication, Repository, create_repository
from ziggy_dask.datastore.comparing import (
    Difference,
    compare,
    compare_files,
    same_bytes,
)
from ziggy_dask.datastore.tree import place_at
from ziggy_dask.definitions import (
    CodeTree,
    DaskFunctionStep,
    ParameterSet,
    ProductKind,
    check_out,
)
from ziggy_dask.engine.context import InstanceContext, load_context
from ziggy_dask.engine.loading import LoadedTasks, load_tasks
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.publish import missing_items
from ziggy_dask.engine.work_orders import located, work_of
from ziggy_dask.errors import DatastoreError, RecordsError
from ziggy_dask.planning import TaskPlan
from ziggy_dask.records import TaskStep, instances
from ziggy_dask.records.code import Kind, load_code
from ziggy_dask.records.expiry import kept_state
from ziggy_dask.records.instances import TaskRecord
from ziggy_dask.records.library import set_from_json
from ziggy_dask.records.recipes import Extent, extents_of, read_recipes
from ziggy_dask.workers import BatchResult, SubtaskState, Work, run_batch
from ziggy_dask.workers.worker_environment import surroundings


class Verdict(Enum):
    """What became of running a task again."""

    SAME = "same"
    """All that it stored came out again, attributes and values, byte for byte."""
    EQUAL = "equal values"
    """All values and attributes came out again, stored in other bytes."""
    DIFFERS = "differs"
    """Something else came out, twice the same."""
    UNSTABLE = "not deterministic"
    """Two runs gave two results."""
    FAILED = "failed"
    """It did not come to its end this time."""
    IMPOSSIBLE = "not possible"
    """What it was made with is not there any more."""
    NOT_RUN = "can be run"
    """It was only looked at."""

    @property
    def is_good(self) -> bool:
        """Whether all values and attributes came out again."""
        return self in (Verdict.SAME, Verdict.EQUAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """A task that was run again."""

    task: int
    """Number of the task."""
    node: str
    """Name of its node."""
    unit: str
    """Name of its unit of work."""
    verdict: Verdict
    """What became of it."""
    lacking: tuple[str, ...] = ()
    """What could not be as it was."""
    differences: tuple[Difference, ...] = ()
    """What came out differently: from what is stored, or between two runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """Subtasks that were made alike, with what that needs."""

    extent: Extent
    code: CodeTree | None
    sets: tuple[ParameterSet, ...]


def reproduce(
    site: OpenCluster,
    instance: int,
    task: int | None,
    path: str | None,
    *,
    is_dry: bool = False,
) -> Iterator[Reproduced]:
    """Run tasks of an instance again, in this process, and compare what comes out.

    The datastore is only read: what is made lies in a scratch one.

    Parameters
    ----------
    site
        The open cluster.
    instance
        The instance.
    task
        Only this task of it; None: all.
    path
        Only tasks that make this product; None: all.
    is_dry
        Whether only to say what can't be as it was.

    Raises
    ------
    RecordsError
        If there is no such task in the instance.
    """
    record = instances.instance(site.database, instance)
    tasks = load_tasks(site.database, instance)
    chosen = [
        index
        for index, one in sorted(tasks.records.items())
        if task in (None, one.id)
        and (path is None or path in {t.path for t in tasks.plans[index].targets})
    ]
    if not chosen:
        what = f"task {task}" if task is not None else "task"
        of_it = f" that makes '{path}'" if path is not None else ""
        raise RecordsError(
            f"instance {instance} has no {what}{of_it} that can be run again; "
            f"ziggy tasks {instance} lists them"
        )
    context: InstanceContext | str
    try:
        base = _kept(site, "", record.base_snapshot)
        context = load_context(site, replace(record, base_snapshot=base))
    except (DatastoreError, RecordsError) as error:
        context = str(error)
    for index in chosen:
        one = tasks.records[index]
        if one.step is not TaskStep.COMPLETE:
            yield _told(one, Verdict.IMPOSSIBLE, ["it never stored anything"])
        elif isinstance(context, str):
            yield _told(one, Verdict.IMPOSSIBLE, [context])
        else:
            yield _reproduce(site, context, tasks, index, is_dry=is_dry)


def _told(
    task: TaskRecord,
    verdict: Verdict,
    lacking: Sequence[str],
    differences: Sequence[Difference] = (),
) -> Reproduced:
    return Reproduced(
        task=task.id,
        node=task.node,
        unit=task.unit,
        verdict=verdict,
        lacking=tuple(lacking),
        differences=tuple(differences),
    )


def _reproduce(
    site: OpenCluster,
    context: InstanceContext,
    tasks: LoadedTasks,
    index: int,
    *,
    is_dry: bool,
) -> Reproduced:
    """Run a task again; if something else comes out, twice."""
    record, plan = tasks.records[index], tasks.plans[index]
    try:
        made, lacking = _recipes(site, record)
        work = _work(site, context, tasks, index)
        stored = {
            target.path: _session(site, target.path, record.snapshot)
            for target in plan.targets
        }
    except (DatastoreError, RecordsError) as error:
        return _told(record, Verdict.IMPOSSIBLE, [str(error)])
    if is_dry:
        return _told(record, Verdict.NOT_RUN, lacking)
    home = site.cluster.home
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=home) as place:
        first = _Scratch(Path(place) / "1", site, work, plan)
        if failure := first.run(made):
            return _told(record, Verdict.FAILED, [*lacking, failure])
        found = list(first.unlike(stored, record.id))
        if not found:
            verdict = Verdict.SAME if first.is_same(stored) else Verdict.EQUAL
            return _told(record, verdict, lacking)
        second = _Scratch(Path(place) / "2", site, work, plan)
        if failure := second.run(made):
            return _told(record, Verdict.FAILED, [*lacking, failure])
        others = dict.fromkeys(stored, first.session)
        if unstable := list(second.unlike(others, record.id)):
            return _told(record, Verdict.UNSTABLE, lacking, unstable)
        return _told(record, Verdict.DIFFERS, lacking, found)


def _recipes(site: OpenCluster, record: TaskRecord) -> tuple[list[_Made], list[str]]:
    """Return how the subtasks of a task were made, and what can't be as it was.

    Raises
    ------
    RecordsError
        If that is not on record.
    """
    extents = extents_of(site.database, [record.id])[record.id]
    if not extents or not all(one.recipe for one in extents):
        raise RecordsError(
            "what it was made with is not on record: it is of an earlier version"
        )
    recipes = read_recipes(site.database, list({one.recipe for one in extents}))
    made: list[_Made] = []
    lacking: dict[str, None] = {}
    for extent in extents:
        code: CodeTree | None = None
        sets: list[ParameterSet] = []
        for kind, name, digest, content in recipes[extent.recipe]:
            if kind is Kind.CODE:
                code = load_code(site.database, digest)
            elif kind is Kind.PARAMETERS:
                sets.append(set_from_json(name, content))
            elif kind is Kind.ENVIRONMENT and content:
                lacking.update(dict.fromkeys(_other_surroundings(content)))
        made.append(_Made(extent=extent, code=code, sets=tuple(sets)))
    return made, list(lacking)


def _other_surroundings(then: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of the Python and the packages of a worker is another one here."""
    now = json.loads(surroundings())[""]
    for name in ("python", "implementation", "system", "machine"):
        if then.get(name) != now[name]:
            yield f"{name} {then.get(name, '-')} is {now[name]} here"
    was, here = then.get("packages", {}), now["packages"]
    for name in sorted(was.keys() | here.keys()):
        if was.get(name) != here.get(name):
            yield f"package {name} {was.get(name, '-')} is {here.get(name, '-')} here"
    if "container" in then and then["container"] != now["container"]:
        yield f"it ran {'in' if then['container'] else 'outside'} a container"
    had, has = then.get("variables", {}), now["variables"]
    for name in sorted(had.keys() | has.keys()):
        if had.get(name) != has.get(name):
            yield f"variable {name} {_value(had, name)} is {_value(has, name)} here"


def _value(variables: Mapping[str, str], name: str) -> str:
    return repr(variables[name]) if name in variables else "-"


def _work(
    site: OpenCluster, context: InstanceContext, tasks: LoadedTasks, index: int
) -> Work:
    """Return the work on a task, with inputs from states that are kept.

    Raises
    ------
    DatastoreError
        If an input has expired.
    """
    record, plan = tasks.records[index], tasks.plans[index]
    work = work_of(
        context,
        plan,
        record.id,
        token=f"reproduce-{uuid.uuid4().hex}",
        scaffold=b"",
        snapshots=tasks.snapshots(),
        allocations={},
        changes=record.changes,
    )
    read: dict[str, str] = dict(record.inputs)
    sources = [
        replace(one, snapshot=_kept(site, one.path, read.get(one.path, one.snapshot)))
        for one in work.sources
    ]
    models = {
        name: replace(one, snapshot=_kept(site, one.path, one.snapshot))
        for name, one in work.models.items()
    }
    for name, one in work.models.items():
        if read and f"{one.path}/{one.stored}" not in read:
            raise DatastoreError(f"the model {name} that it used has expired")
    work = replace(work, sources=tuple(sources), models=models)
    return located(site.repository, work)


def _kept(site: OpenCluster, path: str, snapshot: str | None) -> str:
    """Return a snapshot that has what a product was at another one."""
    found = kept_state(site.database, path, snapshot or "")
    if found is None:
        what = f"'{path}'" if path else "the datastore"
        raise DatastoreError(f"{what} as of snapshot {snapshot!r} has expired")
    return found


def _session(site: OpenCluster, path: str, snapshot: str) -> icechunk.Session:
    return site.repository.session_of(path, _kept(site, path, snapshot))


def _run(work: Work, subtasks: Sequence[int]) -> BatchResult:
    """Run subtasks; those of a Dask function need a worker around them."""
    if not isinstance(work.step, DaskFunctionStep):
        return run_batch(work, subtasks)
    from distributed import Client

    with Client(processes=False, n_workers=1, dashboard_address=None) as client:
        found: BatchResult = client.submit(
            run_batch, work, subtasks, pure=False
        ).result()
    return found


class _Scratch:
    """A datastore of its own for what one run of a task makes."""

    def __init__(
        self, place: Path, site: OpenCluster, work: Work, plan: TaskPlan
    ) -> None:
        self._site = site
        self._repository: Repository = create_repository(str(place))
        self._kinds = {sink.path: sink.kind for sink in work.sinks}
        self._plan = plan
        self._made: dict[str, set[int]] = {}
        scaffold = self._repository.scaffold("scratch", sorted(self._kinds))
        token = f"{work.token}-{place.name}"
        self._work = replace(work, token=token, scaffold=scaffold)
        self._dimensions = {
            sink.path: sink.storage.dimension if sink.kind is ProductKind.ARRAY else ""
            for sink in work.sinks
        }

    def run(self, made: Sequence[_Made]) -> str:
        """Run the subtasks, and publish what they make; return why one failed, or ""."""
        change_sets: dict[str, list[bytes]] = {}
        for one in made:
            subtasks = range(one.extent.start, min(one.extent.stop, self._work.count))
            result = _run(self._as_then(one), subtasks)
            for outcome in result.outcomes:
                if outcome.state is not SubtaskState.COMPLETE:
                    return f"subtask {outcome.subtask} failed: {outcome.message}"
                for path in outcome.outputs:
                    self._made.setdefault(path, set()).add(outcome.subtask)
            for path, data in result.change_sets.items():
                change_sets.setdefault(path, []).append(data)
        self._repository.publish(
            [
                Publication(
                    path=path,
                    change_sets=sets,
                    attributes={
                        "kind": self._kinds[path].value,
                        "dimension": self._dimensions[path],
                        **missing_items(
                            self._plan, self._kinds[path], self._made[path]
                        ),
                    },
                    is_files=self._kinds[path] is ProductKind.FILE,
                )
                for path, sets in change_sets.items()
                if path in self._made
            ],
            "Run again",
            {},
        )
        return ""

    def _as_then(self, one: _Made) -> Work:
        """Return the work with the code and the parameters of then."""
        work = replace(self._work, sets=one.sets)
        if one.code is None:
            return work
        place = self._site.cluster.home / "code" / one.code.digest[:16]
        root = check_out(one.code, place, None)
        return replace(work, root=root, code_version=one.code.version)

    @property
    def session(self) -> icechunk.Session:
        """A session that reads what was made."""
        return self._repository.reading()

    def unlike(
        self, others: Mapping[str, icechunk.Session], task: int
    ) -> Iterator[Difference]:
        """Yield how what was made differs from other states of it, by product."""
        session = self.session
        for path, other in others.items():
            if self._kinds[path] is ProductKind.FILE:
                yield from compare_files(other, session, path, task)
                continue
            there = place_at(other, path)
            was_made = there is not None and there.task in (None, task)
            if was_made and path in self._made:
                yield from compare(other, session, path)
            elif was_made or path in self._made:
                word = "second" if path in self._made else "first"
                yield Difference(path=path, note=f"only in the {word}")

    def is_same(self, stored: Mapping[str, icechunk.Session]) -> bool:
        """Tell whether what was made is stored in the very same bytes."""
        return all(
            same_bytes(session, self.session, path)
            for path, session in stored.items()
            if path in self._made and self._kinds[path] is not ProductKind.FILE
        )
