"""Submissions: what an environment takes, as learned from the replies of its batch system.

Pure functions: from what was known and a reply to what is known now, and what operators are
told. The table of `replies` says what a reply means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from ziggy_dask.compute.batch.replies import Meaning, Reply

FIRST_S = 4.0
"""First pause after a reply that passes, in seconds; each further one is twice as long."""
LONGEST_S = 120.0
"""Longest pause, in seconds."""
_PROBE_S = 60.0
"""First pause before one job more than a learned limit is tried, in seconds."""
_LONGEST_PROBE_S = 900.0
_LONG_S = 300.0
"""An environment that has taken no job for so long is worth an INFRASTRUCTURE alert."""
UNKNOWN_TRIES = 3
"""So many replies in a row that no table knows count as permanent."""


class Loudness(Enum):
    """How operators are told."""

    WARNING = "WARNING"
    INFRASTRUCTURE = "INFRASTRUCTURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Something that operators should know."""

    loudness: Loudness
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """No more jobs are submitted to the environment; tasks that wait for it fail."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is known of how an environment takes jobs."""

    failures: int = 0
    """Replies in a row that were not jobs."""
    unknown: int = 0
    """Those of them that no table knows."""
    retry_at: float = 0.0
    """Nothing is submitted before, in seconds of a monotonic clock."""
    failing_since: float = 0.0
    """When the first of them came."""
    is_loud: bool = False
    """Whether the alert that it lasts was raised."""
    learned_max: int = 0
    """Number of jobs at which the batch system named a limit; 0: it has not."""
    probe_at: float = 0.0
    """From then on one job more than that may be tried."""
    probe_s: float = _PROBE_S
    """Pause before the next such try."""


def allowed(intake: Intake, max_jobs: int, open_jobs: int, now: float) -> int:
    """Return how many jobs may be submitted now.

    Parameters
    ----------
    intake
        What is known of the environment.
    max_jobs
        Limit of the cluster file; 0: there is none.
    open_jobs
        Jobs there that have not ended.
    now
        Seconds of a monotonic clock.
    """
    if now < intake.retry_at:
        return 0
    limits = [1_000_000]
    if max_jobs:
        limits.append(max_jobs - open_jobs)
    if intake.learned_max:
        probe = 1 if now >= intake.probe_at else 0
        limits.append(max(intake.learned_max - open_jobs, probe))
    return max(min(limits), 0)


def after_success(
    name: str, intake: Intake, open_jobs: int, now: float
) -> tuple[Intake, tuple[Tell, ...]]:
    """Return what is known after a job was taken; `open_jobs` counts it."""
    told: tuple[Tell, ...] = ()
    if intake.failures:
        words = f"the batch system of environment {name!r} takes jobs again"
        told = (Tell(loudness=Loudness.WARNING, message=words),)
    learned = intake.learned_max
    if learned and open_jobs > learned:
        learned = open_jobs
    return Intake(learned_max=learned, probe_at=intake.probe_at), told


def after_reply(
    name: str, intake: Intake, reply: Reply, open_jobs: int, now: float
) -> tuple[Intake, tuple[Tell | Refuse, ...]]:
    """Return what is known after a job was not taken, and what follows.

    Parameters
    ----------
    name
        Name of the environment.
    intake
        What was known before.
    reply
        What the batch system said.
    open_jobs
        Jobs there that have not ended.
    now
        Seconds of a monotonic clock.
    """
    if reply.meaning is Meaning.PERMANENT:
        return intake, (Refuse(reason=_with_key(reply)),)
    unknown = intake.unknown + 1 if reply.meaning is Meaning.UNKNOWN else 0
    if unknown >= UNKNOWN_TRIES:
        return intake, (Refuse(reason=f"{reply.words} ({unknown} times in a row)"),)
    if reply.meaning is Meaning.LIMIT and open_jobs:
        return _limited(name, intake, reply, open_jobs, now)
    return _paused(name, replace(intake, unknown=unknown), reply, now)


def _limited(
    name: str, intake: Intake, reply: Reply, open_jobs: int, now: float
) -> tuple[Intake, tuple[Tell | Refuse, ...]]:
    is_new = intake.learned_max != open_jobs
    probe_s = _PROBE_S if is_new else min(2 * intake.probe_s, _LONGEST_PROBE_S)
    learned = Intake(learned_max=open_jobs, probe_at=now + probe_s, probe_s=probe_s)
    if not is_new:
        return learned, ()
    words = (
        f"environment {name!r} takes no more than {open_jobs} jobs now: {reply.words}; the "
        f"run goes on with those. 'max_jobs: {open_jobs}' in the cluster file keeps to it"
    )
    return learned, (Tell(loudness=Loudness.WARNING, message=words),)


def _paused(
    name: str, intake: Intake, reply: Reply, now: float
) -> tuple[Intake, tuple[Tell | Refuse, ...]]:
    pause = min(FIRST_S * 2**intake.failures, LONGEST_S)
    since = intake.failing_since if intake.failures else now
    is_loud = intake.is_loud or now - since >= _LONG_S
    after = replace(
        intake,
        failures=intake.failures + 1,
        retry_at=now + pause,
        failing_since=since,
        is_loud=is_loud,
    )
    if intake.failures == 0:
        words = (
            f"the batch system of environment {name!r} did not take a job: {reply.words}; "
            f"it is tried again after {pause:.0f} s, then after longer and longer pauses"
        )
        return after, (Tell(loudness=Loudness.WARNING, message=words),)
    if is_loud and not intake.is_loud:
        words = (
            f"environment {name!r} has taken no job for {(now - since) / 60:.0f} min: "
            f"{reply.words}; it is still tried every {pause:.0f} s"
        )
        return after, (Tell(loudness=Loudness.INFRASTRUCTURE, message=words),)
    return after, ()


def _with_key(reply: Reply) -> str:
    return f"{reply.words} (fix {reply.key})" if reply.key else reply.words
