"""Why a product was made anew: what differs between what two versions were made with."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from ziggy_dask.records.code import Kind
from ziggy_dask.records.database import Database, patiently, pieces
from ziggy_dask.records.tables import (
    DeliveryRow,
    IngredientRow,
    MakingRow,
    RecipeUseRow,
)
from ziggy_dask.records.versions import (
    Version,
    VersionKey,
    as_of,
    read_numbers,
    read_reads,
    read_versions,
)

_SHORT = 12
_MOST_TOLD = 3
"""So much of what differs between two environments is told."""
_NESTED = {"packages": "package", "variables": "variable"}
"""What of an environment has values by name, and how one is called."""


class Used(NamedTuple):
    """Something that a version was made with."""

    kind: Kind
    """What it is."""
    name: str
    """Its name."""
    digest: str
    """Tells it from others of its kind."""
    content: Any = None
    """What it says; None for code."""


@patiently
def reasons(database: Database, versions: Sequence[Version]) -> dict[VersionKey, str]:
    """Return why each version of a product was made.

    Parameters
    ----------
    database
        The records.
    versions
        All versions of the product, oldest first.
    """
    with database.reading() as connection:
        used = read_used(connection, versions)
        reads = _versions_read(connection, versions)
        names = _delivery_names(connection, versions)
    found: dict[VersionKey, str] = {}
    before: Version | None = None
    for one in versions:
        found[one.key] = names.get(one.task) or _reason(one, before, used, reads)
        before = None if one.is_removal else one
    return found


@patiently
def used_by(
    database: Database, versions: Sequence[Version]
) -> dict[VersionKey, list[Used]]:
    """Return what versions were made with, as far as it is on record."""
    with database.reading() as connection:
        return read_used(connection, versions)


def read_used(
    connection: Connection, versions: Iterable[Version]
) -> dict[VersionKey, list[Used]]:
    """Return what versions were made with, as far as it is on record."""
    wanted = [one for one in versions if one.task is not None]
    query = (
        select(
            MakingRow.task_id,
            MakingRow.attempt,
            IngredientRow.kind,
            IngredientRow.name,
            IngredientRow.digest,
            IngredientRow.content,
        )
        .join(RecipeUseRow, RecipeUseRow.recipe_id == MakingRow.recipe_id)
        .join(IngredientRow, IngredientRow.id == RecipeUseRow.ingredient_id)
        .order_by(IngredientRow.kind, IngredientRow.name, IngredientRow.digest)
        .distinct()
    )
    made: dict[tuple[int, int], list[Used]] = defaultdict(list)
    contents: dict[str, Any] = {}
    for some in pieces(sorted({one.task for one in wanted if one.task is not None})):
        for row in connection.execute(query.where(MakingRow.task_id.in_(some))):
            if row.digest not in contents:
                contents[row.digest] = _content(row)
            made[row.task_id, row.attempt].append(
                Used(Kind(row.kind), row.name, row.digest, contents[row.digest])
            )
    found: dict[VersionKey, list[Used]] = {}
    for one in wanted:
        assert one.task is not None
        attempts = [key for key in made if key[0] == one.task]
        attempt = (
            max(attempts, default=(0, 0))[1] if one.attempt is None else one.attempt
        )
        found[one.key] = made.get((one.task, attempt), [])
    return found


def differences(before: Sequence[Used], after: Sequence[Used]) -> Iterator[str]:
    """Yield what differs between what two versions were made with, in short words."""
    old, new = _by_name(before), _by_name(after)
    for key in sorted(old.keys() | new.keys(), key=lambda one: (one[0].value, one[1])):
        kind, name = key
        was, now = old.get(key, []), new.get(key, [])
        if [one.digest for one in was] == [one.digest for one in now]:
            continue
        if kind is Kind.PARAMETERS:
            yield from changed_values(name, values_of(was), values_of(now))
        elif kind is Kind.MODEL:
            if _stored(was) != _stored(now):
                yield f"model {name}: {_originals(was)} → {_originals(now)}"
        elif kind is Kind.CODE:
            yield f"code {_codes(was)} → {_codes(now)}"
        elif kind is Kind.NODE:
            yield "definition of the node"
        elif kind is Kind.ENVIRONMENT:
            yield _environments(was, now)


def _environments(was: Sequence[Used], now: Sequence[Used]) -> str:
    """Return what differs between two environments, in short words."""
    if len(was) != 1 or len(now) != 1 or not (was[0].content and now[0].content):
        return "environment"
    old, new = was[0].content, now[0].content
    found = [
        f"{key} {_text(old.get(key))} → {_text(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if key not in _NESTED and old.get(key) != new.get(key)
    ]
    for key, word in _NESTED.items():
        had, has = old.get(key, {}), new.get(key, {})
        found += [
            f"{word} {name} {_text(had.get(name))} → {_text(has.get(name))}"
            for name in sorted(had.keys() | has.keys())
            if had.get(name) != has.get(name)
        ]
    more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return f"environment: {', '.join(found[:_MOST_TOLD])}{more}"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def changed_values(
    name: str, was: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[str]:
    """Yield what differs between the values of a parameter set, in short words."""
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) != now.get(key):
            yield f"{name}.{key}: {was.get(key, '-')} → {now.get(key, '-')}"


def values_of(sets: Sequence[Used]) -> dict[str, str]:
    """Return the values of a parameter set; of several, those that parts were made with."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for one in sets:
        for key, _, text in one.content["parameters"]:
            found[key][str(text)] = None
    return {key: " or ".join(texts) for key, texts in found.items()}


def _by_name(used: Sequence[Used]) -> dict[tuple[Kind, str], list[Used]]:
    found: dict[tuple[Kind, str], list[Used]] = defaultdict(list)
    for one in used:
        is_named = one.kind in (Kind.PARAMETERS, Kind.MODEL)
        found[one.kind, one.name if is_named else ""].append(one)
    return found


def _content(row: Any) -> Any:
    if row.kind in (Kind.CODE.value, Kind.CODE_FILE.value):
        return None
    text = zlib.decompress(row.content)
    content = json.loads(text) if text else None
    return content.get(row.name) if isinstance(content, dict) else content


def _originals(models: Sequence[Used]) -> str:
    names = dict.fromkeys(one.content["original"] for one in models)
    return ", ".join(names) or "none"


def _stored(models: Sequence[Used]) -> list[str]:
    return sorted({one.content["stored"] for one in models})


def _codes(codes: Sequence[Used]) -> str:
    return ", ".join(one.digest[:_SHORT] for one in codes) or "none"


def _reason(
    one: Version,
    before: Version | None,
    used: Mapping[VersionKey, list[Used]],
    reads: Mapping[VersionKey, Mapping[str, int]],
) -> str:
    if one.is_removal:
        return "removed"
    if one.task is None:
        return "by another program"
    if one.attempt is None:
        return "there before versions were counted"
    if before is None:
        return "new"
    if before.node and before.node != one.node:
        return f"made by node {one.node} instead of {before.node}"
    was, now = reads.get(before.key, {}), reads.get(one.key, {})
    renamed = [f"made by pipeline {one.pipeline} instead of {before.pipeline}"]
    if not before.pipeline or before.pipeline == one.pipeline:
        renamed = []
    changed = [
        f"input {path}: version {was.get(path, '-')} → {number}"
        for path, number in now.items()
        if was.get(path) != number
    ]
    made = differences(used.get(before.key, []), used.get(one.key, []))
    return "; ".join([*renamed, *made, *changed]) or "run again"


def _versions_read(
    connection: Connection, versions: Sequence[Version]
) -> dict[VersionKey, dict[str, int]]:
    """Return the numbers of the versions that were read, by path."""
    said = read_reads(connection, [one.number for one in versions])
    reads = {
        one.key: said.get(one.number, {}).get(one.task or 0, {}) for one in versions
    }
    numbers = read_numbers(
        connection, {s for read in reads.values() for s in read.values()}
    )
    known = read_versions(connection, {p for read in reads.values() for p in read})
    found: dict[VersionKey, dict[str, int]] = {}
    for key, read in reads.items():
        found[key] = {}
        for path, snapshot in read.items():
            version = as_of(known[path], numbers.get(snapshot, 0))
            if version is not None:
                found[key][path] = version.number
    return found


def _delivery_names(
    connection: Connection, versions: Sequence[Version]
) -> dict[int | None, str]:
    tasks = [one.task for one in versions if one.is_delivered and one.task is not None]
    found: dict[int | None, str] = {}
    for some in pieces(sorted(set(tasks))):
        query = select(DeliveryRow.task_id, DeliveryRow.name, DeliveryRow.dataset_id)
        for row in connection.execute(query.where(DeliveryRow.task_id.in_(some))):
            number = "" if row.dataset_id is None else f" ({row.dataset_id})"
            found[row.task_id] = f"delivery {row.name}{number}"
    return found
