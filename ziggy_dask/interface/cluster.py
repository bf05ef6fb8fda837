"""The cluster as Python users hold it: everything the command line does, in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.definitions import (
    DataReceiptStep,
    Pipeline,
    Process,
    check_code,
    parameters_to_yaml,
    read_cluster,
    read_parameters,
    read_pipeline,
    require_sound,
)
from ziggy_dask.definitions.draft import Draft
from ziggy_dask.errors import ClusterError, DefinitionError, Fault
from ziggy_dask.interface.cards import cluster_card
from ziggy_dask.interface.estimating import (
    Asked,
    Estimates,
    estimate_node,
    required_history,
)
from ziggy_dask.interface.importing import export_definition, import_ziggy
from ziggy_dask.interface.objects import Instance, InstanceDatastore, Task
from ziggy_dask.interface.recorded import Records
from ziggy_dask.interface.report import write_report
from ziggy_dask.planning import Plan, Where
from ziggy_dask.receipt import ModelVersion, model_versions
from ziggy_dask.records import instances, library, requests
from ziggy_dask.records.backup import write_backup
from ziggy_dask.records.library import Change, Registered
from ziggy_dask.records.requests import RequestKind, RequestState
from ziggy_dask.supervisor import (
    Finding,
    Listener,
    Request,
    Restart,
    RestartMode,
    Site,
    ask,
    continue_instance,
    create_site,
    examine,
    expected_products,
    follow,
    halt_tasks,
    is_served,
    mend,
    open_site,
    plan,
    request_to_json,
    restart_tasks,
    restore,
    run,
    serve,
    unheard,
)
from ziggy_dask.supervisor.launch import chosen_sets, fired_event

if TYPE_CHECKING:
    from distributed import Client

Overrides = Mapping[str, Mapping[str, object]]
_DRAFTS = "drafts"
"""Directory, in a cluster's own, of the text of drafts."""
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


class Cluster(Records):
    """One complete installation: configuration, datastore, database, compute.

    Parameters
    ----------
    site
        The open cluster; `open_cluster` makes one of a cluster file.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site.cluster, site.database)
        self._site = site

    @property
    def datastore(self) -> InstanceDatastore:
        """The products, as of now."""
        return InstanceDatastore(self._site)

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

    def register(
        self,
        *pipelines: Pipeline | Draft | str | os.PathLike[str],
        dry_run: bool = False,
    ) -> list[Registered]:
        """Register pipelines: definitions, drafts, or files or directories of them.

        The text of a draft is kept in the cluster's directory.

        Raises
        ------
        DefinitionError
            With everything that is wrong; nothing is registered then.
        """
        sound = [_checked(one, self.home / _DRAFTS) for one in pipelines]
        return [] if dry_run else library.register(self._site.database, sound)

    def import_ziggy(
        self,
        *files: str | os.PathLike[str],
        updates: bool = False,
        home: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> list[Registered]:
        """Register the definitions of XML files of the original Ziggy, all or nothing.

        Parameters
        ----------
        *files
            The files.
        updates
            Whether definitions that are there already are replaced. If not, only new
            ones are taken.
        home
            Directory of the algorithms: programs in ``bin``, environments in ``env``.
            By default the directory of the first file.
        dry_run
            Whether to check only.

        Raises
        ------
        DefinitionError
            With everything that is wrong; nothing is registered then.
        """
        return import_ziggy(
            self._site.database,
            [Path(file) for file in files],
            updates=updates,
            home=Path(home) if home else None,
            dry_run=dry_run,
        )

    def export(self, pipeline: str, *, as_xml: bool = False) -> str:
        """Return a pipeline as YAML, or as XML of the original Ziggy."""
        return export_definition(self._site.database, pipeline, as_xml=as_xml)

    def set_parameters(
        self, pipeline: str, changes: Overrides | str | os.PathLike[str]
    ) -> list[Registered]:
        """Change values of parameters for all runs to come.

        Parameters
        ----------
        pipeline
            Name of the pipeline.
        changes
            New values by parameter set and name, or a file that holds such; what it
            does not name stays.

        Returns
        -------
        list
            What became of each set of the pipeline.

        Raises
        ------
        DefinitionError
            If a name is unknown or a value does not fit; nothing is changed then.
        """
        if not isinstance(changes, Mapping):
            changes = {
                one.name: {p.name: p.value for p in one.parameters}
                for one in read_parameters(Path(changes))
            }
        stored = library.pipeline(self._site.database, pipeline)
        chosen = chosen_sets(self._site, stored, changes)
        done = library.change_parameters(self._site.database, pipeline, changes)
        return [
            *done,
            *(
                Registered(
                    kind="parameter set",
                    name=name,
                    version=before.version,
                    change=Change.LIBRARY_ONLY,
                )
                for name, (before, _) in chosen.items()
                if name not in changes
            ),
        ]

    def export_parameters(self, pipeline: str) -> str:
        """Return the newest parameter sets of a pipeline as text for `set_parameters`."""
        sets = self.parameter_sets(pipeline).values()
        return parameters_to_yaml([one.content for one in sets])

    @property
    def models(self) -> dict[str, tuple[ModelVersion, ...]]:
        """All versions of models in the datastore by type, in the order of import."""
        session = self._site.repository.reading()
        types = {
            m.name for p in self.pipelines.values() for m in p.pipeline.model_types
        }
        return {name: model_versions(session, name) for name in sorted(types)}

    def plan(
        self,
        pipeline: str,
        *,
        start: str | None = None,
        stop: str | None = None,
        where: Sequence[str] = (),
        exclude: Sequence[str] = (),
        process: Process | str | None = None,
    ) -> Plan:
        """Return all tasks that `run` would run now; nothing is changed.

        Deliveries that wait count as received.
        """
        definition = library.pipeline(self._site.database, pipeline).pipeline
        request = self._request(pipeline, "", start, stop, where, exclude, process, {})
        expected = expected_products(self._site, definition, request)
        return plan(self._site, definition, request, expected)

    def estimate(
        self,
        pipeline: str,
        node: str,
        *,
        environment: str = "",
        subtasks: int = 0,
        tasks: int = 0,
        memory_bytes: int = 0,
        longest_s: float = 0.0,
        typical_s: float = 0.0,
        from_history: bool = False,
        queue_table: str | os.PathLike[str] = "",
    ) -> Estimates:
        """Return what a node would get on a batch system, and what that costs.

        Parameters
        ----------
        pipeline, node
            Which node.
        environment, subtasks, tasks, memory_bytes, longest_s, typical_s
            What to use instead of what the node says, and of what is planned now.
        from_history
            Whether memory and times come from past subtasks of the node: the upper
            ends of the bands of the 95th percentiles, and the median.
        queue_table
            The site's table of its queues, for the optimizers that want it.

        Raises
        ------
        DefinitionError
            If there is no such node or environment.
        ClusterError
            If too little is known.
        """
        definition = library.pipeline(self._site.database, pipeline).pipeline
        history = None
        if from_history:
            history = required_history(self._site.database, pipeline, node)
        asked = Asked(
            environment=environment,
            subtasks=subtasks,
            tasks=tasks,
            memory_bytes=memory_bytes,
            longest_s=longest_s,
            typical_s=typical_s,
            queue_table=queue_table,
        )
        needs_plan = not (subtasks and tasks)
        planned = self.plan(pipeline).of_node(node) if needs_plan else ()
        return estimate_node(
            definition,
            node,
            self._site.cluster.environments,
            asked,
            [one.count for one in planned],
            history,
        )

    def run(
        self,
        pipeline: str,
        *,
        name: str = "",
        start: str | None = None,
        stop: str | None = None,
        where: Sequence[str] = (),
        exclude: Sequence[str] = (),
        process: Process | str | None = None,
        parameters: Overrides | None = None,
        wait: bool = True,
        client: Client | None = None,
        listen: Listener = unheard,
    ) -> Instance:
        """Run a pipeline and wait for its end.

        If a supervisor runs as a service, it is handed over to that one.

        Parameters
        ----------
        pipeline
            Name of a registered pipeline.
        name
            Name for the instance.
        start, stop
            First node, and node whose followers are left out.
        where, exclude
            Conditions ``placeholder=expression`` on units of work.
        process
            ``"all"`` items, or ``"new"`` ones, of which no earlier instance has made
            products; by default as the pipeline says.
        parameters
            Values to change for this instance, by parameter set and name.
        wait
            If not, return at once and leave it to the supervisor that must be there.
        client
            Dask client to use; by default the compute environment of the cluster
            file is started, and ended at the end.
        listen
            Called with events as they happen.

        Returns
        -------
        Instance
            The instance; see its `state`. Failed tasks raise nothing.
        """
        request = self._request(
            pipeline, name, start, stop, where, exclude, process, parameters or {}
        )
        return self._run(request, client, listen, wait=wait)

    def _run(
        self,
        request: Request,
        client: Client | None,
        listen: Listener,
        *,
        wait: bool = True,
    ) -> Instance:
        """Run a pipeline, here or by the supervisor that runs as a service."""
        if client is None and is_served(self._site):
            (number,) = ask(self._site, RequestKind.RUN, request_to_json(request))
            if wait:
                follow(self._site, number, listen)
            return Instance(self._site, number)
        if not wait:
            raise ClusterError(
                "no supervisor runs that could take this over; start one with: "
                "ziggy cluster start"
            )
        record = run(self._site, request, client=client, listen=listen)
        return Instance(self._site, record.id)

    def follow(self, instance: int, *, listen: Listener = unheard) -> Instance:
        """Wait for the end of an instance that another process runs."""
        return Instance(self._site, follow(self._site, instance, listen).id)

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

    def resume(
        self,
        number: int | None = None,
        *,
        client: Client | None = None,
        listen: Listener = unheard,
    ) -> Instance:
        """Go on with an instance whose supervisor went away; by default the newest."""
        if client is None and number is not None and is_served(self._site):
            return self.follow(number, listen=listen)
        record = continue_instance(self._site, number, client=client, listen=listen)
        return Instance(self._site, record.id)

    def restart(
        self,
        *tasks: int,
        instance: int | None = None,
        cause: str = "",
        mode: RestartMode | str | None = None,
        parameters: Overrides | None = None,
        client: Client | None = None,
        listen: Listener = unheard,
    ) -> list[Instance]:
        """Run again what failed, and what waits for it, and wait for the end.

        Parameters
        ----------
        *tasks
            Numbers of tasks; those that did not fail are passed over.
        instance
            All failed tasks of an instance.
        cause
            All failures of one kind, by its fingerprint from `failures`.
        mode
            ``"resubmit"``, the default: subtasks that failed or did not run.
            ``"from-beginning"``: all of the tasks. ``"resume-current-step"``: nothing
            runs again; what is good of the tasks is stored.
        parameters
            Values to change for the tasks and for what comes after them, by set and
            name; it is recorded.
        client
            Dask client to use.
        listen
            Called with events as they happen.

        Returns
        -------
        list
            The instances; empty if there was nothing to restart.
        """
        asked = Restart(
            tasks=tasks,
            instance=instance,
            fingerprint=cause,
            mode=RestartMode(mode) if mode else None,
            changes=parameters or {},
        )
        if client is None and is_served(self._site):
            numbers = ask(self._site, RequestKind.RESTART, asked.to_json())
            return [self.follow(number, listen=listen) for number in numbers]
        records = restart_tasks(self._site, asked, client=client, listen=listen)
        return [Instance(self._site, one.id) for one in records]

    def halt(self, *tasks: int, instance: int | None = None) -> int:
        """End tasks, an instance, or all that has not ended.

        Running programs and Python subtasks are ended within seconds, and nothing of
        the tasks is stored. What is on record of them is kept for a restart.

        Returns
        -------
        int
            Number of tasks that had not ended.
        """
        numbers = list(tasks)
        if not tasks:
            some = [self.instance(instance)] if instance else self.instances.values()
            numbers = [one.id for each in some for one in each.tasks]
        return halt_tasks(self._site, numbers)

    def stop(self) -> None:
        """Let whatever runs through this object stop soon, as after an interrupt."""
        self._site.stop.set()

    def report(self, instance: int, file: str | os.PathLike[str]) -> None:
        """Write a report on an instance: one ``.html`` or ``.pdf`` file."""
        write_report(self.instance(instance), self.name, Path(file))

    def fire(
        self,
        handler: str,
        labels: Sequence[str] = (),
        *,
        pipeline: str | None = None,
        client: Client | None = None,
        listen: Listener = unheard,
    ) -> Instance:
        """Do what an event handler does when its time has come, and wait.

        Parameters
        ----------
        handler
            Name of the handler.
        labels
            Labels of the event: names of the deliveries to take in.
        pipeline
            Its pipeline; needed if several have a handler of that name.
        client
            Dask client to use.
        listen
            Called with events as they happen.
        """
        owner = self._handler_owner(handler, pipeline)
        handlers = self.pipelines[owner].pipeline.events
        is_scheduled = any(h.schedule for h in handlers if h.name == handler)
        given = None if is_scheduled and not labels else tuple(labels)
        event = fired_event(owner, handler, given)
        request = Request(pipeline=owner, labels=given, event=event)
        return self._run(request, client, listen)

    def doctor(self, *, mends: bool = False) -> list[Finding]:
        """Return what does not fit between records, datastore and directories.

        Parameters
        ----------
        mends
            Whether what can be mended is.
        """
        findings = examine(self._site)
        if mends:
            mend(self._site, findings)
        return findings

    def backup(self, file: str | os.PathLike[str]) -> None:
        """Write all records to a file, with the datastore's newest snapshot."""
        write_backup(
            self._site.database,
            Path(file),
            cluster=self.name,
            snapshot=self._site.repository.tip(),
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

    def receive(
        self,
        directory: str | os.PathLike[str],
        *,
        pipeline: str | None = None,
        needs_manifest: bool = True,
        listen: Listener = unheard,
    ) -> Instance:
        """Take the deliveries in a directory into the datastore.

        Parameters
        ----------
        directory
            A delivery, or a directory of deliveries.
        pipeline
            The pipeline whose data types they are; needed if several have data
            receipt.
        needs_manifest
            Whether deliveries must have manifests. If not, the directory is taken
            as it is, and its files stay.
        listen
            Called with events as they happen.
        """
        name = pipeline or self._only_receiver()
        definition = library.pipeline(self._site.database, name).pipeline
        nodes = [
            n.name for n in definition.nodes if isinstance(n.step, DataReceiptStep)
        ]
        if not nodes:
            raise DefinitionError(f"pipeline {name!r} has no data receipt node")
        if not Path(directory).is_dir():
            raise DefinitionError(f"{directory}: is no directory")
        request = Request(
            pipeline=name,
            name="data receipt",
            start=nodes[0],
            stop=nodes[0],
            receipt=Path(directory),
            needs_manifest=needs_manifest,
        )
        return self._run(request, None, listen)

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

    def _only_receiver(self) -> str:
        names = [
            name
            for name, one in self.pipelines.items()
            if any(isinstance(n.step, DataReceiptStep) for n in one.pipeline.nodes)
        ]
        if len(names) != 1:
            raise DefinitionError(
                "say whose data types the delivery has, with --pipeline: "
                + (", ".join(names) or "no pipeline with data receipt is registered")
            )
        return names[0]

    def _request(
        self,
        pipeline: str,
        name: str,
        start: str | None,
        stop: str | None,
        where: Sequence[str],
        exclude: Sequence[str],
        process: Process | str | None,
        parameters: Overrides,
    ) -> Request:
        stored = library.pipeline(self._site.database, pipeline)
        chosen_sets(self._site, stored, parameters)
        return Request(
            pipeline=pipeline,
            name=name,
            start=start,
            stop=stop,
            where=Where.parse(where, exclude, stored.pipeline.patterns),
            process=Process(process) if process else None,
            parameters=parameters,
        )


def _checked(
    pipeline: Pipeline | Draft | str | os.PathLike[str], drafts: Path
) -> Pipeline:
    """Return a pipeline, read if need be, that has nothing wrong with it."""
    if isinstance(pipeline, Draft):
        return read_pipeline(pipeline.keep(drafts))
    if not isinstance(pipeline, Pipeline):
        return read_pipeline(Path(pipeline))
    require_sound(pipeline)
    problems = [Fault(message=one.message) for one in check_code(pipeline)]
    if problems:
        raise DefinitionError(problems)
    return pipeline


def _shown(site: Site) -> Cluster:
    """Return a cluster whose page stands in the dashboards of what it opens."""

    def show(site: Site, client: Client) -> str:
        from ziggy_dask.interface.page.dashboard import add_to_dashboard

        return add_to_dashboard(site, client)

    return Cluster(replace(site, show=show))
