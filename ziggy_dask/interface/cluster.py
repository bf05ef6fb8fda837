"""The cluster as Python users hold it: everything the command line does, in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.datastore.soundness import CheckedFiles
from ziggy_dask.datastore.verifying import Damage, Verified
from ziggy_dask.definitions import read_cluster
from ziggy_dask.engine.expire import Expiry
from ziggy_dask.engine.reproduce import Reproduced, reproduce
from ziggy_dask.errors import ClusterError, DefinitionError
from ziggy_dask.interface.archive import (
    export_crate,
    export_datacite,
    export_prov,
    export_stac,
)
from ziggy_dask.interface.cards import cluster_card
from ziggy_dask.interface.differences import StateDifference, difference_of
from ziggy_dask.interface.keeping import expire, forget_instance, remove
from ziggy_dask.interface.lineage import history_of, lineage_of, which_depend
from ziggy_dask.interface.objects import Instance, InstanceDatastore, Task
from ziggy_dask.interface.report import write_report
from ziggy_dask.interface.runs import Runs
from ziggy_dask.interface.states_at import When, instance_of, number_at, snapshot_of
from ziggy_dask.interface.verifying import damage_text, verify
from ziggy_dask.interface.why import Why, explain
from ziggy_dask.receipt import ModelVersion, model_path, model_versions
from ziggy_dask.records import instances, requests, tags
from ziggy_dask.records.backup import write_backup
from ziggy_dask.records.dependents import Dependent
from ziggy_dask.records.lineage import Lineage
from ziggy_dask.records.requests import RequestKind, RequestState
from ziggy_dask.records.tags import Tag
from ziggy_dask.records.versions import Version
from ziggy_dask.supervisor import (
    Finding,
    OpenCluster,
    checked_history,
    create_site,
    examine,
    fix_findings,
    open_site,
    restore,
    serve,
)

if TYPE_CHECKING:
    from distributed import Client

_ENDING_S = 60.0
"""So long is waited for a supervisor to end, in seconds."""


def open_cluster(file: str | os.PathLike[str]) -> Cluster:
    """Open a cluster.

    Parameters
    ----------
    file
        Its cluster file.

    Raises
    ------
    DefinitionError
        If the file is faulty.
    DatastoreError, RecordsError
        If the cluster was never created.
    """
    return _shown(open_site(read_cluster(Path(file))))


def create_cluster(file: str | os.PathLike[str]) -> Cluster:
    """Create a cluster's datastore and database, and open it; what is there stays."""
    return _shown(create_site(read_cluster(Path(file))))


class Cluster(Runs):
    """One complete installation: configuration, datastore, database, compute.

    Parameters
    ----------
    site
        The open cluster; `open_cluster` makes one of a cluster file.
    """

    @property
    def datastore(self) -> InstanceDatastore:
        """The products, as of now."""
        return InstanceDatastore(self._site)

    def why(self, path: str, *, at: When | None = None, **where: object) -> Why:
        """Return who made a product, or an item of it, from what, and with which code.

        Parameters
        ----------
        path
            The product.
        at
            Instance, tag, date or snapshot, as `datastore.at` takes it; None: now.
        **where
            Dimension and label of an item, as in ``image=3``.

        Raises
        ------
        DatastoreError
            If there is no such product or item.
        """
        datastore = self.datastore if at is None else self.datastore.at(at)
        return explain(self._site, datastore, path, where)

    def history(self, path: str) -> list[Version]:
        """Return the versions of a product, oldest first, each with why it was made.

        Raises
        ------
        DatastoreError
            If there never was such a product.
        """
        return history_of(self._site, path)

    def lineage(
        self,
        path: str,
        *,
        way: str = "up",
        at: When | None = None,
        depth: int | None = None,
    ) -> Lineage:
        """Return what a product was made of, or what was made of it.

        Parameters
        ----------
        path
            The product.
        way
            ``"up"``: what it was made of; ``"down"``: what was made of it.
        at
            Instance, tag, date or snapshot, as `datastore.at` takes it; None: now.
        depth
            So many steps at most; None: all.

        Raises
        ------
        DefinitionError
            If `way` is another word.
        DatastoreError
            If there was no such product then.
        """
        if way not in ("up", "down"):
            raise DefinitionError(f"way {way!r}: lineage goes 'up' or 'down'")
        return lineage_of(self._site, path, at, is_up=way == "up", depth=depth)

    def which(self, used: str, name: str) -> list[Dependent]:
        """Return every version of a product that depends on something, oldest first.

        Parameters
        ----------
        used
            ``"model"``, ``"parameter"``, ``"code"``, ``"package"``, ``"delivery"`` or
            ``"file"``.
        name
            As in ``flat@flat-7.txt``, ``Set.name=2``, ``10dc7fa1``, ``scipy<1.15``, ``4``
            and ``night-1/raw/f0.png``.

        Raises
        ------
        DefinitionError, RecordsError
            If nothing of that name is on record.
        """
        return which_depend(self._site, used, name)

    def verify(self, *paths: str, at: When | None = None) -> Iterator[Verified]:
        """Read all that is stored of products, and yield what was found, one by one.

        Parameters
        ----------
        *paths
            The products; none: all.
        at
            Instance, tag, date or snapshot, as `datastore.at` takes it; None: now.

        Raises
        ------
        DatastoreError
            If one of them is not there; nothing is read then.
        """
        return verify(self._site, paths, at)

    def diff(
        self, first: When, second: When, *paths: str, values: bool = True
    ) -> StateDifference:
        """Return what differs between two states of the datastore.

        Parameters
        ----------
        first, second
            Instances, tags, dates or snapshots, as `datastore.at` takes them.
        *paths
            Only these products; none: all.
        values
            Whether values are read and compared.

        Raises
        ------
        DefinitionError, RecordsError, DatastoreError
            If there is no such state or product.
        """
        return difference_of(self._site, first, second, paths, with_values=values)

    def reproduce(
        self,
        instance: int,
        *,
        task: int | None = None,
        path: str | None = None,
        dry_run: bool = False,
    ) -> Iterator[Reproduced]:
        """Run tasks again as they were, and yield how what comes out differs.

        Code, parameters, models and inputs are those of then; Python and packages are those
        of this process. The datastore is only read.

        Parameters
        ----------
        instance
            The instance.
        task
            Only this task of it; None: all.
        path
            Only tasks that make this product; None: all.
        dry_run
            Whether only to say what can't be as it was.

        Raises
        ------
        RecordsError
            If the instance has no such task.
        """
        return reproduce(self._site, instance, task, path, is_dry=dry_run)

    def export_crate(
        self,
        instance: int,
        directory: str | os.PathLike[str],
        *,
        data: bool = False,
        license: str = "",
    ) -> Path:
        """Write what an instance read, ran and made into a directory, as an RO-Crate.

        Parameters
        ----------
        instance
            The instance; it has to have ended.
        directory
            Where to; nothing may be there.
        data
            Whether its products are written as well.
        license
            URL or words of the license; empty: the crate says that it was not stated.

        Raises
        ------
        ClusterError
            If the instance has not ended or ran no task, or something is there already.
        DatastoreError
            If the products have expired.
        """
        return export_crate(
            self._site,
            instance,
            Path(directory),
            with_data=data,
            license_text=license,
        )

    def export_prov(self, instance: int, file: str | os.PathLike[str]) -> Path:
        """Write what an instance read, ran and made into a file, as W3C PROV-JSON.

        Parameters
        ----------
        instance
            The instance; it has to have ended.
        file
            Where to; nothing may be there.

        Raises
        ------
        ClusterError
            If the instance has not ended or ran no task, or something is there already.
        """
        return export_prov(self._site, instance, Path(file))

    def export_stac(
        self,
        directory: str | os.PathLike[str],
        paths: Iterable[str] = (),
        *,
        at: When | None = None,
        data: bool = False,
    ) -> Path:
        """Write a STAC catalogue with an item for each product into a directory.

        Parameters
        ----------
        directory
            Where to; nothing may be there.
        paths
            Which products; none: all.
        at
            Instance, tag, date or snapshot, as `datastore.at` takes it; None: now.
        data
            Whether the products are written as well.

        Raises
        ------
        ClusterError
            If something is there already.
        DatastoreError, RecordsError
            If there is no such product or state.
        """
        return export_stac(self._site, Path(directory), paths, at=at, with_data=data)

    def export_datacite(
        self,
        tag: str,
        file: str | os.PathLike[str],
        *,
        creators: Sequence[str],
        publisher: str,
        year: int | None = None,
        title: str = "",
        license: str = "",
    ) -> Path:
        """Write DataCite metadata of a tag into a file, as JSON.

        Parameters
        ----------
        tag
            The tag.
        file
            Where to; nothing may be there.
        creators
            Names of people or organizations that made the data.
        publisher
            Name of the organization that keeps them.
        year
            Year of publication; None: this one.
        title
            Title; empty: one from the names of cluster and tag.
        license
            URL or words of the license; empty: the metadata have none.

        Raises
        ------
        ClusterError
            If something is there already.
        DefinitionError
            If a creator or the publisher is missing.
        RecordsError, DatastoreError
            If there is no such tag, or it can't be read any more.
        """
        return export_datacite(
            self._site,
            tag,
            Path(file),
            creators=creators,
            publisher=publisher,
            year=datetime.now(UTC).year if year is None else year,
            title=title,
            license_text=license,
        )

    def verify_history(self) -> CheckedFiles:
        """Read the files that say what the datastore holds, and compare their digests."""
        return checked_history(self._site)

    def damage_text(self, damage: Damage) -> str:
        """Return what is wrong on one line, with the file that it was delivered in."""
        return damage_text(self._site, damage)

    @property
    def tags(self) -> dict[str, Tag]:
        """The names of states of the datastore."""
        return {one.name: one for one in tags.tags(self._site.database)}

    def tag(
        self, state: When, name: str, *, note: str = "", moves: bool = False
    ) -> tuple[Tag, Tag | None]:
        """Give a state of the datastore a name; return the tag, and what it was before.

        Parameters
        ----------
        state
            Instance, tag, date or snapshot, as `datastore.at` takes it.
        name
            Its name from now on.
        note
            What people should know of it.
        moves
            Whether a name that is taken may name this state instead.

        Raises
        ------
        DefinitionError
            If it can't be a name.
        RecordsError, DatastoreError
            If the name is taken, or there is no such state.
        """
        new = Tag(
            name=name,
            snapshot=snapshot_of(self._site, state),
            number=number_at(self._site, state),
            instance=instance_of(state),
            note=note,
            made=datetime.now(UTC),
        )
        return new, tags.set_tag(self._site.database, new, moves=moves)

    def untag(self, name: str) -> Tag:
        """Take a name of a state of the datastore away; the state stays."""
        return tags.remove_tag(self._site.database, name)

    def remove(self, *paths: str, dry_run: bool = False) -> list[str]:
        """Remove products from the newest state of the datastore; return their paths.

        Until they expire, they can be read as of before.

        Parameters
        ----------
        *paths
            The products.
        dry_run
            Whether only to look.

        Raises
        ------
        DatastoreError
            If one is not there, or work that has not ended reads or makes it; nothing is
            changed then.
        """
        return remove(self._site, paths, is_dry=dry_run)

    def expire(
        self, *, dry_run: bool = False, margin: timedelta | None = None
    ) -> Expiry:
        """Give up the versions of products that no rule of the cluster file keeps.

        Parameters
        ----------
        dry_run
            Whether only to look.
        margin
            So far may the clocks of machines differ, and so long may somebody still read what
            was the newest state; None: an hour.

        Raises
        ------
        DefinitionError
            If a rule is for a data type that there is not.
        DatastoreError
            If what stays is damaged; nothing is changed then.
        """
        return expire(self._site, is_dry=dry_run, margin=margin)

    def remove_instance(self, number: int, *, dry_run: bool = False) -> None:
        """Remove an instance that stored nothing, with its tasks and logs.

        Raises
        ------
        RecordsError
            If it has to stay; nothing is changed then.
        """
        forget_instance(self._site, number, is_dry=dry_run)

    @property
    def instances(self) -> dict[int, Instance]:
        """All instances by number."""
        records = instances.instances(self._site.database)
        return {record.id: Instance(self._site, record.id) for record in records}

    def instance(self, number: int) -> Instance:
        """Return an instance."""
        return Instance(self._site, instances.instance(self._site.database, number).id)

    def task(self, number: int) -> Task:
        """Return a task."""
        return Task(self._site, instances.task(self._site.database, number).id)

    @property
    def models(self) -> dict[str, tuple[ModelVersion, ...]]:
        """All versions of models in the datastore by type, in the order of import."""
        repository = self._site.repository
        types = {
            m.name for p in self.pipelines.values() for m in p.pipeline.model_types
        }
        return {
            name: model_versions(repository.session_of(model_path(name)), name)
            for name in sorted(types)
        }

    @property
    def log_limits(self) -> tuple[int, int]:
        """Size at which the service's log is put aside, and how many of those are kept."""
        supervision = self._site.cluster.supervision
        return supervision.log_bytes, supervision.log_files

    def serve(self, *, standby: bool = False) -> None:
        """Be the supervisor, and do what others ask it to, until `stop` is called.

        Parameters
        ----------
        standby
            Whether to wait for the end of another supervisor instead of being refused.
        """
        serve(self._site, standby=standby)

    def end_supervisor(self) -> None:
        """Ask the supervisor that runs as a service to end, and wait until it has."""
        holder = self.supervisor
        if holder is None or not holder.takes_requests:
            return
        database = self._site.database
        asked = requests.ask(database, RequestKind.STOP, {"token": holder.token})
        deadline = time.monotonic() + _ENDING_S
        while (now := self.supervisor) is not None and now.token == holder.token:
            if time.monotonic() > deadline:
                raise ClusterError(f"the supervisor has not ended in {_ENDING_S:g} s")
            time.sleep(0.1)
        requests.answer(database, asked, RequestState.DONE)

    def report(self, instance: int, file: str | os.PathLike[str]) -> None:
        """Write a report on an instance: one ``.html`` or ``.pdf`` file."""
        write_report(self.instance(instance), self.name, Path(file))

    def doctor(self, *, fix: bool = False) -> list[Finding]:
        """Return what does not fit between records, datastore and directories.

        Parameters
        ----------
        fix
            Whether what can be fixed is.
        """
        findings = examine(self._site)
        if fix:
            fix_findings(self._site, findings)
        return findings

    def backup(self, file: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write all records to a file, with the snapshot of the datastore they are of.

        It may be called while work goes on. Returns what is wrong with the records
        themselves, e.g. stored products that the datastore has lost; empty: nothing.
        """
        return write_backup(
            self._site.database,
            Path(file),
            cluster=self.name,
            history=self._site.repository.history,
        )

    def restore(self, file: str | os.PathLike[str]) -> str:
        """Take all records from a backup, and take the datastore back to its snapshot.

        Returns the name of the tag that keeps what the datastore had; empty: nothing
        changed. It is refused if the database has instances.
        """
        return restore(self._site, Path(file))

    def console(self, *, port: int = 0, tell: Callable[[str], object] = print) -> None:
        """Serve the page on this machine until interrupted.

        Parameters
        ----------
        port
            Port; 0: a free one.
        tell
            Is called with the page's address, which has the token in it.
        """
        from ziggy_dask.interface.page.server import page_server

        server, address = page_server(self._site, port)
        server.start()
        tell(address)
        with suppress(KeyboardInterrupt):
            server.io_loop.start()
        server.stop()

    def __repr__(self) -> str:
        """Say what is where."""
        cluster = self._site.cluster
        return (
            f"<ziggy_dask.Cluster {self.name!r}>\n"
            f"    file       {cluster.path}\n"
            f"    datastore  {cluster.datastore}\n"
            f"    database   {self._site.database.url}\n"
            f"    pipelines  {', '.join(self.pipelines) or '-'}\n"
            f"    instances  {len(instances.instances(self._site.database))}"
        )

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        cluster = self._site.cluster
        return cluster_card(
            self.name,
            {
                "file": str(cluster.path),
                "datastore": str(cluster.datastore),
                "database": self._site.database.url,
            },
            {name: p.pipeline.description for name, p in self.pipelines.items()},
            instances.instances(self._site.database),
        )


def _shown(site: OpenCluster) -> Cluster:
    """Return a cluster whose page stands in the dashboards of what it opens."""

    def show(site: OpenCluster, client: Client) -> str:
        from ziggy_dask.interface.page.dashboard import add_to_dashboard

        return add_to_dashboard(site, client)

    return Cluster(replace(site, show=show))
