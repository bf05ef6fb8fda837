"""Whose a database and a datastore are: a cluster file that names others is refused."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import func, select

from ziggy_dask.datastore import Repository
from ziggy_dask.datastore.owner import Owner
from ziggy_dask.datastore.repository import MEMORY
from ziggy_dask.definitions import ClusterFile
from ziggy_dask.errors import DatastoreError, RecordsError
from ziggy_dask.records import Database
from ziggy_dask.records.owner import note_owner, owner
from ziggy_dask.records.tables import PublicationRow


def require_own(
    cluster: ClusterFile, database: Database | None, repository: Repository | None
) -> None:
    """Require that a database and a datastore belong to a cluster, and to each other.

    Parameters
    ----------
    cluster
        The cluster file.
    database, repository
        What it names; None: that is not there yet.

    Raises
    ------
    RecordsError
        If the database belongs to another cluster.
    DatastoreError
        If the datastore does, or to another database of a cluster of that name.
    """
    mine = owner(database) if database is not None else None
    its = repository.owner if repository is not None and _lasts(cluster) else None
    if mine is not None and mine.name != cluster.name:
        raise RecordsError(
            f"{cluster.path}: the database belongs to cluster {mine.name!r}, not to "
            f"{cluster.name!r}; name another 'database', or write 'cluster: {mine.name}'"
        )
    if its is not None and its.name != cluster.name:
        raise DatastoreError(
            f"{cluster.path}: the datastore {cluster.datastore} belongs to cluster "
            f"{its.name!r}, not to {cluster.name!r}; name another 'datastore', or write "
            f"'cluster: {its.name}'"
        )
    if mine is not None and its is not None and mine.identity != its.identity:
        raise DatastoreError(
            f"{cluster.path}: the datastore {cluster.datastore} belongs to another "
            f"database of a cluster {its.name!r}; name the 'datastore' and the 'database' "
            "that belong together"
        )


def claim(cluster: ClusterFile, database: Database, repository: Repository) -> None:
    """Let a database and a datastore say to which cluster they belong, if they don't yet.

    Raises
    ------
    RecordsError, DatastoreError
        As `require_own`; also if the datastore is new, and the database tells of another.
    """
    require_own(cluster, database, repository)
    if not _lasts(cluster):
        return
    mine, its = owner(database), repository.owner
    if its is None and repository.is_new and _publications(database):
        raise DatastoreError(
            f"{cluster.path}: the datastore {cluster.datastore} is new, but the database "
            "tells of what was published in another one; fix 'datastore', or name another "
            "'database'"
        )
    if mine is None:
        mine = its or Owner.new(cluster.name)
        note_owner(database, mine)
    if its is None:
        repository.own(mine)


def _lasts(cluster: ClusterFile) -> bool:
    """Tell whether the datastore outlives this process."""
    return urlsplit(cluster.datastore).scheme != MEMORY


def _publications(database: Database) -> int:
    query = select(func.count()).select_from(PublicationRow)
    with database.reading() as connection:
        return connection.execute(query.where(PublicationRow.number > 0)).scalar_one()
