"""What a cluster does: runs, deliveries and restarts, and their end."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.definitions import DataReceiptStep, Process
from ziggy_dask.definitions.names import member
from ziggy_dask.engine.code import code_changes
from ziggy_dask.engine.launch import fired_event
from ziggy_dask.errors import ClusterError, DefinitionError, DeliveryError
from ziggy_dask.interface.library import Overrides
from ziggy_dask.interface.objects import Instance
from ziggy_dask.interface.plans import Plans
from ziggy_dask.receipt import find_deliveries
from ziggy_dask.records import instances, library
from ziggy_dask.records.requests import RequestKind
from ziggy_dask.supervisor import (
    CodeChoice,
    Listener,
    Request,
    Restart,
    RestartMode,
    ask,
    continue_instance,
    follow,
    halt_tasks,
    is_served,
    plan_restart,
    request_to_json,
    restart_tasks,
    run,
    unheard,
)

if TYPE_CHECKING:
    from distributed import Client


logger = logging.getLogger(__name__)


class Runs(Plans):
    """The runs of a cluster, besides its plans, definitions and records."""

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
        code: CodeChoice | str | None = None,
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
        code
            ``"old"``, the default: the code that the instance was launched with, or got
            by an earlier restart. ``"new"``: the code that is in the pipeline's directory
            now. Both stay on record; see `code_changes`.
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
            mode=member(RestartMode, mode, "mode") if mode else None,
            changes=parameters or {},
            code=member(CodeChoice, code or CodeChoice.OLD, "code"),
        )
        if code is None:
            self._tell_code_changes(asked)
        if client is None and is_served(self._site):
            numbers = ask(self._site, RequestKind.RESTART, asked.to_json())
            return [self.follow(number, listen=listen) for number in numbers]
        records = restart_tasks(self._site, asked, client=client, listen=listen)
        return [Instance(self._site, one.id) for one in records]

    def code_changes(
        self, *tasks: int, instance: int | None = None, cause: str = ""
    ) -> dict[int, list[str]]:
        """Return which files changed since the instances of a restart were launched.

        Parameters
        ----------
        *tasks, instance, cause
            What would be restarted; see `restart`.

        Returns
        -------
        dict
            Changed, new and removed files of the code by number of the instance.
        """
        return self._code_changes(
            Restart(tasks=tasks, instance=instance, fingerprint=cause)
        )

    def _code_changes(self, asked: Restart) -> dict[int, list[str]]:
        found = {}
        for reset in plan_restart(self._site.database, asked):
            record = instances.instance(self._site.database, reset.instance)
            pipeline, _ = instances.instance_pipeline(self._site.database, record.id)
            if changed := code_changes(self._site, record, pipeline.root):
                found[record.id] = changed
        return found

    def _tell_code_changes(self, asked: Restart) -> None:
        for number, changed in self._code_changes(asked).items():
            logger.warning(
                "instance %d runs the code that it was launched with, although files "
                "have changed: %s; to run the new code, say code='new'",
                number,
                ", ".join(changed),
            )

    def halt(self, *tasks: int, instance: int | None = None) -> int:
        """End tasks, an instance, or all that has not ended.

        Running programs and Python subtasks are ended within seconds, and nothing of
        the tasks is stored. What is on record of them is kept for a restart.

        Returns
        -------
        int
            Number of tasks that had not ended.

        Raises
        ------
        RecordsError
            If there is no such task or instance; nothing is halted then.
        """
        numbers = [self.task_record(one).id for one in tasks]
        if not tasks:
            which = self.instance_records
            if instance is not None:
                which = [self.instance_record(instance)]
            numbers = [one.id for each in which for one in self.task_records(each.id)]
        return halt_tasks(self._site, numbers)

    def stop(self) -> None:
        """Let whatever runs through this object stop soon, as after an interrupt."""
        self._site.stop.set()
        self._site.database.is_closing.set()

    @property
    def is_stopping(self) -> bool:
        """Whether what runs through this object is to stop soon."""
        return self._site.stop.is_set()

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

        Raises
        ------
        DeliveryError
            If there is no delivery in the directory.
        """
        name = pipeline or self._only_receiver()
        definition = library.pipeline(self._site.database, name).pipeline
        nodes = [
            n.name for n in definition.nodes if isinstance(n.step, DataReceiptStep)
        ]
        if not nodes:
            raise DefinitionError(f"pipeline {name!r} has no data receipt node")
        if not Path(directory).is_dir():
            raise DefinitionError(f"{directory}: is not a directory")
        if needs_manifest and not find_deliveries(Path(directory)):
            raise DeliveryError(
                f"{directory}: has no manifest, nor has a directory in it; write one "
                "with ziggy manifest, or take it as it is with --no-manifest"
            )
        request = Request(
            pipeline=name,
            name="data receipt",
            start=nodes[0],
            stop=nodes[0],
            receipt=Path(directory),
            needs_manifest=needs_manifest,
        )
        return self._run(request, None, listen)

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
