"""The cluster that a database belongs to."""

from __future__ import annotations

from sqlalchemy import insert, select

from ziggy_dask.datastore.owner import Owner
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import OwnerRow


@patiently
def owner(database: Database) -> Owner | None:
    """Return the cluster that a database belongs to; None: it is not on record yet."""
    with database.reading() as connection:
        row = connection.execute(select(OwnerRow.__table__)).first()
    return None if row is None else Owner(name=row.name, identity=row.identity)


@patiently
def note_owner(database: Database, one: Owner) -> None:
    """Record the cluster that a database belongs to."""
    with database.writing() as connection:
        connection.execute(
            insert(OwnerRow).values(id=1, name=one.name, identity=one.identity)
        )
