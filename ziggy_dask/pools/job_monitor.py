"""Following jobs: what batch systems and Dask say of them, recorded and acted upon.

What follows from what is known is decided in `fates`; this is where it is gathered and done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ziggy_dask.compute.batch import Commands, commands_of
from ziggy_dask.compute.job_log import decisive_line, read_logs
from ziggy_dask.compute.jobs import cancel
from ziggy_dask.definitions import JobCause, JobState, JobStatus
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.pools import fates
from ziggy_dask.pools.circuit_breaker import Refusals
from ziggy_dask.pools.polling import SILENT_S, Answer, Polling, monotonic
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.jobs import (
    JobRecord,
    job_named,
    jobs,
    note_job,
    note_seen,
)

_MARGIN_S = 10.0
"""A subtask must end so long before its job does, in seconds."""
_STARTUP_S = 120.0
"""A worker is here at most so long after its job began, in seconds."""
_TELL_S = 60.0
"""So long a batch system may take to tell how a job ended, in seconds."""
_SEEN_S = 15.0
"""Time between two records of which jobs run, in seconds."""
LINGERS_S = 10.0
"""A worker may be here so long after the end of its job, in seconds."""
_SETTLE_S = 12.0
"""So long the end of a run waits to be told how jobs ended, in seconds."""


@dataclass(slots=True)
class _Memory:
    """What is remembered of a job from look to look."""

    queued_until: float
    """Last time at which it was said to wait, in seconds since the epoch."""
    was_running: bool = False
    """Whether a listing has said that it runs, and none since that it waits."""
    listed_start: datetime | None = None
    """When it began, as a listing says."""
    missing_since: float | None = None
    worker_since: float | None = None
    """When its worker was first seen, in seconds since the epoch."""
    cancels: int = 0
    cancelled_at: float = float("-inf")


class JobMonitor:
    """Follows the jobs of a run.

    Parameters
    ----------
    site
        The open cluster.
    refusals
        Are told of jobs that did something, or nothing.
    executor
        Runs commands of batch systems.
    number_of
        Asks the worker of a job for the number of the job.
    """

    def __init__(
        self,
        site: OpenCluster,
        refusals: Refusals,
        executor: Executor,
        number_of: Callable[[str], str] = lambda name: "",
    ) -> None:
        self._site = site
        self._refusals = refusals
        self._executor = executor
        self._number_of = number_of
        self._environments = {each.name: each for each in site.cluster.environments}
        self._pollings: dict[str, Polling] = {}
        self._memories: dict[int, _Memory] = {}
        self._untold: dict[int, JobRecord] = {}
        self._told_words: dict[str, str] = {}
        self._settled: set[str] = set()
        self._lingering: dict[str, float] = {}
        self._seen_at = float("-inf")
        self.useful: set[str] = set()
        """Names of jobs whose workers had something to do."""
        self.retiring: set[str] = set()
        """Names of jobs whose workers are to go from the scheduler at once."""

    def look(
        self,
        workers: Collection[str] = (),
        *,
        in_flight: Collection[int] = (),
        is_hurried: bool = False,
    ) -> list[JobRecord]:
        """Return jobs that have not ended, after all that follows from what is known.

        Parameters
        ----------
        workers
            Names of the jobs whose workers are on the scheduler.
        in_flight
            Jobs, by number of the record, that are just being submitted.
        is_hurried
            Whether to ask each second.
        """
        now = monotonic()
        open_ = [
            job
            for job in jobs(self._site.database, only_open=True)
            if job.id not in in_flight
        ]
        answers = self._answers([*open_, *self._untold.values()], now, is_hurried)
        cancels: dict[str, list[JobRecord]] = {}
        for job in open_:
            if job.environment in self._environments:
                seen = self._sighting(job, answers.get(job.environment), workers, now)
                for action in fates.follow(seen):
                    self._do(job, action, answers.get(job.environment), cancels)
        self._note_seen(open_, answers, workers, now)
        known = {job.name for job in open_}
        self._find_given_up(known, answers, workers, in_flight)
        self._end_lingering(known, workers, now)
        self._learn_endings(answers)
        self._cancel(cancels, now)
        return jobs(self._site.database, only_open=True)

    def ends(self, open_: Sequence[JobRecord]) -> dict[str, float]:
        """Return when jobs that run will end, or some seconds before, by name."""
        found = {}
        for job in open_:
            if job.state is JobState.RUNNING:
                memory = self._memory(job)
                began = memory.queued_until
                if memory.worker_since is not None:
                    began = max(began, memory.worker_since - _STARTUP_S)
                found[job.name] = began + job.wall_s - min(_MARGIN_S, job.wall_s / 10)
        return found

    def end(self, unneeded: Sequence[JobRecord], retired: Collection[str] = ()) -> None:
        """Tell jobs to end that are not needed; the workers of some are ending already.

        They have ended when their batch system says so.
        """
        cancels: dict[str, list[JobRecord]] = {}
        for job in unneeded:
            if job.environment not in self._environments:
                words = "its environment is not in the cluster file any more"
                gone = JobStatus(state=JobState.CANCELLED, comment=words)
                note_job(self._site.database, job.id, gone)
                continue
            why = fates.RETIRED if job.name in retired else fates.UNNEEDED
            ending = JobStatus(state=JobState.CANCELLING, comment=why)
            if job.state is not JobState.CANCELLING:
                note_job(self._site.database, job.id, ending)
            if job.number:
                cancels.setdefault(job.environment, []).append(job)
        self._cancel(cancels, monotonic())

    def settle(self, patience_s: float = _SETTLE_S) -> list[JobRecord]:
        """Wait a little for jobs that were told to end; return those that may not have."""
        deadline = monotonic() + patience_s
        while True:
            left = self.look(is_hurried=True)
            # One that was just being submitted may have become a job meanwhile.
            self.end([job for job in left if job.state is not JobState.CANCELLING])
            if monotonic() > deadline or not (left or self._untold):
                return left
            time.sleep(0.2)

    def words_of(self, environment: str) -> str:
        """Return what a batch system said last that was not good."""
        polling = self._pollings.get(environment)
        words = self._told_words.get(environment, "")
        return words or (polling.words if polling else "")

    # -- gathering ---------------------------------------------------------------

    def _answers(
        self, followed: Sequence[JobRecord], now: float, is_hurried: bool
    ) -> dict[str, Answer]:
        """Return the answers that have come since the last look."""
        found = {}
        for name in {job.environment for job in followed} & self._environments.keys():
            if name not in self._pollings:
                self._pollings[name] = Polling(self._commands(name), self._executor)
            polling = self._pollings[name]
            mine = [job for job in followed if job.environment == name]
            answer = polling.look(mine, now=now, is_hurried=is_hurried)
            self._tell_silence(name, polling, now)
            if answer is not None:
                found[name] = answer
        return found

    def _tell_silence(self, name: str, polling: Polling, now: float) -> None:
        silent_s = polling.silent_s(now)
        if silent_s >= SILENT_S and not polling.is_told_silent:
            polling.is_told_silent = True
            words = polling.words or "its command does not return"
            self._alert(
                Severity.INFRASTRUCTURE,
                f"the batch system of environment {name!r} has given no good answer for "
                f"{silent_s:.0f} s: {words}; workers that are here go on, and no job is "
                "taken for ended",
            )
        elif polling.is_told_silent and silent_s == 0.0:
            polling.is_told_silent = False
            self._alert(
                Severity.WARNING,
                f"the batch system of environment {name!r} answers again",
            )

    def _sighting(
        self,
        job: JobRecord,
        answer: Answer | None,
        workers: Collection[str],
        now: float,
    ) -> fates.Sighting:
        memory = self._memory(job)
        said = None
        if answer is not None:
            number = job.number or answer.numbers.get(job.name, "")
            said = answer.told.get(number) if number else None
            if said is None and not job.number and number:
                said = JobStatus(state=JobState.QUEUED, comment="")
        is_restarted = False
        if said is not None:
            memory.missing_since = None
            if said.state is JobState.QUEUED:
                memory.queued_until = time.time()
            if said.state is JobState.RUNNING and said.started is not None:
                before = memory.listed_start
                is_restarted = before is not None and before < said.started
                memory.listed_start = said.started
                if is_restarted:
                    memory.queued_until = said.started.timestamp()
        elif (
            answer is not None
            and job.number in answer.asked
            and answer.begun > memory.cancelled_at
            and memory.missing_since is None
        ):
            memory.missing_since = now
        is_missing = memory.missing_since is not None
        if job.name in workers and memory.worker_since is None:
            memory.worker_since = time.time()
        seen = fates.Sighting(
            job=job,
            said=said,
            is_answered=answer is not None,
            is_missing=is_missing,
            has_names=answer is not None and answer.has_names,
            has_worker=job.name in workers,
            was_listed_running=memory.was_running,
            is_restarted=is_restarted,
            missing_s=now - memory.missing_since if memory.missing_since else 0.0,
            age_s=time.time() - job.submitted.timestamp(),
            since_cancel_s=now - memory.cancelled_at,
            cancels=memory.cancels,
        )
        if said is not None:
            memory.was_running = said.state is JobState.RUNNING
        return seen

    def _note_seen(
        self,
        open_: Sequence[JobRecord],
        answers: Mapping[str, Answer],
        workers: Collection[str],
        now: float,
    ) -> None:
        """Record, now and then, which jobs are known to run."""
        if now - self._seen_at < _SEEN_S:
            return
        self._seen_at = now
        seen = []
        for job in open_:
            answer = answers.get(job.environment)
            said = answer.told.get(job.number) if answer else None
            is_running = said is not None and said.state is JobState.RUNNING
            if job.started is not None and (is_running or job.name in workers):
                seen.append(job.id)
        note_seen(self._site.database, seen)

    def _find_given_up(
        self,
        known: Collection[str],
        answers: Mapping[str, Answer],
        workers: Collection[str],
        in_flight: Collection[int],
    ) -> None:
        """Take jobs on record again that are there although they were given up.

        A submission that seemed to fail may make a job minutes later.
        """
        numbers: dict[str, str] = {}
        for answer in answers.values():
            numbers |= answer.numbers
        named = {name for name in numbers if name.startswith("ziggy-")}
        for name in (named | set(workers)) - set(known) - self._settled:
            job = job_named(self._site.database, name)
            if job is None or job.number or job.environment not in self._environments:
                self._settled.add(name)
                continue
            number = numbers.get(name) or self._number_of(name)
            if number and job.id not in in_flight:
                back = JobStatus(state=JobState.QUEUED, comment=job.comment)
                note_job(self._site.database, job.id, back, number)
                self._memories.pop(job.id, None)
                self._warn(job, f"is there as job {number}, although it was given up")

    def _end_lingering(
        self, known: Collection[str], workers: Collection[str], now: float
    ) -> None:
        """End jobs whose workers are here long after all that is known of their end."""
        lingering = set(workers) - set(known)
        self._lingering = {name: self._lingering.get(name, now) for name in lingering}
        for name, since in self._lingering.items():
            job = (
                job_named(self._site.database, name)
                if now - since > LINGERS_S
                else None
            )
            if job is not None and job.number and job.environment in self._environments:
                self._warn(job, "had ended, and its worker is here; it is cancelled")
                self.end([job])
                self.retiring.add(name)

    def _memory(self, job: JobRecord) -> _Memory:
        if job.id not in self._memories:
            self._memories[job.id] = _Memory(queued_until=job.submitted.timestamp())
        return self._memories[job.id]

    # -- doing ---------------------------------------------------------------------

    def _do(
        self,
        job: JobRecord,
        action: fates.Action,
        answer: Answer | None,
        cancels: dict[str, list[JobRecord]],
    ) -> None:
        if isinstance(action, fates.Retire):
            self.retiring.add(job.name)
        elif isinstance(action, fates.Cancel):
            cancels.setdefault(job.environment, []).append(job)
        elif isinstance(action, fates.Warn):
            self._warn(job, action.words)
        elif isinstance(action, fates.Adopt):
            self._adopt(job, answer)
        else:
            self._note(job, action)

    def _adopt(self, job: JobRecord, answer: Answer | None) -> None:
        number = answer.numbers.get(job.name, "") if answer else ""
        number = number or self._number_of(job.name)
        if number:
            state = job.state
            if state is JobState.SUBMITTING:
                state = JobState.QUEUED
            note_job(
                self._site.database,
                job.id,
                JobStatus(state=state, comment=job.comment),
                number,
            )
            self._warn(job, f"is there as job {number}, although its submission failed")

    def _note(self, job: JobRecord, action: fates.Note) -> None:
        status = self._explained(job, action.status)
        if action.is_end:
            if status.comment == fates.LEFT:
                self._untold[job.id] = replace(
                    job, state=status.state, ended=datetime.now(UTC)
                )
            else:
                status = self._with_log(job, status)
        note_job(self._site.database, job.id, status)
        if action.is_end:
            self._weigh(job, status)

    def _explained(self, job: JobRecord, status: JobStatus) -> JobStatus:
        return fates.explained(job, status, had_worker=self._had_worker(job))

    def _had_worker(self, job: JobRecord) -> bool:
        return self._memory(job).worker_since is not None or job.name in self.useful

    def _with_log(self, job: JobRecord, status: JobStatus) -> JobStatus:
        """Add what the log of a job says of its end, where the batch system does not."""
        if status.state is JobState.ENDED and job.name in self.useful:
            return status
        directory = self._site.cluster.home / "logs" / "jobs"
        cause, line = decisive_line(
            read_logs(directory, job.name, job.number), had_worker=self._had_worker(job)
        )
        if not line:
            return status
        if status.cause in (JobCause.NONE, JobCause.KILLED, JobCause.NOT_STARTED):
            status = replace(status, cause=cause)
        return replace(status, comment=f"{status.comment}: {line}")

    def _weigh(self, job: JobRecord, status: JobStatus) -> None:
        """Think of what the end of a job means."""
        if job.name in self.useful:
            self._refusals.note_useful(job.environment)
            self._tell_loss(job, status)
            return
        if status.cause is JobCause.PREEMPTED:
            self._tell_loss(job, status)
            return
        reason = f"job {job.number} ended before it did anything: {status.ending}"
        self._refusals.note_futile(job.environment, reason, job.instance)

    def _learn_endings(self, answers: Mapping[str, Answer]) -> None:
        """Record how jobs ended of which no more than that was known."""
        for job in list(self._untold.values()):
            answer = answers.get(job.environment)
            if answer is None:
                continue
            said = answer.told.get(job.number)
            if said is not None and said.state.is_final:
                del self._untold[job.id]
                said = self._with_log(job, self._explained(job, said))
                note_job(self._site.database, job.id, said)
                if job.name in self.useful:
                    self._tell_loss(job, said)
                continue
            assert job.ended is not None
            if (datetime.now(UTC) - job.ended).total_seconds() > _TELL_S:
                del self._untold[job.id]

    def _cancel(self, cancels: Mapping[str, Sequence[JobRecord]], now: float) -> None:
        for name, mine in cancels.items():
            for job in mine:
                memory = self._memory(job)
                memory.cancels += 1
                memory.cancelled_at = now
                memory.missing_since = None
            numbers = [job.number for job in mine if job.number]
            self._executor.submit(self._cancel_now, name, numbers)

    def _cancel_now(self, name: str, numbers: Sequence[str]) -> None:
        self._told_words[name] = cancel(self._commands(name), numbers)

    # -- telling -------------------------------------------------------------------

    def _tell_loss(self, job: JobRecord, status: JobStatus) -> None:
        if status.state is not JobState.ENDED:
            self._warn(job, f"ended: {status.ending}; what ran on it runs again")

    def _warn(self, job: JobRecord, words: str) -> None:
        self._alert(
            Severity.WARNING,
            f"job {job.number or job.name} in {job.environment!r} {words}",
            instance=job.instance,
        )

    def _alert(
        self, severity: Severity, message: str, instance: int | None = None
    ) -> None:
        alert(self._site, severity, message, source="pools", instance=instance)

    def _commands(self, environment: str) -> Commands:
        return commands_of(self._environments[environment].batch)
