"""What is on record of a cluster: all that its database alone can tell.

Looking at records needs neither datastore nor Dask, and does not load them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask import records
from ziggy_dask.definitions import read_cluster
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError, RecordsError

if TYPE_CHECKING:
    from ziggy_dask.definitions import ClusterFile, CodeTree
    from ziggy_dask.interface.status import Status
    from ziggy_dask.receipt.quarantine import Quarantine
    from ziggy_dask.records import Database
    from ziggy_dask.records.alerts import Alert
    from ziggy_dask.records.attempts import EarlierSubtask
    from ziggy_dask.records.deliveries import DeliveryRecord
    from ziggy_dask.records.instances import InstanceRecord, TaskRecord
    from ziggy_dask.records.jobs import JobRecord
    from ziggy_dask.records.lease import Lease
    from ziggy_dask.records.library import StoredPipeline, StoredSet
    from ziggy_dask.records.outcomes import FailureGroup, SubtaskLog, SubtaskRecord
    from ziggy_dask.records.overview import TaskLine, TaskPage
    from ziggy_dask.records.statistics import NodeStatistics
    from ziggy_dask.records.triggers import EventRecord, HandlerState

_LOOK_S = 0.5
"""Time between two looks at the records, in seconds."""


def open_records(file: str | os.PathLike[str]) -> Records:
    """Open the database of a cluster, and nothing else of it.

    Parameters
    ----------
    file
        Its cluster file.

    Raises
    ------
    DefinitionError
        If the file is faulty.
    RecordsError
        If the cluster was never created.
    """
    cluster = read_cluster(Path(file))
    place = cluster.database
    database = records.open_database(place.url, place.password_file)
    database.base = cluster.path.parent
    return Records(cluster, database)


class Records:
    """What is on record of a cluster.

    Parameters
    ----------
    file
        The cluster file.
    database
        Its open database.
    """

    def __init__(self, file: ClusterFile, database: Database) -> None:
        self._file = file
        self._database = database

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self._file.name

    @property
    def home(self) -> Path:
        """Directory of the cluster's own files."""
        return self._file.home

    @property
    def status(self) -> Status:
        """How everything stands, for one screen."""
        from ziggy_dask.interface.status import cluster_status

        return cluster_status(self._file, self._database)

    @property
    def supervisor(self) -> Lease | None:
        """Who supervises the cluster, or None."""
        return records.lease.current_lease(self._database)

    @property
    def pipelines(self) -> dict[str, StoredPipeline]:
        """The newest version of every registered pipeline, by name."""
        return {
            one.pipeline.name: one for one in records.library.pipelines(self._database)
        }

    def parameter_sets(self, pipeline: str) -> dict[str, StoredSet]:
        """Return the newest version of each parameter set of a pipeline, by name."""
        stored = records.library.pipeline(self._database, pipeline).pipeline
        return records.library.parameter_sets(self._database, stored.name)

    @property
    def deliveries(self) -> list[DeliveryRecord]:
        """All deliveries that were taken in."""
        return records.deliveries.deliveries(self._database)

    @property
    def quarantined(self) -> list[Quarantine]:
        """Files of deliveries that were not taken in with the rest, by delivery."""
        from ziggy_dask.receipt.quarantine import all_quarantined

        return list(all_quarantined(self._file.quarantine))

    @property
    def instance_records(self) -> list[InstanceRecord]:
        """All that is on record of all instances."""
        return records.instances.instances(self._database)

    def instance_record(self, number: int | None = None) -> InstanceRecord:
        """Return what is on record of an instance; by default of the newest."""
        if number is None:
            number = records.overview.newest_instance(self._database)
            if not number:
                raise RecordsError(
                    "there is no instance yet; run one: ziggy run PIPELINE"
                )
        return records.instances.instance(self._database, number)

    def recorded_code(self, which: int | str) -> CodeTree:
        """Return code that ran, as it was put on record.

        Parameters
        ----------
        which
            Number of an instance, or the begin of the code's digest.

        Raises
        ------
        RecordsError
            If there is no such instance, or no such code on record.
        """
        from ziggy_dask.records.code import load_code

        digest = str(which).removeprefix("sha256:").partition(" ")[0]
        if digest.isdigit() and len(digest) < 8:
            record = records.instances.instance(self._database, int(digest))
            if not record.code:
                raise RecordsError(
                    f"the code of instance {record.id} was not kept: it was launched "
                    "before code went on record, or has no code of its own"
                )
            digest = record.code
        return load_code(self._database, digest)

    def task_records(self, instance: int) -> list[TaskRecord]:
        """Return what is on record of the tasks of an instance."""
        return records.instances.tasks(self._database, instance)

    def task_lines(self, instance: int) -> list[TaskLine]:
        """Return the tasks of an instance, each with what fits in one line."""
        return records.overview.task_lines(self._database, instance)

    def task_record(self, task: int) -> TaskRecord:
        """Return what is on record of a task."""
        return records.instances.task(self._database, task)

    def subtask_records(self, task: int) -> list[SubtaskRecord]:
        """Return what is on record of the subtasks of a task that have ended."""
        return records.outcomes.subtasks(self._database, task)

    def find_item(self, item: str, *tasks: int) -> list[tuple[int, int]]:
        """Return the numbers of tasks, and of the subtask of each, that have an item."""
        return records.items.find_item(self._database, item, *tasks)

    def earlier_subtasks(self, task: int) -> list[EarlierSubtask]:
        """Return how the subtasks of a task ended in earlier attempts."""
        return records.attempts.earlier_subtasks(self._database, task)

    def earlier_failures(self, instance: int) -> dict[int, int]:
        """Return how many subtasks failed in earlier attempts of an instance, by task."""
        number = records.instances.instance(self._database, instance).id
        return records.attempts.earlier_failures(self._database, number)

    def logs(self, task: int, subtask: int | None = None) -> list[SubtaskLog]:
        """Return what the subtasks of a task printed, and their tracebacks."""
        return records.outcomes.logs(self._database, task, subtask)

    def followed_logs(self, task: int) -> Iterator[SubtaskLog]:
        """Yield what subtasks of a task print, each when it has ended, until all have."""
        return followed_logs(self._database, task)

    def instance_logs(self, instance: int) -> list[SubtaskLog]:
        """Return what all subtasks of an instance printed, and their tracebacks."""
        return records.outcomes.instance_logs(self._database, instance)

    def followed_instance_logs(self, instance: int) -> Iterator[SubtaskLog]:
        """Yield what all subtasks of an instance print, until it has ended."""
        return followed_instance_logs(self._database, instance)

    def worker_logs(self, worker: str) -> list[Path]:
        """Return the logs of a worker, older ones first.

        Parameters
        ----------
        worker
            Its name, or host and name, as listings of subtasks have them.

        Raises
        ------
        RecordsError
            If there is none in the cluster's home.
        """
        from ziggy_dask.compute.job_log import log_files
        from ziggy_dask.workers.worker_log import logged_workers, worker_log

        logs = self.home / "logs"
        for name in (worker, worker.partition(":")[2]):
            newest = worker_log(logs / "workers", name)
            found = [newest.with_suffix(".log.1"), newest]
            for job in self.jobs():
                if name.startswith(job.name):
                    found += log_files(logs / "jobs", job.name, job.number)
            if there := [one for one in found if one.is_file()]:
                return there
        known = logged_workers(logs / "workers")
        raise RecordsError(
            f"no log of worker {worker!r} is in {logs}{suggestion(worker, known)}; workers "
            "that this cluster did not start have their logs where they run"
        )

    def statistics(self, instance: int) -> list[NodeStatistics]:
        """Return the nodes of an instance in numbers: counts, times, memory."""
        return records.statistics.statistics(self._database, instance)

    def failures(self, instance: int) -> list[FailureGroup]:
        """Return the failures of an instance by kind, most frequent first."""
        number = records.instances.instance(self._database, instance).id
        return records.outcomes.failures(self._database, number)

    def failed_tasks(self, instance: int) -> TaskPage:
        """Return the first tasks of an instance that failed, and how many there are."""
        overview = records.overview
        failed = overview.Doing.FAILED
        query = overview.TaskQuery(instance=instance, doing=failed)
        return overview.task_page(self._database, query)

    @property
    def events(self) -> list[EventRecord]:
        """All events that started instances, oldest first."""
        return records.triggers.events(self._database)

    @property
    def handlers(self) -> dict[tuple[str, str], HandlerState]:
        """What is kept of the event handlers of all pipelines, by pipeline and name."""
        kept = records.triggers.handler_states(self._database)
        return {
            (name, one.name): kept.get((name, one.name), records.triggers.NOTHING_KEPT)
            for name, stored in self.pipelines.items()
            for one in stored.pipeline.events
        }

    def switch(self, handler: str, *, on: bool, pipeline: str | None = None) -> None:
        """Turn an event handler on or off, whatever its definition says.

        Parameters
        ----------
        handler
            Name of the handler.
        on
            Whether the supervisor follows it from now on.
        pipeline
            Its pipeline; needed if several have a handler of that name.
        """
        owner = self._handler_owner(handler, pipeline)
        records.triggers.switch_handler(self._database, owner, handler, is_enabled=on)

    def _handler_owner(self, handler: str, pipeline: str | None) -> str:
        """Return the pipeline that has a handler."""
        owners = [
            owner
            for owner, name in self.handlers
            if name == handler and pipeline in (None, owner)
        ]
        if not owners:
            known = [name for _, name in self.handlers]
            raise DefinitionError(
                f"there is no event handler {handler!r}{suggestion(handler, known)}"
            )
        if len(owners) > 1:
            raise DefinitionError(
                f"several pipelines have an event handler {handler!r}: "
                f"{', '.join(owners)}; say which, with --pipeline"
            )
        return owners[0]

    @property
    def alerts(self) -> list[Alert]:
        """What operators should know, newest first."""
        return records.alerts.alerts(self._database)

    def acknowledge(self, *numbers: int) -> int:
        """Mark alerts as seen, by default all; return how many were not."""
        return records.alerts.acknowledge(self._database, numbers)

    def clear_alerts(self, *numbers: int) -> int:
        """Take alerts off the list, by default all; return how many were on it."""
        return records.alerts.clear(self._database, numbers)

    def worked_seconds(self, instance: int | None = None) -> dict[str, float]:
        """Return for how long each job worked on subtasks, in seconds, by its name."""
        return records.jobs.worked_seconds(self._database, instance)

    def jobs(self, instance: int | None = None) -> list[JobRecord]:
        """Return the jobs of batch systems, of one instance or of all."""
        return records.jobs.jobs(self._database, instance)


def followed_logs(database: Database, task: int) -> Iterator[SubtaskLog]:
    """Yield what subtasks of a task print, each when it has ended, until all have."""
    return _followed(
        lambda: records.instances.task(database, task).has_ended,
        lambda: records.outcomes.logs(database, task),
    )


def followed_instance_logs(database: Database, instance: int) -> Iterator[SubtaskLog]:
    """Yield what all subtasks of an instance print, until it has ended."""
    return _followed(
        lambda: records.instances.instance(database, instance).state.is_final,
        lambda: records.outcomes.instance_logs(database, instance),
    )


def _followed(
    has_ended: Callable[[], bool], logs: Callable[[], list[SubtaskLog]]
) -> Iterator[SubtaskLog]:
    seen: set[tuple[int, int]] = set()
    while True:
        is_over = has_ended()
        for one in logs():
            if (one.task, one.number) not in seen:
                seen.add((one.task, one.number))
                yield one
        if is_over:
            return
        time.sleep(_LOOK_S)
