"""Workers on the supervisor's machine: as many as there should be, whatever ends them.

Dask's nannies start a worker again whose process was killed, but not one that closed by
itself, and they wait for ever for one that is stopped, swapped out or deadlocked. Here
such workers are found, ended and replaced; Dask then runs elsewhere what they had.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil
from distributed import Nanny

if TYPE_CHECKING:
    from distributed import Scheduler, SpecCluster

SILENT_S = 60.0
"""A worker that says nothing for so long and uses no processor is lost, in seconds."""
BUSY_S = 300.0
"""Likewise one that is busy: compiled code may hold the interpreter's lock for minutes."""
STARTING_S = 300.0
"""A worker that has not joined the scheduler after this is lost, in seconds."""
_BUSY_SHARE = 0.05
"""Share of a processor from which on a process counts as busy; others may leave it little."""
_LOOK_S = 2.0
"""Time between two looks, in seconds."""
_ANSWER_S = 5.0
"""Time limit of a look, in seconds; the scheduler itself may be busy."""
_ENDING_S = 15.0
"""Time after which a process that was killed is given up, in seconds."""
_RESTARTING_S = 30.0
"""Time after which a nanny without a process is given up, in seconds."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What can be seen of a worker at one time."""

    pid: int
    """Its process."""
    beat: float
    """When it said something last, in the scheduler's time; 0: it has not joined."""
    cpu_s: float
    """Processor time that its process has used, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """For how long a worker has said nothing."""

    pulse: Pulse
    """What was seen last."""
    silent_s: float = 0.0
    """For how long, in seconds, as far as somebody looked all the while."""
    busy_s: float = 0.0
    """Processor time that it used meanwhile, in seconds."""

    def after(self, pulse: Pulse, elapsed_s: float) -> Silence:
        """Return the silence after another look.

        Parameters
        ----------
        pulse
            What is seen now.
        elapsed_s
            Time since the last look, in seconds; no more than between two looks, so that
            it does not count for silence when this process itself was stopped.
        """
        if pulse.pid != self.pulse.pid or pulse.beat != self.pulse.beat:
            return Silence(pulse=pulse)
        return replace(
            self,
            pulse=pulse,
            silent_s=self.silent_s + elapsed_s,
            busy_s=self.busy_s + max(0.0, pulse.cpu_s - self.pulse.cpu_s),
        )

    @property
    def is_lost(self) -> bool:
        """Whether the worker is to be given up."""
        if not self.pulse.beat:
            return self.silent_s > STARTING_S
        is_busy = self.busy_s > _BUSY_SHARE * self.silent_s
        return self.silent_s > (BUSY_S if is_busy else SILENT_S)


class LocalNanny(Nanny):
    """A nanny that notes how the processes of its worker ended by themselves."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ends: list[int] = []
        """Exit codes of processes that nobody here had told to end; minus a signal."""
        super().__init__(*arguments, **options)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        if exitcode:
            self.ends.append(exitcode)
        super()._on_worker_exit_sync(exitcode)


@contextmanager
def kept(cluster: SpecCluster, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep as many workers as a cluster was started with, for the length of a block.

    Parameters
    ----------
    cluster
        Scheduler and workers in this process and below it, the workers of `LocalNanny`.
    tell
        Is told, on another thread, of each worker that was lost.
    """
    keeper = _Keeper(cluster, tell)
    thread = threading.Thread(target=keeper.keep, name="ziggy-workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        keeper.ended.set()
        thread.join(_ANSWER_S + _LOOK_S)


def end_workers(cluster: SpecCluster, limit_s: float) -> None:
    """End scheduler and workers; after a time limit, in seconds, whatever hangs there."""
    processes = [
        process
        for nanny in cluster.workers.values()
        if nanny.pid is not None and (process := _process(nanny.pid)) is not None
    ]
    with suppress(TimeoutError):
        cluster.close(timeout=limit_s)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


class _Keeper:
    """Looks at the workers, again and again."""

    def __init__(self, cluster: SpecCluster, tell: Callable[[str], None]) -> None:
        self._cluster: Any = cluster  # has a scheduler and a loop while it is open
        self._tell = tell
        self._silences: dict[object, Silence] = {}
        self._killed: dict[object, tuple[int, float]] = {}
        self._bare: dict[object, tuple[LocalNanny, float]] = {}
        self._looked = time.monotonic()
        self.ended = threading.Event()

    def keep(self) -> None:
        """Look until it ends."""
        while not self.ended.wait(_LOOK_S):
            try:
                self._look()
            except TimeoutError:
                self._silences.clear()  # nobody heard what workers said meanwhile
            except Exception:
                if self.ended.is_set():
                    return
                logger.exception("the workers could not be looked after; trying again")

    def _look(self) -> None:
        now = time.monotonic()
        elapsed = min(now - self._looked, 2 * _LOOK_S)
        self._looked = now
        nannies: dict[object, LocalNanny] = dict(self._cluster.workers)
        beats = self._cluster.sync(self._beats, nannies, callback_timeout=_ANSWER_S)
        for name, nanny in nannies.items():
            for code in _taken(nanny.ends):
                self._tell(f"a worker on this machine {_how(code)}; it is replaced")
            pid = nanny.pid
            if pid is None:
                self._silences.pop(name, None)
                continue
            pulse = Pulse(pid=pid, beat=beats.get(name, 0.0), cpu_s=_cpu_s(pid))
            before = self._silences.get(name, Silence(pulse=pulse))
            self._silences[name] = before.after(pulse, elapsed)
            if self._silences[name].is_lost:
                self._end(name, pid, self._silences.pop(name))
        self._replace(nannies, now)

    async def _beats(self, nannies: dict[object, LocalNanny]) -> dict[object, float]:
        """Return when workers that have joined said something last."""
        scheduler: Scheduler = self._cluster.scheduler
        known = {
            name: scheduler.workers.get(nanny.worker_address or "")
            for name, nanny in nannies.items()
        }
        return {name: one.last_seen for name, one in known.items() if one is not None}

    def _end(self, name: object, pid: int, silence: Silence) -> None:
        """Kill the process of a worker; its nanny starts another one."""
        self._tell(
            f"a worker on this machine (process {pid}) said nothing for "
            f"{silence.silent_s:.0f} s; it is killed and replaced, and what it had runs "
            "elsewhere"
        )
        self._killed[name] = (pid, time.monotonic())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _replace(self, nannies: dict[object, LocalNanny], now: float) -> None:
        """Start workers in place of those whose nannies have ended, or can't end them."""
        from distributed.core import Status

        gone = [
            name
            for name, nanny in nannies.items()
            if nanny.status in (Status.closed, Status.failed)
        ]
        for name, (pid, since) in list(self._killed.items()):
            nanny = nannies.get(name)
            if nanny is None or nanny.pid != pid:
                del self._killed[name]
            elif now - since > _ENDING_S:  # e.g. it waits for a dead file system
                del self._killed[name]
                gone.append(name)
                self._cluster.loop.add_callback(self._forget, nanny.worker_address)
        gone += self._given_up(nannies, now)
        for name in gone:
            self._cluster.workers.pop(name, None)
        if gone or len(self._cluster.workers) < len(self._cluster.worker_spec):
            self._cluster.scale(len(self._cluster.worker_spec))

    def _given_up(self, nannies: dict[object, LocalNanny], now: float) -> list[object]:
        """Return names of nannies that have had no process for too long, and stop them."""
        from distributed.core import Status

        bare = {
            name: nanny
            for name, nanny in nannies.items()
            if nanny.pid is None and nanny.status not in (Status.closed, Status.failed)
        }
        before, self._bare = self._bare, {}
        for name, nanny in bare.items():
            seen, since = before.get(name, (nanny, now))
            self._bare[name] = (nanny, since if seen is nanny else now)
        late = [
            n for n, (_, since) in self._bare.items() if now - since > _RESTARTING_S
        ]
        for name in late:
            nanny, _ = self._bare.pop(name)
            nanny.status = Status.failed  # it starts no process any more
            self._tell("a worker on this machine did not start again; it is replaced")
        return late

    async def _forget(self, address: str) -> None:
        """Let the scheduler give up a worker whose process can't be ended."""
        await self._cluster.scheduler.remove_worker(
            address, stimulus_id="ziggy-lost-worker"
        )


def _taken(ends: list[int]) -> list[int]:
    return [ends.pop(0) for _ in range(len(ends))]


def _how(code: int) -> str:
    """Return in words how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
