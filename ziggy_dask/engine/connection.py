"""The connection to the compute environment: every wait on it has an end.

A worker that hangs holds nothing up but what it has; a scheduler that does not answer
within `LIMIT_S` counts as lost, and whoever works on an instance leaves it to be resumed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import CancelledError, Future
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from ziggy_dask.errors import ComputeLostError

if TYPE_CHECKING:
    from distributed import Client

LIMIT_S = 60.0
"""Longest wait for an answer of the scheduler, in seconds."""
GATHER_S = 10.0
"""Longest wait for results that workers have, in seconds; others are asked for later."""


def lost(how: str = "was lost while subtasks were running") -> ComputeLostError:
    """Return the error that tells of a lost compute environment."""
    return ComputeLostError(f"the compute environment {how}; what is recorded is kept")


@contextmanager
def connected() -> Iterator[None]:
    """Talk to the compute environment; if it goes away meanwhile, say that.

    Raises
    ------
    ComputeLostError
        If it does.
    """
    try:
        yield
    except (CommClosedError, ClosedClientError, CancelledError) as error:
        raise lost() from error
    except TimeoutError as error:
        raise lost(f"has not answered for {LIMIT_S:.0f} s") from error


@contextmanager
def asking() -> Iterator[None]:
    """Ask the scheduler; if it refuses or does not answer, say that.

    Raises
    ------
    ComputeLostError
        If it does.
    """
    try:
        with connected():
            yield
    except OSError as error:  # what Dask raises when nobody takes a new connection
        raise lost() from error


def answer(client: Client, ask: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Return what a coroutine of a client returns, if that comes within `LIMIT_S`.

    Raises
    ------
    ComputeLostError
        If it does not.
    """
    with asking():
        return client.sync(ask, *given, callback_timeout=LIMIT_S, **named)


def on_scheduler(
    client: Client, function: Callable[..., Any], *given: Any, **named: Any
) -> Any:
    """Run a function on the scheduler, as `Client.run_on_scheduler` does, with a limit."""
    return answer(client, client._run_on_scheduler, function, *given, **named)


def workers_of(client: Client) -> dict[str, Any]:
    """Return what the scheduler knows of its workers, by address."""
    scheduler: Any = client.scheduler
    found: dict[str, Any] = answer(client, scheduler.identity, n_workers=-1)["workers"]
    return found


def on_workers(
    client: Client,
    function: Callable[..., Any],
    *given: Any,
    workers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run a function on workers, and return what those say that answer in time.

    Parameters
    ----------
    client
        Where they are.
    function
        The function.
    *given
        What it is given.
    workers
        Addresses of the workers; None: all.
    """
    return dict(answer(client, _ask_workers, client, function, given, workers))


async def _ask_workers(
    client: Client,
    function: Callable[..., Any],
    given: Sequence[Any],
    workers: Sequence[str] | None,
) -> dict[str, Any]:
    async def ask(worker: str) -> Any:
        told = client._run(function, *given, workers=[worker], on_error="ignore")
        return await asyncio.wait_for(told, GATHER_S)

    scheduler: Any = client.scheduler
    if workers is None:
        workers = list((await scheduler.identity(n_workers=-1))["workers"])
    told = await asyncio.gather(*map(ask, workers), return_exceptions=True)
    answers: dict[str, Any] = {}
    for one in told:
        answers.update(one if isinstance(one, dict) else {})
    return answers


def gathered(
    client: Client, futures: Sequence[Future[Any]]
) -> tuple[dict[Any, Any], list[Future[Any]]]:
    """Return the results of futures that have finished, by key.

    Returns
    -------
    tuple
        The results, and futures whose workers do not give them for now, or that have
        failed since: what is lost with its worker runs again.
    """
    if not futures:
        return {}, []
    try:
        values = client.sync(client._gather, futures, callback_timeout=GATHER_S)
        return {f.key: one for f, one in zip(futures, values, strict=True)}, []
    except Exception:  # noqa: BLE001 -- that of one of them, which tells it when it is asked
        found: dict[Any, Any] = answer(client, _gather_apart, client, futures)
    return found, [future for future in futures if future.key not in found]


async def _gather_apart(client: Client, futures: Sequence[Future[Any]]) -> Any:
    """Gather the results of each worker by themselves: one may hang."""
    scheduler: Any = client.scheduler
    holders = await scheduler.who_has(keys=[f.key for f in futures])
    by_worker: dict[tuple[str, ...], list[Future[Any]]] = {}
    for future in futures:
        by_worker.setdefault(tuple(holders.get(future.key, ())), []).append(future)

    async def gather(some: list[Future[Any]]) -> dict[Any, Any]:
        values = await asyncio.wait_for(client._gather(some), GATHER_S)
        return {f.key: one for f, one in zip(some, values, strict=True)}

    told = await asyncio.gather(
        *map(gather, by_worker.values()), return_exceptions=True
    )
    found: dict[Any, Any] = {}
    for one in told:
        found.update(one if isinstance(one, dict) else {})
    return found


def tell_workers(register: Callable[[], None]) -> None:
    """Register plug-ins on all workers; one that hangs gets them when it is back.

    The scheduler keeps plug-ins for workers that come, and passes them on to those that
    are there: only the word that they have them is not waited for any longer.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            register()
        except Exception as error:  # noqa: BLE001 -- raised below, in the thread that asks
            failed.append(error)

    registering = threading.Thread(target=run, name="ziggy-plugins", daemon=True)
    registering.start()
    registering.join(GATHER_S)
    if failed:
        with asking():
            raise failed[0]


def forget_topic(client: Client, topic: str) -> None:
    """Hear nothing of a topic any more, and keep nothing of it.

    `Client.unsubscribe_topic` keeps the handler for ever; the scheduler's part is
    dropped there, with the run that it belongs to.
    """
    client._event_handlers.pop(topic, None)
