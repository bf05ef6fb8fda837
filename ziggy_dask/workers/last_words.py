"""What is known of worker processes that died: how they ended, and what was printed.

The nanny of a worker sees its process end and knows the exit code. It reads what the
subtask at work had written, and tells the scheduler, whom the supervisor asks when Dask
gives a batch up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import rpc
from distributed.diagnostics.plugin import NannyPlugin, SchedulerPlugin

from ziggy_dask.workers.descriptors import (
    left_behind,
    output_path,
    remove_ownerless,
)

if TYPE_CHECKING:
    from distributed import Client, Nanny, Scheduler

_NAME = "ziggy-last-words"
_KEEP = "ziggy_keep_last_words"
_TELL = "ziggy_tell_last_words"
_MOST_KEPT = 10_000
_ANSWER_S = 60.0
"""Longest wait for an answer of the scheduler, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """How the process of a subtask ended."""

    exit_code: int
    """Exit code; negative: minus the number of the signal that ended it."""
    output: str
    """The end of what was printed."""
    times: int
    """How often a process died of the subtask."""

    def __str__(self) -> str:
        """Say it in words."""
        if self.exit_code < 0:
            how = f"was killed by signal {-self.exit_code}{_name(-self.exit_code)}"
        else:
            how = f"exited with code {self.exit_code}"
        often = f" ({self.times} times)" if self.times > 1 else ""
        return f"the worker process {how} while this subtask ran{often}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """What is known of the processes that died while a task was at work."""

    of_these: dict[str, LastWords]
    """Last words of those in which one of some subtasks ran, by what its output begins with."""
    deaths: int
    """How many died, whatever subtask of the task ran in them."""

    @property
    def blamed(self) -> int:
        """How many died of these subtasks."""
        return sum(one.times for one in self.of_these.values())


class OnNannies(NannyPlugin):
    """Reads what dying workers leave behind, and tells the scheduler."""

    name = f"{_NAME}-nanny"
    idempotent = True

    def setup(self, nanny: Nanny) -> None:
        """Hear of the end of the nanny's process before the nanny itself does.

        What nannies before this one could not remove is removed.
        """
        go_on = nanny._on_worker_exit_sync
        remove_ownerless(Path(nanny.local_directory))
        path = output_path(Path(nanny.local_directory), nanny.address)

        def ended(exit_code: int) -> None:
            about, output = left_behind(path)
            if about:
                path.unlink(missing_ok=True)
                nanny.loop.add_callback(  # the nanny itself may be closing
                    _send, nanny, about=about, exit_code=exit_code, output=output
                )
            go_on(exit_code)

        nanny._on_worker_exit_sync = ended  # type: ignore[method-assign]
        if nanny.process is not None:
            nanny.process.on_exit = ended

    def teardown(self, nanny: Nanny) -> None:
        """Remove the file when the nanny closes."""
        path = output_path(Path(nanny.local_directory), nanny.address)
        path.unlink(missing_ok=True)


async def _send(nanny: Nanny, **words: Any) -> None:
    """Send last words to the scheduler of a nanny, which may have gone as well."""
    address = nanny.scheduler.address
    arguments = nanny.security.get_connection_args("worker")
    with suppress(OSError):
        async with rpc(address, connection_args=arguments) as scheduler:
            await getattr(scheduler, _KEEP)(**words)


class OnScheduler(SchedulerPlugin):
    """Keeps last words until they are asked for."""

    name = f"{_NAME}-scheduler"
    idempotent = True

    def __init__(self) -> None:
        self._words: dict[str, LastWords] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Take last words from nannies, and tell them to supervisors."""
        scheduler.handlers[_KEEP] = self.keep
        scheduler.handlers[_TELL] = self.tell

    async def keep(
        self, comm: Any = None, about: str = "", exit_code: int = 0, output: str = ""
    ) -> None:
        """Keep how a process ended in which a subtask ran."""
        before = self._words.pop(about, None)
        self._words[about] = LastWords(
            exit_code=exit_code, output=output, times=before.times + 1 if before else 1
        )
        while len(self._words) > _MOST_KEPT:
            self._words.pop(next(iter(self._words)))

    async def tell(
        self, comm: Any = None, about: Sequence[str] = (), token: str = ""
    ) -> dict[str, Any]:
        """Return what is known of some subtasks, and how many processes their task ended."""
        return {
            "known": {
                one: [words.exit_code, words.output, words.times]
                for one in about
                if (words := self._words.get(one)) is not None
            },
            "deaths": sum(
                words.times
                for one, words in self._words.items()
                if one.startswith(token[:32])
            ),
        }


def forget_last_words(scheduler: Scheduler) -> None:
    """Take away from a scheduler what keeps last words; others may use it too."""
    if OnScheduler.name in scheduler.plugins:
        scheduler.remove_plugin(OnScheduler.name)
        del scheduler.handlers[_KEEP], scheduler.handlers[_TELL]


def hear_last_words(client: Client) -> None:
    """Let the nannies of a scheduler's workers tell how these end."""
    client.register_plugin(OnScheduler())
    client.register_plugin(OnNannies())


def last_words_of(
    client: Client, about: Sequence[str], token: str, deaths: int, until: float
) -> Deaths:
    """Return how the processes of subtasks ended; wait for the news, if need be.

    Parameters
    ----------
    client
        A client of the scheduler.
    about
        What the subtasks' outputs begin with; see `captured`.
    token
        Token of their work.
    deaths
        So many deaths they are blamed for; no news is awaited beyond these.
    until
        When to wait no longer, on the monotonic clock.

    Raises
    ------
    TimeoutError
        If the scheduler does not answer.
    """
    while True:
        call = getattr(client.scheduler, _TELL)
        found: dict[str, Any] = client.sync(
            call, about=list(about), token=token, callback_timeout=_ANSWER_S
        )
        known = {
            one: LastWords(exit_code=code, output=output, times=times)
            for one, (code, output, times) in found["known"].items()
        }
        told = Deaths(of_these=known, deaths=found["deaths"])
        if told.blamed >= deaths or time.monotonic() > until:
            return told
        time.sleep(0.1)


def _name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
