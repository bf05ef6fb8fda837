"""Asking batch systems what became of jobs, seldom, and recording it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ziggy_dask.compute.batch import Commands, Told, commands_of
from ziggy_dask.compute.jobs import ask, cancel
from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.jobs import JobRecord, jobs, note_job

_ASK_S = 3.0
"""Least time between two queries of a batch system, in seconds."""
_MARGIN_S = 10.0
"""A subtask must end so long before its job does, in seconds."""
_GONE_S = 60.0
"""After that a job of which the batch system knows nothing has ended, in seconds."""
_SETTLE_S = 20.0
"""So long the end of a run waits to be told how jobs ended, in seconds."""
_UNNEEDED = "no longer needed"
_LEFT = "it left the queue"


class Asking:
    """What batch systems say of the jobs of a run.

    A job that has left the queue has ended; how, its batch system may tell later.
    """

    def __init__(self, site: OpenCluster, refusals: Refusals) -> None:
        self._site = site
        self._refusals = refusals
        self._environments = {one.name: one for one in site.cluster.environments}
        self._asked = -_ASK_S
        self._seen: set[int] = set()
        self._queued_until: dict[int, float] = {}
        self._untold: dict[int, JobRecord] = {}
        self._unneeded: set[int] = set()
        self.useful: set[str] = set()
        """Names of jobs whose workers had something to do."""

    def look(self) -> list[JobRecord]:
        """Return jobs that have not ended, after asking if it is time for that."""
        open_ = jobs(self._site.database, only_open=True)
        is_due = time.monotonic() - self._asked > _ASK_S
        if is_due and (open_ or self._untold):
            self._ask(open_)
            open_ = jobs(self._site.database, only_open=True)
        return open_

    def ends(self, open_: Sequence[JobRecord]) -> dict[str, float]:
        """Return when jobs that run will end, or some seconds before, by name."""
        return {
            one.name: self._queued_until.get(one.id, one.submitted.timestamp())
            + one.wall_s
            - min(_MARGIN_S, one.wall_s / 10)
            for one in open_
            if one.state is JobState.RUNNING
        }

    def end(self, unneeded: Sequence[JobRecord], retired: Collection[str] = ()) -> None:
        """Cancel jobs that are not needed; the workers of some have ended already."""
        now = datetime.now(UTC)
        for name in {one.environment for one in unneeded}:
            mine = [one for one in unneeded if one.environment == name and one.number]
            if name in self._environments:
                cancel(self._commands(name), [one.number for one in mine])
        for one in unneeded:
            state = JobState.ENDED if one.name in retired else JobState.CANCELLED
            told = JobStatus(state=state, comment=_UNNEEDED)
            note_job(self._site.database, one.id, told)
            if one.number and one.environment in self._environments:
                self._unneeded.add(one.id)
                self._untold[one.id] = replace(one, state=state, ended=now)

    def settle(self) -> None:
        """Wait a little for what batch systems tell of jobs that have just ended."""
        deadline = time.monotonic() + _SETTLE_S
        while self._untold and time.monotonic() < deadline:
            self._ask([])
            if self._untold and self._site.stop.wait(1.0):
                return

    def _ask(self, open_: Sequence[JobRecord]) -> None:
        self._asked = time.monotonic()
        ended = list(self._untold.values())
        for name in {one.environment for one in (*open_, *ended)}:
            numbers = [
                one.number
                for one in (*open_, *ended)
                if one.environment == name and one.number
            ]
            told = self._told(name, numbers)
            if told is None:
                continue  # a batch server that does not answer may do so later
            for one in open_:
                if one.environment == name and one.number:
                    self._note(one, told.get(one.number))
            for one in ended:
                if one.environment == name:
                    self._note_end(one, told.get(one.number))

    def _told(self, name: str, numbers: Sequence[str]) -> Told | None:
        commands = self._commands(name)
        told = ask(commands.query, numbers)
        if told is None or commands.history is None:
            return told
        missing = [one for one in numbers if one not in told]
        return told | (ask(commands.history, missing) or {} if missing else {})

    def _note(self, one: JobRecord, told: JobStatus | None) -> None:
        """Record what is told of a job that had not ended."""
        now = datetime.now(UTC)
        if told is None:
            age_s = (now - one.submitted).total_seconds()
            if one.id not in self._seen and age_s < _GONE_S:
                return  # it may be too new to be listed
            told = JobStatus(state=JobState.ENDED, comment=_LEFT)
            self._untold[one.id] = replace(one, ended=now)
        self._seen.add(one.id)
        if told.state is JobState.QUEUED:
            self._queued_until[one.id] = now.timestamp()
        if told.state is not one.state:
            note_job(self._site.database, one.id, told)
        if told.state.is_final:
            self._weigh(one, told)

    def _note_end(self, one: JobRecord, told: JobStatus | None) -> None:
        """Record how a job ended of which no more than that was known."""
        is_ours = one.id in self._unneeded
        if told is None or not told.state.is_final:
            assert one.ended is not None
            waited_s = (datetime.now(UTC) - one.ended).total_seconds()
            never_began = told is None and is_ours and one.started is None
            if never_began or waited_s > _GONE_S:
                del self._untold[one.id]
            return
        del self._untold[one.id]
        if is_ours:
            cause = JobCause.NONE
            told = replace(told, state=one.state, comment=_UNNEEDED, cause=cause)
        note_job(self._site.database, one.id, told)
        if not is_ours and one.name in self.useful:
            self._tell_loss(one, told)

    def _weigh(self, one: JobRecord, told: JobStatus) -> None:
        """Think of what the end of a job means."""
        if told.state is JobState.FAILED:
            # Some are held in the queue, or would be tried again.
            cancel(self._commands(one.environment), [one.number])
        if one.name in self.useful:
            self._refusals.note_useful(one.environment)
            self._tell_loss(one, told)
            return
        reason = f"job {one.number} ended before it did anything: {told.ending}"
        self._refusals.note_futile(one.environment, reason, one.instance)

    def _tell_loss(self, one: JobRecord, told: JobStatus) -> None:
        if told.state is not JobState.ENDED:
            alert(
                self._site,
                Severity.WARNING,
                f"job {one.number} in {one.environment!r} ended: {told.ending}; what ran "
                "on it runs again",
                source="pools",
                instance=one.instance,
            )

    def _commands(self, environment: str) -> Commands:
        return commands_of(self._environments[environment].batch)
