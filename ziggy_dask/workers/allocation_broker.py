"""Agreeing on an allocation: the first fork that is offered wins.

The shape of an output is known when a first subtask has produced one. Whoever is
first allocates the product in a fork and offers it to the scheduler, which keeps
the first offer and gives it to everyone who asks. All forks of a product thus
descend from one, and can be merged.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task
from distributed import get_worker
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.utils import sync

from ziggy_dask.planning import OURS
from ziggy_dask.workers.last_words import forget_last_words

if TYPE_CHECKING:
    from distributed import Client, Scheduler

    from ziggy_dask.planning import Key
    from ziggy_dask.workers.work import BatchResult

_NAME = "ziggy-agreement"
_AGREE = "ziggy_agree"
_REMEMBER = "ziggy_remember"
_here: dict[str, bytes] = {}


class Agreement(SchedulerPlugin):
    """Scheduler side: first offers by key, and word of tasks that begin to run.

    It is there while runs of supervisors are, and heeds nothing but their keys: others
    may use the scheduler too.
    """

    name = _NAME

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._offers: dict[str, bytes] = {}
        self._begun: set[tuple[str, int]] = set()
        self.runs: set[str] = set()
        """Tokens of the runs that it serves."""

    async def agree(
        self, comm: Any = None, key: str = "", offer: bytes | None = None
    ) -> bytes | None:
        """Return the first offer for `key`, which may be this one."""
        if offer is None:
            return self._offers.get(key)
        return self._offers.setdefault(key, offer)

    async def remember(self, comm: Any = None, recorded: bytes = b"") -> None:
        """Let keys whose results are on record return them if they must run again.

        A worker that dies takes results along that other keys still need; Dask then
        runs their keys once more, and that must not run an algorithm twice.
        """
        for key, result in pickle.loads(recorded).items():
            task = self._scheduler.tasks.get(key)
            if task is not None:
                task.run_spec = Task(key, pickle.loads, result)

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any
    ) -> None:
        """Tell the supervisor of the first batch of a task that goes to a worker."""
        if finish != "processing" or not isinstance(key, tuple) or len(key) != 3:
            return
        token, index = str(key[0])[-32:], key[1]
        if token not in self.runs or (token, index) in self._begun:
            return
        if not str(key[0]).startswith(OURS):
            self._begun.add((token, index))
            self._scheduler.log_event(f"ziggy-{token}", key)

    def forget(self, token: str) -> None:
        """Drop all that belongs to a run of the supervisor."""
        self.runs.discard(token)
        self._offers = {
            k: v for k, v in self._offers.items() if not k.startswith(token)
        }
        self._begun = {pair for pair in self._begun if pair[0] != token}


def begin_run(token: str, dask_scheduler: Scheduler) -> None:
    """Let the scheduler serve a run of the supervisor.

    Run on the scheduler.
    """
    agreement = dask_scheduler.plugins.get(_NAME)
    if not isinstance(agreement, Agreement):
        agreement = Agreement(dask_scheduler)
        dask_scheduler.add_plugin(agreement)
        dask_scheduler.handlers[_AGREE] = agreement.agree
        dask_scheduler.handlers[_REMEMBER] = agreement.remember
    agreement.runs.add(token)


def end_run(token: str, dask_scheduler: Scheduler) -> None:
    """Let the scheduler forget a run of the supervisor.

    Run on the scheduler.
    """
    agreement = dask_scheduler.plugins.get(_NAME)
    if not isinstance(agreement, Agreement):
        return
    agreement.forget(token)
    _forget_topic(dask_scheduler, f"ziggy-{token}")
    if not agreement.runs:
        dask_scheduler.remove_plugin(_NAME)
        del dask_scheduler.handlers[_AGREE], dask_scheduler.handlers[_REMEMBER]
        forget_last_words(dask_scheduler)


def _forget_topic(scheduler: Scheduler, topic: str) -> None:
    """Drop what the scheduler keeps of a topic, which it does for ever otherwise."""
    scheduler._broker._topics.pop(topic, None)


def remember(
    client: Client, results: Mapping[Key, BatchResult], limit_s: float | None = None
) -> None:
    """Tell the scheduler of results that are about to be recorded.

    Raises
    ------
    TimeoutError
        If it does not answer within so many seconds; None: it is waited for.
    """
    if results:
        pickled = {key: pickle.dumps(result) for key, result in results.items()}
        client.sync(
            getattr(client.scheduler, _REMEMBER),
            recorded=pickle.dumps(pickled),
            callback_timeout=limit_s,
        )


def agreed(key: str) -> bytes | None:
    """Return the winning offer for `key`, if there is one yet."""
    return _ask(key, None)


def agree_on(key: str, offer: bytes) -> bytes:
    """Offer an allocation for `key` and return the one that won."""
    winner = _ask(key, offer)
    return offer if winner is None else winner


def _ask(key: str, offer: bytes | None) -> bytes | None:
    try:
        worker = get_worker()
    except ValueError:
        return _here.get(key) if offer is None else _here.setdefault(key, offer)
    winner: bytes | None = sync(
        worker.loop, getattr(worker.scheduler, _AGREE), key=key, offer=offer
    )
    return winner
