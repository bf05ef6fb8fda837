"""What a cluster hands out: instances, tasks, subtasks, the datastore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from ziggy_dask.datastore import Datastore
from ziggy_dask.definitions import Pipeline
from ziggy_dask.interface.cards import instance_card, task_card
from ziggy_dask.interface.live import Live
from ziggy_dask.interface.plots import InstancePlots
from ziggy_dask.interface.recorded import followed_instance_logs, followed_logs
from ziggy_dask.interface.states_at import When, snapshot_of
from ziggy_dask.records import InstanceState, alerts, instances, outcomes
from ziggy_dask.records.instances import InstanceRecord, TaskRecord
from ziggy_dask.records.items import find_item
from ziggy_dask.records.jobs import JobRecord, jobs, worked_seconds
from ziggy_dask.records.outcomes import FailureGroup, SubtaskLog, SubtaskRecord
from ziggy_dask.records.replay import Moment, moment
from ziggy_dask.records.replay import moments as replayed
from ziggy_dask.records.statistics import NodeStatistics, statistics
from ziggy_dask.records.timeline import Timeline, timeline
from ziggy_dask.supervisor import OpenCluster, OpenedSubtask, open_subtask

if TYPE_CHECKING:
    import pandas as pd


class Instance:
    """One run of a pipeline.

    Parameters
    ----------
    site
        The open cluster.
    number
        Number of the instance.
    """

    def __init__(self, site: OpenCluster, number: int) -> None:
        self._site = site
        self.id = number

    @property
    def record(self) -> InstanceRecord:
        """All that is on record of it."""
        return instances.instance(self._site.database, self.id)

    @property
    def state(self) -> InstanceState:
        """How it stands."""
        return self.record.state

    @property
    def remarks(self) -> list[str]:
        """What should be known of its work although it is not a failure, oldest first."""
        found = [
            one
            for one in alerts.alerts(self._site.database, with_cleared=True)
            if one.instance == self.id and one.severity is alerts.Severity.WARNING
        ]
        return [
            one.message + (f" ({one.count} times)" if one.count > 1 else "")
            for one in reversed(found)
        ]

    @property
    def tasks(self) -> list[Task]:
        """Its tasks."""
        records = instances.tasks(self._site.database, self.id)
        return [Task(self._site, record.id) for record in records]

    @property
    def task_records(self) -> list[TaskRecord]:
        """All that is on record of its tasks."""
        return instances.tasks(self._site.database, self.id)

    @property
    def parameters(self) -> dict[str, dict[str, object]]:
        """The values that it ran with, by parameter set and name."""
        _, sets = instances.instance_pipeline(self._site.database, self.id)
        return {name: dict(one.values) for name, one in sets.items()}

    @property
    def pipeline(self) -> Pipeline:
        """The exact definition that it ran."""
        return instances.instance_pipeline(self._site.database, self.id)[0]

    @property
    def statistics(self) -> list[NodeStatistics]:
        """Its nodes in numbers: counts, times, memory, and the slowest subtasks."""
        return statistics(self._site.database, self.id)

    @property
    def timeline(self) -> Timeline:
        """When its subtasks ran, and where."""
        return timeline(self._site.database, self.id)

    def at(self, time: datetime) -> Moment:
        """Return it as it was at a moment; times without a zone are in UTC."""
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return moment(self._site.database, self.id, aware)

    def replay(self, moments: int = 100) -> list[Moment]:
        """Return it at so many moments, from its making to its end or to now."""
        return replayed(self._site.database, self.id, moments)

    @property
    def worked_seconds(self) -> dict[str, float]:
        """For how long each of its jobs worked on subtasks, in seconds, by name."""
        return worked_seconds(self._site.database, self.id)

    @property
    def jobs(self) -> list[JobRecord]:
        """Its jobs of batch systems, in the order of their submission."""
        return jobs(self._site.database, self.id)

    @property
    def failures(self) -> list[FailureGroup]:
        """Its failures by kind, most frequent first."""
        return outcomes.failures(self._site.database, self.id)

    def logs(self) -> list[SubtaskLog]:
        """Return what all its subtasks printed, and their tracebacks."""
        return outcomes.instance_logs(self._site.database, self.id)

    def followed_logs(self) -> Iterator[SubtaskLog]:
        """Yield what its subtasks print, each when it has ended, until all is over."""
        return followed_instance_logs(self._site.database, self.id)

    def to_frame(self) -> pd.DataFrame:
        """Return its tasks as a table, indexed by their numbers."""
        records = instances.tasks(self._site.database, self.id)
        return _frame(TaskRecord, records, "id", state=[one.state for one in records])

    def watch(self) -> Live:
        """Return its progress as something that keeps itself up to date when shown."""
        return Live(self._site.database, self.id)

    @property
    def plot(self) -> InstancePlots:
        """Pictures of it: ``plot.timeline()``, ``.durations()``, ``.lineage()``."""
        return InstancePlots(self._site.database, self.id)

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        return instance_card(self._site.database, self.id)

    def __repr__(self) -> str:
        """Say how it stands."""
        record = self.record
        name = f" {record.name!r}" if record.name else ""
        return (
            f"<ziggy_dask.Instance {self.id}{name}: {record.pipeline}, "
            f"{record.state.value}, {len(self.tasks)} tasks>"
        )


class Task:
    """A node on a unit of work.

    Parameters
    ----------
    site
        The open cluster.
    number
        Number of the task.
    """

    def __init__(self, site: OpenCluster, number: int) -> None:
        self._site = site
        self.id = number

    @property
    def record(self) -> TaskRecord:
        """All that is on record of it."""
        return instances.task(self._site.database, self.id)

    @property
    def subtasks(self) -> list[Subtask]:
        """Its subtasks that have ended."""
        records = outcomes.subtasks(self._site.database, self.id)
        return [Subtask(self._site, record) for record in records]

    def to_frame(self) -> pd.DataFrame:
        """Return its subtasks that have ended as a table, indexed by their numbers."""
        records = outcomes.subtasks(self._site.database, self.id)
        return _frame(SubtaskRecord, records, "number")

    def subtask_of(self, item: str) -> int:
        """Return the number of the subtask that has an item.

        Raises
        ------
        RecordsError
            If none has it.
        """
        ((_, number),) = find_item(self._site.database, item, self.id)
        return number

    def open(self, subtask: int = 0) -> OpenedSubtask:
        """Return a subtask with its very inputs, to look at and run here."""
        return open_subtask(self._site, self.id, subtask)

    def logs(self, subtask: int | None = None) -> list[SubtaskLog]:
        """Return what its subtasks printed, and their tracebacks."""
        return outcomes.logs(self._site.database, self.id, subtask)

    def followed_logs(self) -> Iterator[SubtaskLog]:
        """Yield what its subtasks print, each when it has ended, until all have."""
        return followed_logs(self._site.database, self.id)

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        return task_card(self.record, outcomes.subtasks(self._site.database, self.id))

    def __repr__(self) -> str:
        """Say how it stands."""
        record = self.record
        return (
            f"<ziggy_dask.Task {self.id}: {record.node} {record.unit}, {record.state}, "
            f"{record.complete}/{record.total} subtasks>"
        )


class Subtask:
    """A subtask that has ended; has all that its record says.

    Parameters
    ----------
    site
        The open cluster.
    record
        What is on record of it.
    """

    def __init__(self, site: OpenCluster, record: SubtaskRecord) -> None:
        self._site = site
        self.record = record

    def open(self) -> OpenedSubtask:
        """Return it with its very inputs, to look at and run here."""
        return open_subtask(self._site, self.record.task, self.record.number)

    def __getattr__(self, name: str) -> Any:
        """Return what the record says."""
        if name.startswith("_") or name == "record":
            raise AttributeError(name)
        return getattr(self.record, name)

    def __dir__(self) -> list[str]:
        """List what the record says, for completion."""
        names = (one.name for one in fields(self.record))
        return sorted({*super().__dir__(), *names})

    def __repr__(self) -> str:
        """Say how it ended."""
        one = self.record
        why = f", {one.cause.value}: {one.message}" if one.cause.value else ""
        return (
            f"<ziggy_dask.Subtask {one.number} of task {one.task}: "
            f"{one.state.value}{why}>"
        )


class InstanceDatastore(Datastore):
    """The datastore, also as an instance left it.

    Parameters
    ----------
    site
        The open cluster.
    """

    def __init__(self, site: OpenCluster) -> None:
        super().__init__(site.repository)
        self._site = site

    def at(self, when: Instance | When) -> Datastore:
        """Return the datastore as it was.

        Parameters
        ----------
        when
            As an instance left it: the instance, or its number; or the name of a tag, a
            date or time, or a snapshot. Times without a zone are in UTC, and a date alone
            stands for its end.

        Raises
        ------
        DefinitionError, RecordsError, DatastoreError
            If there is no such state.
        """
        chosen = when.id if isinstance(when, Instance) else when
        return self.as_of(snapshot_of(self._site, chosen))


def _frame(
    kind: type[TaskRecord] | type[SubtaskRecord],
    records: Sequence[TaskRecord] | Sequence[SubtaskRecord],
    index: str,
    **more: Sequence[object],
) -> pd.DataFrame:
    """Return records as a table with a column for each of their fields, and more."""
    import pandas as pd

    columns = {
        one.name: [_cell(getattr(record, one.name)) for record in records]
        for one in fields(kind)
    }
    return pd.DataFrame(columns | more).set_index(index)


def _cell(value: object) -> object:
    return value.value if isinstance(value, Enum) else value
