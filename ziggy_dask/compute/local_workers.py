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
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from distributed import Nanny
from distributed.core import Status

if TYPE_CHECKING:
    from distributed import Scheduler, SpecCluster

T = TypeVar("T")
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
_TRIES = 3
"""So often a nanny starts a worker whose process ends meanwhile."""
_MOST_FAILED = 5
"""So many starts that fail in a row, while no worker is left, count as hopeless."""
_PAUSE_S = 60.0
"""Time between two tries from then on, in seconds."""
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
    """A nanny that notes how the processes of its worker began, and ended by themselves."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.ends: list[int] = []
        """Exit codes of processes that nobody here had told to end; minus a signal."""
        self.starts: list[str] = []
        """What became of starts: why they failed, or nothing if a worker joined."""
        self._is_starting = False
        self.is_down = False
        """Whether it tried to start a worker, and could not."""
        self._ends_of_start: list[int] = []
        super().__init__(*arguments, **options)

    async def start_unsafe(self) -> LocalNanny:
        """Start; if the worker can't, say why."""
        try:
            await super().start_unsafe()
        except Exception:
            if not self.starts:
                raise
            raise RuntimeError(self.starts[-1]) from None
        return self

    async def instantiate(self) -> Status:
        """Start a worker, at first or in place of one that ended; again if that ends at once."""
        self.is_down = False
        self._ends_of_start.clear()
        status = await self._start_once()
        for _ in range(_TRIES - 1):
            is_wanted = self.status in (Status.init, Status.starting, Status.running)
            if status is Status.running or not (is_wanted and self._ends_of_start):
                break
            self.ends += _taken(self._ends_of_start)
            status = await self._start_once()
        if status is Status.running:
            self.starts.append("")
            for code in _taken(self._ends_of_start):  # it had joined, and ended at once
                self._on_worker_exit_sync(code)
        else:
            self._note_failure(f"a worker's process {self._how_start_ended()}")
        return status

    async def _start_once(self) -> Status:
        self._is_starting = True
        try:
            return await super().instantiate()
        except Exception as error:
            self._note_failure(first_cause(error))
            raise
        finally:
            self._is_starting = False

    def _how_start_ended(self) -> str:
        codes = self._ends_of_start
        return _how(codes[-1]) if codes else "did not join"

    def _note_failure(self, reason: str) -> None:
        self.is_down = True
        self.starts.append(reason)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        """Note the end of a process; leave it to a start that has not ended yet.

        Dask would begin another one meanwhile, and then take the dead worker for the new.
        """
        if self._is_starting:
            self._ends_of_start.append(exitcode)
            return
        if exitcode:
            self.ends.append(exitcode)
        super()._on_worker_exit_sync(exitcode)


def first_cause(error: BaseException) -> str:
    """Return the first cause of an error in one line; Dask's own errors tell little."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = " ".join(str(error).split())
    return words if type(error) is RuntimeError else f"{type(error).__name__}: {words}"


@contextmanager
def kept(
    cluster: SpecCluster,
    tell: Callable[[str], None],
    cannot_start: Callable[[str], None],
) -> Iterator[None]:
    """Keep as many workers as a cluster was started with, for the length of a block.

    Parameters
    ----------
    cluster
        Scheduler and workers in this process and below it, the workers of `LocalNanny`.
    tell
        Is told, on another thread, of each worker that was lost.
    cannot_start
        Is told why no worker can be started, when that was tried several times, and again
        after each further try; is told nothing, as empty text, when one could.
    """
    keeper = _Keeper(cluster, tell, cannot_start)
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

    def __init__(
        self,
        cluster: SpecCluster,
        tell: Callable[[str], None],
        cannot_start: Callable[[str], None],
    ) -> None:
        self._cluster: Any = cluster  # has a scheduler and a loop while it is open
        self._tell = tell
        self._cannot_start = cannot_start
        self._failed = 0
        self._next_try = 0.0
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
        self._note_starts(nannies, now)
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

    def _note_starts(self, nannies: dict[object, LocalNanny], now: float) -> None:
        """Count starts that failed in a row; tell when there is no hope, or is again."""
        starts = [what for nanny in nannies.values() for what in _taken(nanny.starts)]
        if "" in starts:
            if self._failed >= _MOST_FAILED:
                self._cannot_start("")
            self._failed = 0
            return
        self._failed += len(starts)
        is_empty = all(nanny.pid is None for nanny in nannies.values())
        if starts and self._failed >= _MOST_FAILED and is_empty:
            self._next_try = now + _PAUSE_S
            self._cannot_start(starts[-1])

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
        if now < self._next_try:
            return
        for nanny in nannies.values():
            if nanny.is_down and nanny.status is not Status.closed:
                nanny.status = Status.failed  # it starts no process any more
        gone = [
            name
            for name, nanny in nannies.items()
            if nanny.status in (Status.closed, Status.failed)
        ]
        for name, (pid, since) in list(self._killed.items()):
            if name not in nannies or nannies[name].pid != pid:
                del self._killed[name]
            elif now - since > _ENDING_S:  # e.g. it waits for a dead file system
                del self._killed[name]
                gone.append(name)
                self._cluster.loop.add_callback(
                    self._forget, nannies[name].worker_address
                )
        gone += self._given_up(nannies, now)
        for name in gone:
            self._cluster.workers.pop(name, None)
        if gone or len(self._cluster.workers) < len(self._cluster.worker_spec):
            self._cluster.scale(len(self._cluster.worker_spec))

    def _given_up(self, nannies: dict[object, LocalNanny], now: float) -> list[object]:
        """Return names of nannies that have had no process for too long, and stop them."""
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


def _taken(noted: list[T]) -> list[T]:
    return [noted.pop(0) for _ in range(len(noted))]


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
