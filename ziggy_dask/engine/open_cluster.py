"""An open cluster: its file, datastore and database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ziggy_dask.datastore import Repository, create_repository, open_repository
from ziggy_dask.definitions import ClusterFile
from ziggy_dask.definitions.access import Access
from ziggy_dask.definitions.access import use as use_access
from ziggy_dask.engine.belonging import claim, require_own
from ziggy_dask.errors import DatastoreError
from ziggy_dask.records import Database, create_database, library, open_database
from ziggy_dask.records.catalogue import RecordedCatalogue, catch_up

if TYPE_CHECKING:
    from distributed import Client


HERE = ""
"""Name in `OpenCluster.refusals` of the workers that no job of a batch system is."""


def unshown(site: OpenCluster, client: Client) -> str:
    """Show a compute environment nowhere."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCluster:
    """Where a cluster keeps things."""

    cluster: ClusterFile
    """The cluster file."""
    repository: Repository
    """The datastore."""
    database: Database
    """The records."""
    writing: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever of this process changes the datastore's history."""
    planning: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever of this process takes in deliveries and makes tasks of them: what
    one instance is about to process, the next one leaves to it. Taken before `writing`."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set: whoever supervises here stops, as after an interrupt."""
    is_hung: threading.Event = field(default_factory=threading.Event)
    """Set when something that was told to stop did not: it may still write."""
    is_short: threading.Event = field(default_factory=threading.Event)
    """Set while a disk has too little space for new work."""
    show: Callable[[OpenCluster, Client], str] = unshown
    """Is called with the client of each compute environment that is opened here; returns
    the address where it is shown."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Environments that take no jobs at present, with the reason."""


def create_site(cluster: ClusterFile) -> OpenCluster:
    """Create what is missing of a cluster's datastore, database and directories."""
    use_access(cluster.access)
    require_own(cluster, None, _existing(cluster.datastore))
    cluster.home.mkdir(parents=True, exist_ok=True)
    if cluster.access is Access.GROUP and cluster.home.stat().st_uid == os.geteuid():
        cluster.home.chmod(0o2770)  # what is made there belongs to the group, too
    cluster.receipt.mkdir(parents=True, exist_ok=True)
    database = create_database(cluster.database.url, cluster.database.password_file)
    database.base = cluster.path.parent
    library.keep_places(database)
    require_own(cluster, database, None)
    repository = create_repository(cluster.datastore)
    claim(cluster, database, repository)
    repository.catalogue = RecordedCatalogue(database)
    catch_up(database, repository)
    return OpenCluster(cluster=cluster, repository=repository, database=database)


def _existing(url: str) -> Repository | None:
    try:
        return open_repository(url)
    except DatastoreError:
        return None  # what is wrong with it is told when it is created


def open_site(cluster: ClusterFile) -> OpenCluster:
    """Open a cluster that was created before."""
    use_access(cluster.access)
    database = open_database(cluster.database.url, cluster.database.password_file)
    database.base = cluster.path.parent
    repository = open_repository(cluster.datastore)
    require_own(cluster, database, repository)
    repository.catalogue = RecordedCatalogue(database)
    return OpenCluster(cluster=cluster, repository=repository, database=database)
