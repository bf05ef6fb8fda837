"""Registered definitions: versions of pipelines and parameter sets.

A version is locked once an instance has used it. Saving changed content over a
locked version makes a new version; over an unlocked one it replaces the content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggy_dask.definitions import (
    ParameterSet,
    Pipeline,
    parameter_from_text,
    pipeline_to_yaml,
)
from ziggy_dask.definitions.card import pipeline_card
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.pipeline import text_digest
from ziggy_dask.definitions.text import pipeline_from_record
from ziggy_dask.errors import DefinitionError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.places import find_code, place_of_code
from ziggy_dask.records.tables import (
    ParameterSetRow,
    PipelineRow,
    ZiggyLibraryRow,
)


class Change(Enum):
    """What registering a definition did."""

    CREATE = "CREATE"
    """There was none of that name."""
    UPDATE = "UPDATE"
    """Its content is new."""
    SAME = "SAME"
    """It was there already."""
    LIBRARY_ONLY = "LIBRARY_ONLY"
    """It is registered, and the files say nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of one definition."""

    kind: str
    """``pipeline`` or ``parameter set``."""
    name: str
    """Its name."""
    version: int
    """Its version, from 0."""
    change: Change
    """What was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPipeline:
    """A version of a pipeline."""

    id: int
    """Key."""
    version: int
    """Version, from 0."""
    is_locked: bool
    """Whether an instance has used it."""
    created: datetime
    """When this version was made."""
    pipeline: Pipeline
    """The definition, without values that were set since."""

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        return pipeline_card(self.pipeline, f"version {self.version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSet:
    """A version of a parameter set."""

    id: int
    """Key."""
    version: int
    """Version, from 0."""
    is_locked: bool
    """Whether an instance has used it."""
    created: datetime
    """When this version was made."""
    content: ParameterSet
    """The set."""


@patiently
def register(
    database: Database, pipelines: Sequence[Pipeline], ziggy_library: str | None = None
) -> list[Registered]:
    """Register sound pipelines and their parameter sets, all or nothing.

    Parameters
    ----------
    database
        Where.
    pipelines
        The pipelines.
    ziggy_library
        Text of the definitions that they are made of, if those are the original's.
    """
    done = []
    with database.writing() as connection:
        for one in pipelines:
            done.append(
                _save_pipeline(connection, one, pipeline_to_yaml(one), database.base)
            )
            done += [_save_set(connection, one.name, s) for s in one.parameter_sets]
        if ziggy_library is not None:
            connection.execute(delete(ZiggyLibraryRow))
            connection.execute(insert(ZiggyLibraryRow).values(id=1, text=ziggy_library))
    return done


@patiently
def keep_places(database: Database) -> None:
    """Keep where the code of pipelines is, relative to the cluster file, if it is there."""
    query = select(PipelineRow.id, PipelineRow.root).where(
        PipelineRow.place == "", PipelineRow.root != ""
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    found = [row for row in rows if Path(row.root).is_dir()]
    if not found:
        return
    with database.writing() as connection:
        for row in found:
            place = place_of_code(Path(row.root), database.base)
            connection.execute(
                update(PipelineRow).where(PipelineRow.id == row.id).values(place=place)
            )


@patiently
def ziggy_library(database: Database) -> str:
    """Return the text of all definitions that are the original's; empty: there are none."""
    with database.reading() as connection:
        return connection.execute(select(ZiggyLibraryRow.text)).scalar() or ""


@patiently
def change_parameters(
    database: Database, pipeline: str, changes: Mapping[str, Mapping[str, object]]
) -> list[Registered]:
    """Change values in the newest parameter sets of a pipeline, all or nothing.

    What others change at the same time is kept: sets are read where they are written.

    Parameters
    ----------
    database
        Where.
    pipeline
        Name of the pipeline.
    changes
        New values by set, which is known, and by name.

    Raises
    ------
    DefinitionError
        If a parameter is unknown, or a value does not fit.
    """
    with database.writing() as connection:
        known = _newest_sets(connection, pipeline)
        return [
            _save_set(connection, pipeline, known[name].content.with_values(values))
            for name, values in changes.items()
        ]


@patiently
def pipelines(database: Database) -> list[StoredPipeline]:
    """Return the newest version of every pipeline, by name."""
    query = select(PipelineRow.__table__).order_by(
        PipelineRow.name, PipelineRow.version
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    newest = {row.name: row for row in rows}
    return [pipeline_from_row(row, database.base) for row in newest.values()]


@patiently
def pipeline(database: Database, name: str) -> StoredPipeline:
    """Return the newest version of a pipeline.

    Raises
    ------
    DefinitionError
        If there is none of that name.
    """
    with database.reading() as connection:
        row = connection.execute(_newest_pipeline(name)).first()
    if row is None:
        known = [one.pipeline.name for one in pipelines(database)]
        raise DefinitionError(
            f"no pipeline is called {name!r}{suggestion(name, known)}"
            + ("" if known else "; register one with: ziggy import DIRECTORY")
        )
    return pipeline_from_row(row, database.base)


def pipeline_version(
    connection: Connection, key: int, base: Path | None
) -> StoredPipeline:
    """Return a version of a pipeline by its key."""
    query = select(PipelineRow.__table__).where(PipelineRow.id == key)
    return pipeline_from_row(connection.execute(query).one(), base)


@patiently
def parameter_sets(database: Database, pipeline_name: str) -> dict[str, StoredSet]:
    """Return the newest version of each parameter set of a pipeline, by name."""
    with database.reading() as connection:
        return _newest_sets(connection, pipeline_name)


@patiently
def lock_newest(
    database: Database, name: str
) -> tuple[StoredPipeline, dict[str, StoredSet]]:
    """Lock the newest versions of a registered pipeline and its sets; return them.

    Nobody can change them between this and the instance that uses them.
    """
    with database.writing() as connection:
        row = connection.execute(_newest_pipeline(name)).one()
        stored = pipeline_from_row(row, database.base)
        newest = _newest_sets(connection, name)
        sets = {one: newest[one] for one in stored.pipeline.sets}
        _lock(connection, PipelineRow, [stored.id])
        _lock(connection, ParameterSetRow, [one.id for one in sets.values()])
    return stored, sets


def _lock(
    connection: Connection,
    table: type[PipelineRow] | type[ParameterSetRow],
    keys: Sequence[int],
) -> None:
    connection.execute(update(table).where(table.id.in_(keys)).values(is_locked=True))


def set_to_json(one: ParameterSet) -> dict[str, Any]:
    """Return a parameter set as plain values."""
    return {
        "interface_name": one.interface_name,
        "parameters": [[p.name, p.type_text, p.text] for p in one.parameters],
    }


def set_from_json(name: str, content: dict[str, Any]) -> ParameterSet:
    """Return the parameter set that `set_to_json` described."""
    return ParameterSet(
        name=name,
        interface_name=content["interface_name"],
        parameters=tuple(
            parameter_from_text(key, text, type_text)
            for key, type_text, text in content["parameters"]
        ),
    )


def _save_pipeline(
    connection: Connection, one: Pipeline, text: str, base: Path | None
) -> Registered:
    named = tuple(replace(each, parameters=()) for each in one.parameter_sets)
    values = {
        "name": one.name,
        # The values of parameters have versions of their own.
        "digest": text_digest(pipeline_to_yaml(replace(one, parameter_sets=named))),
        "text": text,
        "root": str(one.root) if one.root else "",
        "place": place_of_code(one.root, base),
    }
    latest = connection.execute(_newest_pipeline(one.name)).first()
    same = latest is not None and _is_same(latest, values)
    if (
        latest is not None
        and same
        and (latest.root, latest.place) != (values["root"], values["place"])
    ):
        # The cluster was moved together with it, or its place was not kept before.
        connection.execute(
            update(PipelineRow)
            .where(PipelineRow.id == latest.id)
            .values(root=values["root"], place=values["place"])
        )
    return _save(connection, "pipeline", PipelineRow, latest, values, same=same)


def _is_same(latest: Any, values: Mapping[str, str]) -> bool:
    """Tell whether a definition is the newest one, with code in the same place."""
    in_place = bool(values["place"]) and latest.place == values["place"]
    is_there = latest.root == values["root"] or in_place
    return is_there and bool(latest.digest == values["digest"])


def _save_set(
    connection: Connection, pipeline_name: str, one: ParameterSet
) -> Registered:
    values = {
        "pipeline": pipeline_name,
        "name": one.name,
        "digest": one.digest,
        "content": set_to_json(one),
    }
    query = (
        select(ParameterSetRow.__table__)
        .where(
            ParameterSetRow.pipeline == pipeline_name, ParameterSetRow.name == one.name
        )
        .order_by(ParameterSetRow.version.desc())
    )
    latest = connection.execute(query).first()
    same = latest is not None and latest.digest == one.digest
    return _save(
        connection, "parameter set", ParameterSetRow, latest, values, same=same
    )


def _save(
    connection: Connection,
    kind: str,
    table: type[PipelineRow] | type[ParameterSetRow],
    latest: Any,
    values: dict[str, Any],
    *,
    same: bool,
) -> Registered:
    name = values["name"]
    if same:
        return Registered(
            kind=kind, name=name, version=latest.version, change=Change.SAME
        )
    if latest is not None and not latest.is_locked:
        connection.execute(update(table).where(table.id == latest.id).values(**values))
        version = latest.version
    else:
        version = 0 if latest is None else latest.version + 1
        made = {"version": version, "is_locked": False, "created": datetime.now(UTC)}
        connection.execute(insert(table).values(**values, **made))
    change = Change.CREATE if latest is None else Change.UPDATE
    return Registered(kind=kind, name=name, version=version, change=change)


def _newest_pipeline(name: str) -> Any:
    return (
        select(PipelineRow.__table__)
        .where(PipelineRow.name == name)
        .order_by(PipelineRow.version.desc())
        .limit(1)
    )


def _newest_sets(connection: Connection, pipeline_name: str) -> dict[str, StoredSet]:
    query = (
        select(ParameterSetRow.__table__)
        .where(ParameterSetRow.pipeline == pipeline_name)
        .order_by(ParameterSetRow.version)
    )
    return {row.name: _set_from_row(row) for row in connection.execute(query)}


def pipeline_from_row(row: Any, base: Path | None = None) -> StoredPipeline:
    """Return a version of a pipeline from its row."""
    root = find_code(row.root, row.place, base)
    return StoredPipeline(
        id=row.id,
        version=row.version,
        is_locked=row.is_locked,
        created=row.created,
        pipeline=pipeline_from_record(row.text, root, row.name),
    )


def _set_from_row(row: Any) -> StoredSet:
    return StoredSet(
        id=row.id,
        version=row.version,
        is_locked=row.is_locked,
        created=row.created,
        content=set_from_json(row.name, row.content),
    )
