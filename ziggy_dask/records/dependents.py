"""What depends on a model, a parameter, code, a package, a delivery or a file.

Looked up from what was used: ingredients lead to recipes, these to tasks, and tasks to the
versions of products that they made. What was made of those depends on it, too.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Connection, select

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError, RecordsError
from ziggy_dask.records.code import Kind
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.deliveries import SEVERAL
from ziggy_dask.records.lineage import (
    MODELS,
    Looks,
    Relation,
    Step,
    completed_versions,
    lineage_down,
    made_by_tasks,
)
from ziggy_dask.records.tables import (
    DeliveredRow,
    DeliveryRow,
    IngredientRow,
    InstanceRow,
    MakingRow,
    RecipeUseRow,
)
from ziggy_dask.records.versions import Version, VersionKey

_MOST_TOLD = 20


class Used(Enum):
    """What products can depend on."""

    MODEL = "model"
    """A type of model, or a version of one: ``NAME@VERSION``."""
    PARAMETER = "parameter"
    """A parameter, or a value of one: ``Set.name=value``."""
    CODE = "code"
    """Code, by the begin of its digest or version, or the number of an instance."""
    PACKAGE = "package"
    """A package that was installed where subtasks ran: ``scipy<1.15``."""
    DELIVERY = "delivery"
    """A delivery, by its dataset id or name."""
    FILE = "file"
    """A delivered file, by its name, with or without directories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A version of a product that depends on something."""

    version: Version
    """The version."""
    is_direct: bool
    """Whether it was made with it, or holds it; else it was made of what was."""
    through: tuple[str, ...] = ()
    """The products of which it was made that depend on it."""


@patiently
def dependents(
    database: Database, looks: Looks, used: Used, name: str
) -> list[Dependent]:
    """Return the versions that depend on something, oldest first.

    Parameters
    ----------
    database
        The records.
    looks
        Looks into the datastore for what is not on record.
    used
        What `name` is.
    name
        What is asked for.

    Raises
    ------
    RecordsError
        If nothing of that name is on record; with what there is.
    DefinitionError
        If the name is not written as one of its kind.
    """
    with database.reading() as connection:
        start = list(_FINDERS[used](connection, looks, name))
    if not start:
        return []
    found = lineage_down(database, looks, start)
    direct = {one.version.key for one in start}
    through: dict[VersionKey, set[str]] = {}
    for edge in found.edges:
        is_same = edge.relation is Relation.KEPT and edge.source in direct
        if is_same and used in (Used.DELIVERY, Used.FILE):
            direct.add(edge.made)
        through.setdefault(edge.made, set()).add(edge.source.path)
    ordered = sorted(found.versions.values(), key=lambda one: (one.number, one.path))
    return [
        Dependent(
            version=one,
            is_direct=one.key in direct,
            through=()
            if one.key in direct
            else tuple(sorted(through.get(one.key, ()))),
        )
        for one in ordered
    ]


def _with_model(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    model, sign, version = name.partition("@")
    known = list(_ingredients(connection, Kind.MODEL))
    _require("model", model, {row.name for row, _ in known})
    versions = {
        row.id: _model_names(content) for row, content in known if row.name == model
    }
    if sign:
        told = {one for names in versions.values() for one in names}
        _require(f"version of the model {model!r}", version, told)
    keys = [key for key, names in versions.items() if not sign or version in names]
    yield from _made_with(connection, looks, keys)


def _with_parameter(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    known, sign, value = name.partition("=")
    found: dict[str, dict[str, list[int]]] = {}
    for row, content in _ingredients(connection, Kind.PARAMETERS):
        for key, _, text in content["parameters"]:
            values = found.setdefault(f"{row.name}.{key}", {})
            values.setdefault(str(text), []).append(row.id)
    _require("parameter", known, found)
    keys = [key for some in found[known].values() for key in some]
    if sign:
        same = [text for text in found[known] if _is_same_value(text, value)]
        _require(
            f"value of {known}",
            value if not same else same[0],
            found[known],
            as_list=True,
        )
        keys = [key for text in same for key in found[known][text]]
    yield from _made_with(connection, looks, keys)


def _with_code(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    text = name.removeprefix("sha256:")
    if text.isdecimal() and len(text) < 8:
        query = select(InstanceRow.code).where(InstanceRow.id == int(text))
        text = connection.execute(query).scalar_one_or_none() or text
    rows = connection.execute(
        select(IngredientRow.id, IngredientRow.name, IngredientRow.digest).where(
            IngredientRow.kind == Kind.CODE.value
        )
    ).all()
    keys = [
        row.id
        for row in rows
        if text and (row.digest.startswith(text) or row.name.startswith(text))
    ]
    if not keys:
        _require("code", name, {row.digest[:12] for row in rows}, as_list=True)
    yield from _made_with(connection, looks, keys)


def _with_package(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion

    try:
        wanted = Requirement(name)
    except InvalidRequirement:
        raise DefinitionError(
            f"package {name!r}: write a name and which versions, as in 'scipy<1.15'"
        ) from None
    found: dict[str, dict[int, str]] = {}
    for row, content in _ingredients(connection, Kind.ENVIRONMENT):
        for package, version in ((content or {}).get("packages") or {}).items():
            found.setdefault(canonicalize_name(package), {})[row.id] = version
    package = canonicalize_name(wanted.name)
    _require("package", package, found)
    keys = []
    for key, version in found[package].items():
        try:
            is_meant = wanted.specifier.contains(version, prereleases=True)
        except InvalidVersion:
            is_meant = not wanted.specifier
        if is_meant:
            keys.append(key)
    yield from _made_with(connection, looks, keys)


def _of_delivery(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    rows = connection.execute(
        select(DeliveryRow.dataset_id, DeliveryRow.name, DeliveryRow.task_id)
    ).all()
    tasks = {row.task_id for row in rows if str(row.dataset_id) == name}
    tasks = tasks or {row.task_id for row in rows if row.name == name}
    if not tasks:
        ids = {str(row.dataset_id or row.name) for row in rows}
        _require("delivery", name, ids, as_list=True)
    for version in made_by_tasks(connection, looks, tasks):
        yield Step(version=version)


def _of_file(connection: Connection, looks: Looks, name: str) -> Iterator[Step]:
    query = select(DeliveredRow.__table__, DeliveryRow.task_id).join(
        DeliveryRow, DeliveryRow.id == DeliveredRow.delivery_id
    )
    rows = connection.execute(query.where(DeliveredRow.name == name)).all()
    if not rows:
        below = DeliveredRow.name.endswith(f"/{name}", autoescape=True)
        rows = connection.execute(query.where(below)).all()
    if not rows:
        some = connection.execute(select(DeliveredRow.name).limit(10_000)).scalars()
        _require("delivered file", name, set(some))
    for row in rows:
        if row.path.startswith(MODELS):
            stored = _ingredients(connection, Kind.MODEL)
            keys = [one.id for one, content in stored if content["stored"] == row.item]
            yield from _made_with(connection, looks, keys)
        yield from _holders(connection, looks, row)


def _holders(connection: Connection, looks: Looks, row: Any) -> Iterator[Step]:
    """Yield the versions that have what a delivered file brought."""
    column = DeliveredRow.name if row.item == SEVERAL else DeliveredRow.item
    same = row.name if row.item == SEVERAL else row.item
    after = (
        select(DeliveryRow.task_id)
        .join(DeliveredRow, DeliveredRow.delivery_id == DeliveryRow.id)
        .where(DeliveredRow.path == row.path, column == same, DeliveredRow.id > row.id)
    )
    replacing = set(connection.execute(after).scalars())
    is_there = False
    for one in completed_versions(connection, looks, row.path):
        if one.task == row.task_id:
            is_there = True
        elif one.task in replacing or not one.is_delivered or not one.kind:
            is_there = is_there and one.kind == "file" and one.task not in replacing
        if is_there:
            yield Step(version=one, is_whole=False)


def _made_with(
    connection: Connection, looks: Looks, ingredients: Iterable[int]
) -> Iterator[Step]:
    """Yield the versions that were made with some ingredients."""
    makings: set[tuple[int, int]] = set()
    for some in pieces(sorted(set(ingredients))):
        query = (
            select(MakingRow.task_id, MakingRow.attempt)
            .join(RecipeUseRow, RecipeUseRow.recipe_id == MakingRow.recipe_id)
            .where(RecipeUseRow.ingredient_id.in_(some))
            .distinct()
        )
        makings.update((row.task_id, row.attempt) for row in connection.execute(query))
    for one in made_by_tasks(connection, looks, {task for task, _ in makings}):
        if one.attempt is None or (one.task, one.attempt) in makings:
            yield Step(version=one)


def _ingredients(connection: Connection, kind: Kind) -> Iterator[tuple[Any, Any]]:
    query = select(IngredientRow.__table__).where(IngredientRow.kind == kind.value)
    for row in connection.execute(query):
        text = zlib.decompress(row.content)
        content = json.loads(text) if text else None
        yield row, content.get(row.name) if isinstance(content, dict) else content


def _model_names(content: Any) -> set[str]:
    """Return what a version of a model is called: its file, as delivered and as stored."""
    return {str(content["original"]), str(content["stored"])}


def _is_same_value(text: str, value: str) -> bool:
    try:
        return text == value or float(text) == float(value)
    except ValueError:
        return False


def _require(
    what: str, name: str, known: Collection[str], *, as_list: bool = False
) -> None:
    """Refuse a name that is not on record, with what there is.

    Raises
    ------
    RecordsError
        If it is not.
    """
    if name in known:
        return
    if not known:
        there = "; none is on record"
    elif as_list:
        some = sorted(known)
        more = f" and {len(some) - _MOST_TOLD} more" if len(some) > _MOST_TOLD else ""
        there = f"; there are: {', '.join(some[:_MOST_TOLD])}{more}"
    else:
        there = suggestion(name, sorted(known))
    raise RecordsError(f"there is no {what} {name!r} on record{there}")


_Finder = Callable[[Connection, Looks, str], Iterator[Step]]
_FINDERS: dict[Used, _Finder] = {
    Used.MODEL: _with_model,
    Used.PARAMETER: _with_parameter,
    Used.CODE: _with_code,
    Used.PACKAGE: _with_package,
    Used.DELIVERY: _of_delivery,
    Used.FILE: _of_file,
}
