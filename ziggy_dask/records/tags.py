"""Tags: names that people give to states of the datastore, such as a data release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError, RecordsError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import PublicationRow, TagRow

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name for a state of the datastore."""

    name: str
    """The name."""
    snapshot: str
    """Snapshot that it names."""
    number: int | None
    """Number of the publication; None: the history does not have it any more."""
    instance: int | None
    """Instance of which it is what that left; None: another state was named."""
    note: str
    """What people should know of it."""
    made: datetime
    """When the name was given, UTC."""


def is_name(name: str) -> bool:
    """Tell whether a text can name a tag: it begins with a letter, and is not a snapshot."""
    is_snapshot = re.fullmatch(r"[0-9A-Z]{20}", name) is not None
    return _NAME.fullmatch(name) is not None and not is_snapshot


def require_name(name: str) -> None:
    """Refuse a name that could be taken for a number, a date or a snapshot.

    Raises
    ------
    DefinitionError
        If it can't name a tag.
    """
    if not is_name(name):
        raise DefinitionError(
            f"{name!r} can't name a tag: a name begins with a letter, goes on with up to "
            "63 letters, digits, '.', '_', '+' or '-', as in dr1, and does not look like a "
            "snapshot"
        )


@patiently
def tags(database: Database) -> list[Tag]:
    """Return all tags, by name."""
    with database.reading() as connection:
        return [_from_row(row) for row in connection.execute(_query())]


@patiently
def tag(database: Database, name: str) -> Tag:
    """Return a tag.

    Raises
    ------
    RecordsError
        If there is none of that name.
    """
    with database.reading() as connection:
        return _require(connection, name)


@patiently
def set_tag(database: Database, new: Tag, *, moves: bool = False) -> Tag | None:
    """Give a name to a state of the datastore.

    Parameters
    ----------
    database
        The records.
    new
        The tag.
    moves
        Whether a tag of that name may name another state from now on.

    Returns
    -------
    Tag or None
        What the name stood for before.

    Raises
    ------
    DefinitionError
        If the name can't be one.
    RecordsError
        If it is taken, or the state has expired.
    """
    require_name(new.name)
    of_state = PublicationRow.snapshot == new.snapshot
    with database.writing() as connection:
        query = select(PublicationRow.expired).where(of_state)
        expired = connection.execute(query).scalar_one_or_none()
        if expired is not None:
            raise RecordsError(
                f"{_of(new)} can't have the tag {new.name!r}: its snapshot {new.snapshot} "
                f"expired on {expired:%Y-%m-%d}; ziggy datastore history lists what is kept"
            )
        row = connection.execute(_query().where(TagRow.name == new.name)).first()
        before = None if row is None else _from_row(row)
        if before is not None and not moves:
            raise RecordsError(
                f"there is a tag {new.name!r} already, of {_of(before)}; take another name, "
                f"or let it name another state with --move"
            )
        connection.execute(delete(TagRow).where(TagRow.name == new.name))
        connection.execute(
            insert(TagRow).values(
                name=new.name,
                snapshot=new.snapshot,
                instance=new.instance,
                note=new.note,
                made=new.made.astimezone(UTC),
            )
        )
    return before


@patiently
def remove_tag(database: Database, name: str) -> Tag:
    """Take a name away; what it stood for stays.

    Raises
    ------
    RecordsError
        If there is none of that name.
    """
    with database.writing() as connection:
        found = _require(connection, name)
        connection.execute(delete(TagRow).where(TagRow.name == name))
    return found


def _require(connection: Connection, name: str) -> Tag:
    row = connection.execute(_query().where(TagRow.name == name)).first()
    if row is None:
        known = sorted(connection.execute(select(TagRow.name)).scalars())
        there = suggestion(name, known) or "; there is none yet"
        raise RecordsError(f"there is no tag {name!r}{there}")
    return _from_row(row)


def _of(one: Tag) -> str:
    if one.instance is not None:
        return f"instance {one.instance}"
    return f"snapshot {one.snapshot}"


def _query() -> Any:
    return (
        select(TagRow.__table__, PublicationRow.number)
        .outerjoin(PublicationRow, PublicationRow.snapshot == TagRow.snapshot)
        .order_by(TagRow.name)
    )


def _from_row(row: Any) -> Tag:
    return Tag(
        name=row.name,
        snapshot=row.snapshot,
        number=row.number,
        instance=row.instance,
        note=row.note,
        made=row.made,
    )
