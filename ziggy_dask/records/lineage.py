"""Lineage: what versions of products were made of, and what was made of them.

What a task read is said by the publication that stored it, so an input that was replaced since
is named as it was read. A version that only added to what was there, as deliveries and
products of files do, keeps parts of earlier ones; these count, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import takewhile
from typing import Any, Protocol

from sqlalchemy import Connection, select

from ziggy_dask.definitions import ProductKind
from ziggy_dask.records.code import Kind
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.deliveries import SEVERAL
from ziggy_dask.records.states import TaskStep
from ziggy_dask.records.tables import (
    DeliveredRow,
    DeliveryRow,
    FeedRow,
    IngredientRow,
    MakingRow,
    RecipeUseRow,
    TaskRow,
    VersionRow,
)
from ziggy_dask.records.versions import (
    Version,
    VersionKey,
    as_of,
    made_by,
    read_made,
    read_makers,
    read_numbers,
    read_reads,
    read_versions,
)

MODELS = "models/"
"""Models are products below this path."""
_END = 1 << 62
"""Later than all publications."""


class Relation(Enum):
    """What a version has to do with another one."""

    READ = "read"
    """Its task read the other one."""
    KEPT = "kept"
    """It has parts of the other one, to which it added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What a version has to do with another one."""

    made: VersionKey
    """What was made."""
    source: VersionKey
    """What it was made of."""
    relation: Relation
    """In which way."""
    item: str = ""
    """The file that was read, if it was only one: a version of a model."""
    is_sure: bool = True
    """Whether that is so; else it may be: what tells of it has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Versions that have to do with one, and in which way."""

    root: VersionKey
    """Whose lineage it is."""
    is_up: bool
    """Whether it is what that was made of; else what was made of that."""
    versions: Mapping[VersionKey, Version]
    """All versions in it."""
    edges: tuple[Edge, ...]
    """What they have to do with each other."""

    @property
    def next(self) -> dict[VersionKey, list[Edge]]:
        """The edges that lead further away, by the version where they begin."""
        found: dict[VersionKey, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.made if self.is_up else edge.source].append(edge)
        return found

    def beyond(self, edge: Edge) -> VersionKey:
        """Return the version at the far end of an edge."""
        return edge.source if self.is_up else edge.made


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A version to go on from."""

    version: Version
    """The version."""
    is_whole: bool = True
    """Whether all that it has counts; else only what it added to what was there."""


class Looks(Protocol):
    """Looks into the datastore for what is not on record."""

    def task_of(self, path: str, snapshot: str) -> int | None:
        """Return the task that a product says it is of."""

    def tasks_of_files(self, path: str, snapshot: str) -> Collection[int] | None:
        """Return the tasks that the files of a product say they are of.

        None: that version of the product has expired, and can't be looked into.
        """


@patiently
def lineage_up(
    database: Database, looks: Looks, start: Version, depth: int | None = None
) -> Lineage:
    """Return what a version was made of, back to what was delivered.

    Parameters
    ----------
    database
        The records.
    looks
        Looks into the datastore for what is not on record.
    start
        The version.
    depth
        So many steps back at most; None: all.
    """
    with database.reading() as connection:
        book = _Sources(connection, looks)
        return _grow(book, [Step(version=start)], depth, is_up=True)


@patiently
def lineage_down(
    database: Database,
    looks: Looks,
    start: Iterable[Step],
    depth: int | None = None,
) -> Lineage:
    """Return what was made of some versions, directly and in more steps.

    Parameters
    ----------
    database
        The records.
    looks
        Looks into the datastore for what is not on record.
    start
        The versions; the first one is the root.
    depth
        So many steps at most; None: all.
    """
    with database.reading() as connection:
        return _grow(_Uses(connection, looks), start, depth, is_up=False)


def completed_versions(
    connection: Connection, looks: Looks, path: str
) -> list[Version]:
    """Return all versions of a product, oldest first, with the tasks that made them."""
    return _Uses(connection, looks).completed_of(path)


def made_by_tasks(
    connection: Connection, looks: Looks, tasks: Collection[int]
) -> list[Version]:
    """Return the versions that stored tasks made, oldest first."""
    return _Uses(connection, looks).made_by(tasks)


def _grow(
    book: _Book, start: Iterable[Step], depth: int | None, *, is_up: bool
) -> Lineage:
    """Go from version to version until nothing new is found."""
    waiting = [replace(one, version=book.completed(one.version)) for one in start]
    versions = {one.version.key: one.version for one in waiting}
    root = waiting[0].version.key
    is_whole = {one.version.key: one.is_whole for one in waiting}
    edges: dict[Edge, None] = {}
    while waiting and depth != 0:
        found: dict[VersionKey, Step] = {}
        for edge, step in book.next(waiting):
            key = step.version.key
            edges[edge] = None
            versions.setdefault(key, step.version)
            if key not in is_whole or (step.is_whole and not is_whole[key]):
                is_whole[key] = step.is_whole
                found[key] = step
        waiting = list(found.values())
        depth = None if depth is None else depth - 1
    return Lineage(root=root, is_up=is_up, versions=versions, edges=tuple(edges))


class _Book(ABC):
    """Versions as they are looked up, each path once.

    Parameters
    ----------
    connection
        A connection to the records.
    looks
        Looks into the datastore for what is not on record.
    """

    def __init__(self, connection: Connection, looks: Looks) -> None:
        self.connection = connection
        self.looks = looks
        self._versions: dict[str, list[Version]] = {}
        self._reads: dict[int, dict[int, Mapping[str, str]]] = {}
        self._makers: dict[int, Any] = {}
        self._files: dict[VersionKey, Collection[int] | None] = {}
        self._lost: dict[str, Mapping[int | None, int]] = {}

    @abstractmethod
    def next(self, steps: Sequence[Step]) -> Iterator[tuple[Edge, Step]]:
        """Yield what is one step away from some versions."""

    def versions(self, path: str) -> list[Version]:
        """Return all versions of a product on record, oldest first."""
        self.learn([path])
        return self._versions[path]

    def learn(self, paths: Iterable[str]) -> None:
        """Look up all versions of some products at once."""
        new = [one for one in dict.fromkeys(paths) if one not in self._versions]
        if new:
            self._versions.update(read_versions(self.connection, new))

    def makers(self, tasks: Iterable[int]) -> Mapping[int, Any]:
        """Return what is on record of some tasks."""
        new = [one for one in dict.fromkeys(tasks) if one not in self._makers]
        if new:
            self._makers.update(dict.fromkeys(new))
            self._makers.update(read_makers(self.connection, new))
        return self._makers

    def reads(self, numbers: Iterable[int]) -> dict[int, dict[int, Mapping[str, str]]]:
        """Return which snapshots tasks read, by publication and task."""
        new = [one for one in dict.fromkeys(numbers) if one and one not in self._reads]
        if new:
            self._reads.update(read_reads(self.connection, new))
            for one in new:
                self._reads.setdefault(one, {})
        return self._reads

    def completed(self, version: Version) -> Version:
        """Return a version with the task that made it, asking the datastore if need be."""
        if version.task is not None or version.is_removal or not version.snapshot:
            return version
        task = self.looks.task_of(version.path, version.snapshot)
        if task is None:
            return version
        return made_by(version, task, self.makers([task])[task])

    def completed_of(self, path: str) -> list[Version]:
        """Return all versions of a product with the tasks that made them."""
        self._versions[path] = [self.completed(one) for one in self.versions(path)]
        return self._versions[path]

    def at(self, path: str, number: int, snapshot: str) -> Version:
        """Return the version of a product as of a publication."""
        known = as_of(self.versions(path), number) if number else None
        if known is None:
            known = Version(path=path, number=number, snapshot=snapshot, time=None)
        return self.completed(known)

    def read_by(self, version: Version) -> Mapping[str, str]:
        """Return the snapshots that the task of a version read, by path of the input."""
        if version.task is None:
            return {}
        said = self.reads([version.number]).get(version.number, {}).get(version.task)
        if said is not None:
            return said
        maker = self.makers([version.task])[version.task]
        return {} if maker is None else dict(maker.inputs)

    def kept_in(self, version: Version) -> Iterator[tuple[Version, bool]]:
        """Yield the earlier versions of which a version has parts, and whether that is sure."""
        earlier: list[Version] = []
        for one in self.completed_of(version.path):
            if one.number >= version.number:
                break
            earlier = [] if one.is_removal else [*earlier, one]
        if version.is_removal or not any(one.task != version.task for one in earlier):
            return
        if version.path.startswith(MODELS):
            yield from ((self.completed(one), True) for one in earlier)
            return
        tasks: Collection[int | None] | None = ()
        if version.kind == ProductKind.FILE.value:
            tasks = self._tasks_of_files(version)
        elif version.is_delivered:
            ends = self._ends(version.path)
            tasks = {
                one.task for one in earlier if ends.get(one.task, _END) > version.number
            }
        found = {one.task: one for one in map(self.completed, earlier)}
        for task, one in found.items():
            if task != version.task and (tasks is None or task in tasks):
                yield one, tasks is not None

    def keepers_of(self, version: Version) -> list[tuple[Version, bool]]:
        """Return the later versions that have parts of a version, and whether that is sure."""
        later: list[Version] = []
        for one in self.completed_of(version.path):
            if one.number > version.number:
                if one.is_removal or one.kind != version.kind:
                    break
                later.append(one)
        if version.path.startswith(MODELS):
            return [(one, True) for one in later]
        if version.kind == ProductKind.FILE.value:
            return self._keepers_of_files(version, later)
        if not version.is_delivered:
            return []
        end = self._ends(version.path).get(version.task, _END)
        kept = takewhile(lambda one: one.is_delivered and one.number < end, later)
        return [(one, True) for one in kept]

    def _keepers_of_files(
        self, version: Version, later: Sequence[Version]
    ) -> list[tuple[Version, bool]]:
        """Return those of some later versions that have files of a version."""

        def lacks(one: Version) -> bool:
            tasks = self._tasks_of_files(one)
            return tasks is not None and version.task not in tasks

        # What is replaced does not come back.
        some = later[: bisect_left(later, True, key=lacks)]
        if all(self._files.get(one.key, ()) is not None for one in later):
            return [(one, True) for one in some]
        kept = [one for one in some if not lacks(one)]
        known = [n for n, one in enumerate(kept) if self._files[one.key] is not None]
        last = known[-1] if known else -1
        return [(one, number <= last) for number, one in enumerate(kept)]

    def _tasks_of_files(self, version: Version) -> Collection[int] | None:
        if version.key not in self._files:
            found = self.looks.tasks_of_files(version.path, version.snapshot)
            self._files[version.key] = found
        return self._files[version.key]

    def _ends(self, path: str) -> Mapping[int | None, int]:
        """Return the publication as of which nothing is left of a delivery, by its task."""
        if path not in self._lost:
            numbers = {one.task: one.number for one in self.completed_of(path)}
            holders: dict[str, int] = {}
            ends: dict[int | None, int] = {}
            for item, task in _delivered_to(self.connection, path):
                before = holders.get(item)
                holders[item] = task
                if before is not None:
                    ends[before] = max(ends.get(before, 0), numbers.get(task, _END))
            self._lost[path] = ends | dict.fromkeys(holders.values(), _END)
        return self._lost[path]

    def file_at(self, path: str, number: int, snapshot: str) -> Version:
        """Return the version that brought a file of a model."""
        product, _, name = path.rpartition("/")
        query = (
            select(DeliveryRow.task_id)
            .join(DeliveredRow, DeliveredRow.delivery_id == DeliveryRow.id)
            .where(DeliveredRow.path == product, DeliveredRow.item == name)
            .order_by(DeliveredRow.id.desc())
        )
        task = self.connection.execute(query).scalars().first()
        for one in self.completed_of(product):
            if task is not None and one.task == task:
                return one
        return self.at(product, number, snapshot)


class _Sources(_Book):
    """Finds what versions were made of."""

    def next(self, steps: Sequence[Step]) -> Iterator[tuple[Edge, Step]]:
        """Yield what some versions were made of."""
        versions = [one.version for one in steps]
        self.reads(one.number for one in versions)
        self.makers(one.task for one in versions if one.task is not None)
        reads = {one.key: self.read_by(one) for one in versions}
        numbers = read_numbers(
            self.connection, {s for read in reads.values() for s in read.values()}
        )
        self.learn({_product(path) for read in reads.values() for path in read})
        for step in steps:
            one = step.version
            for path, snapshot in reads[one.key].items():
                number, is_file = numbers.get(snapshot, 0), path != _product(path)
                find = self.file_at if is_file else self.at
                source = find(path, number, snapshot)
                item = path.rpartition("/")[2] if is_file else ""
                edge = _edge(one, source, Relation.READ, item)
                yield edge, Step(version=source, is_whole=not is_file)
            for source, is_sure in self.kept_in(one) if step.is_whole else ():
                edge = replace(_edge(one, source, Relation.KEPT), is_sure=is_sure)
                yield edge, Step(version=source, is_whole=False)


class _Uses(_Book):
    """Finds what was made of versions."""

    def next(self, steps: Sequence[Step]) -> Iterator[tuple[Edge, Step]]:
        """Yield what was made of some versions."""
        wanted = {one.version.key for one in steps}
        paths = {one.version.path for one in steps}
        self.learn(paths)
        made = self.made_by(self._readers(paths))
        self.reads(one.number for one in made)
        reads = [(one, self.read_by(one)) for one in made]
        numbers = read_numbers(
            self.connection, {s for _, read in reads for s in read.values()}
        )
        for one, read in reads:
            for path, snapshot in read.items():
                if _product(path) not in paths:
                    continue
                number, is_file = numbers.get(snapshot, 0), path != _product(path)
                find = self.file_at if is_file else self.at
                source = find(path, number, snapshot)
                if source.key in wanted:
                    item = path.rpartition("/")[2] if is_file else ""
                    yield _edge(one, source, Relation.READ, item), Step(version=one)
        for step in steps:
            keepers = self.keepers_of(step.version) if step.is_whole else ()
            for one, is_sure in keepers:
                edge = _edge(one, step.version, Relation.KEPT)
                edge = replace(edge, is_sure=is_sure)
                yield edge, Step(version=self.completed(one), is_whole=False)

    def _readers(self, paths: Collection[str]) -> set[int]:
        """Return the stored tasks that read some products."""
        found: set[int] = set()
        for some in pieces(sorted(paths)):
            query = select(FeedRow.task_id).where(FeedRow.path.in_(some))
            found.update(self.connection.execute(query).scalars())
        models = [one.removeprefix(MODELS) for one in paths if one.startswith(MODELS)]
        for some in pieces(sorted(models)):
            query = (
                select(MakingRow.task_id)
                .join(RecipeUseRow, RecipeUseRow.recipe_id == MakingRow.recipe_id)
                .join(IngredientRow, IngredientRow.id == RecipeUseRow.ingredient_id)
                .where(
                    IngredientRow.kind == Kind.MODEL.value, IngredientRow.name.in_(some)
                )
                .distinct()
            )
            found.update(self.connection.execute(query).scalars())
        return found

    def made_by(self, tasks: Collection[int]) -> list[Version]:
        """Return the versions that tasks made; of what is not on record, by their plans."""
        known = read_made(self.connection, tasks)
        self.learn({one.path for one in known})
        found = [
            one for path in {v.path for v in known} for one in self._versions[path]
        ]
        found = [one for one in found if one.task in tasks and one.attempt is not None]
        rest = set(tasks) - {one.task for one in found}
        makers = self.makers(rest)
        stored = {
            n: makers[n] for n in sorted(rest) if makers[n] and makers[n].snapshot
        }
        numbers = read_numbers(
            self.connection, {one.snapshot for one in stored.values()}
        )
        for number, maker in stored.items():
            place = numbers.get(maker.snapshot, 0)
            for path in _targets(self.connection, number):
                one = self.at(path, place, maker.snapshot)
                found.append(made_by(one, number, maker))
            for path in (
                _published(self.connection, place) if maker.position < 0 else ()
            ):
                one = self.at(path, place, maker.snapshot)
                if one.task == number:
                    found.append(one)
        return sorted(found, key=lambda one: (one.number, one.path))


def _edge(made: Version, source: Version, relation: Relation, item: str = "") -> Edge:
    return Edge(made=made.key, source=source.key, relation=relation, item=item)


def _product(path: str) -> str:
    """Return the product of an input: a model is read as one file of it."""
    if path.startswith(MODELS) and path.count("/") > 1:
        return "/".join(path.split("/")[:2])
    return path


def _targets(connection: Connection, task: int) -> list[str]:
    query = select(TaskRow.plan).where(
        TaskRow.id == task, TaskRow.step == TaskStep.COMPLETE.value
    )
    plan = connection.execute(query).scalar_one_or_none() or {}
    return sorted({one["path"] for one in plan.get("targets", ())})


def _published(connection: Connection, number: int) -> list[str]:
    """Return the products of which a publication has a version."""
    query = select(VersionRow.path).where(VersionRow.publication == number)
    return sorted(connection.execute(query).scalars())


def _delivered_to(connection: Connection, path: str) -> Iterator[tuple[str, int]]:
    """Yield items of a product with the tasks that brought them, in the order of arrival."""
    query = (
        select(DeliveredRow.item, DeliveredRow.name, DeliveryRow.task_id)
        .join(DeliveryRow, DeliveryRow.id == DeliveredRow.delivery_id)
        .where(DeliveredRow.path == path)
        .order_by(DeliveredRow.id)
    )
    for row in connection.execute(query):
        yield (row.name if row.item == SEVERAL else row.item), row.task_id
