"""Working on an instance: gather facts, decide, carry out, until the core ends it.

The supervisor is the only writer of the records and of the datastore's history.
Every line here may be the last one before the power goes: what is recorded is
kept, what is not runs again, and `reconcile` settles the one thing that happens
in two places.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ziggy_dask.engine.actions import EndInstance, Leave, Retry, StopCause
from ziggy_dask.engine.connection import (
    LIMIT_S,
    answer,
    asking,
    connected,
    forget_topic,
    on_scheduler,
    on_workers,
    tell_workers,
)
from ziggy_dask.engine.context import InstanceContext, make_scaffold
from ziggy_dask.engine.decide import Asked, NodeRules, Rules, decide
from ziggy_dask.engine.events import Listener
from ziggy_dask.engine.in_flight import Ended, InFlight
from ziggy_dask.engine.loading import load_recorded, load_tasks, progress_of
from ziggy_dask.engine.lost_workers import Spared, with_last_words
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.perform import Performer
from ziggy_dask.engine.placement import Placement
from ziggy_dask.engine.recipes import RecipeBook
from ziggy_dask.engine.telling import Telling
from ziggy_dask.engine.unusable import drop_unusable
from ziggy_dask.errors import ComputeLostError
from ziggy_dask.planning import Key
from ziggy_dask.records import TaskStep, instances, outcomes
from ziggy_dask.records.code import digest_of
from ziggy_dask.records.jobs import JobRecord, job_named
from ziggy_dask.workers import (
    BatchResult,
    Halting,
    SubtaskState,
    begin_run,
    end_run,
    hear_last_words,
    remember,
    send_code,
    surroundings,
)

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)
_RECORD_S = 0.2
"""Least time between two transactions; what comes meanwhile shares the next one."""
_HEAR_S = 60.0
"""Time between two questions whether the scheduler is alive, in seconds."""
_ASK_S = 1.0
"""Time between two looks for what operators and batch systems ask."""
_LEAST_WINDOW = 4000
_WINDOW_PER_SLOT = 256
"""Subtasks that are laid out at once, if no jobs are sized by how many wait."""


class InstanceRun:
    """One instance, while the supervisor works on it.

    Parameters
    ----------
    site
        The open cluster.
    context
        What the tasks of the instance have in common.
    client
        Where subtasks run.
    listen
        Is told what happens.
    """

    def __init__(
        self,
        site: OpenCluster,
        context: InstanceContext,
        client: Client,
        listen: Listener,
    ) -> None:
        self._site = site
        self._context = context
        self._client = client
        self._token = secrets.token_hex(16)
        self._recipes = RecipeBook(context, self._surroundings)
        tasks = load_tasks(site.database, context.number)
        self._tasks = tasks
        drop_unusable(site, context.number, tasks)
        recorded = load_recorded(site, tasks, self._token)
        self._progress = progress_of(site.database, tasks, recorded)
        placement = Placement(site, context, client)
        self._rules = _rules(context, placement)
        self._in_flight = InFlight(client)
        self._telling = Telling(site, context, listen, self._progress, tasks)
        self._performer = Performer(
            site,
            context,
            tasks,
            recorded,
            self._progress,
            placement,
            self._in_flight,
            self._telling,
            client,
            make_scaffold(site, context.number, tasks.plans.values()),
            self._token,
        )
        self._begun: deque[Key] = deque()
        self._asked = Asked()
        self._asked_at = 0.0
        self._heard_at = time.monotonic()
        self._spared = Spared()

    def run(self) -> EndInstance | Retry | Leave:
        """Work until the core says that it is over, and return what it says.

        Raises
        ------
        ComputeLostError
            If the compute environment went away, or does not answer any more.
        """
        self._telling.planned()
        self._performer.plan_again(task.index for task in self._progress)
        with connected():
            self._prepare()
            try:
                while True:
                    began = time.monotonic()
                    if over := self._act():
                        return over
                    self._gather()
                    if self._in_flight:
                        time.sleep(max(0.0, _RECORD_S - (time.monotonic() - began)))
            finally:
                self._let_go()

    def _act(self) -> EndInstance | Retry | Leave | None:
        """Decide and carry out, until nothing is to be done before something ends."""
        while True:
            self._ask()
            actions = decide(self._progress, self._rules, self._asked, time.monotonic())
            self._progress.looked()
            for action in actions:
                if isinstance(action, EndInstance | Retry | Leave):
                    return action
                if not self._performer.perform(action):
                    self._asked_at = 0.0  # it was asked for something else meanwhile
            if not actions:
                return None

    def _ask(self) -> None:
        """Look what is asked for, from time to time."""
        if self._site.stop.is_set():
            self._asked = Asked(stop=StopCause.ASKED)
            return
        now = time.monotonic()
        if now - self._asked_at < _ASK_S:
            return
        self._asked_at = now
        if now - self._heard_at > _HEAR_S:  # nothing may come back any more
            scheduler: Any = self._client.scheduler
            answer(self._client, scheduler.identity, n_workers=0)
            self._heard_at = time.monotonic()
        self._record_begun()
        halts = instances.halting(self._site.database, self._context.number)
        self._asked = Asked(halts=frozenset(halts), refusals=dict(self._site.refusals))

    # -- what comes back -------------------------------------------------------

    def _gather(self) -> None:
        """Wait a little for what ends, and put it on record."""
        futures = self._in_flight.ended()
        if not futures:
            return
        ended = with_last_words(
            self._client,
            self._in_flight.results_of(futures),
            self._performer.token_of,
            self._spared,
            self._job_of,
        )
        results = [one.result for one in ended.values() if one.result]
        with asking():
            remember(self._client, self._in_flight.needed(ended), LIMIT_S)
        self._record_begun()
        self._record(results)
        for key, one in ended.items():
            self._note(key, one)
        self._in_flight.release(lambda key: bool(self._progress.waiters(key)))

    def _job_of(self, name: str) -> JobRecord | None:
        """Return the record of a job; None: there is none of that name."""
        return job_named(self._site.database, name)

    def _record(self, results: Sequence[BatchResult]) -> None:
        """Put outcomes on record, all in one transaction, and tell of them."""
        self._recipes.note(results)
        made = []
        for one in results:
            plan = self._tasks.plans[one.index]
            record = self._performer.record_of(one.index)
            recipe = self._recipes.recipe_of(plan, record.changes, one)
            made.append(outcomes.Made(recipe=recipe, attempt=record.attempt))
        numbered = [(self._progress[one.index].number, one) for one in results]
        outcomes.record(self._site.database, numbered, made)
        self._telling.progressed(results)

    def _note(self, key: Key, ended: Ended) -> None:
        """Let outcomes that are on record count."""
        if result := ended.result:
            numbers: dict[SubtaskState, list[int]] = {one: [] for one in SubtaskState}
            for outcome in result.outcomes:
                numbers[outcome.state].append(outcome.subtask)
            self._progress.recorded(
                result.index,
                complete=numbers[SubtaskState.COMPLETE],
                failed=numbers[SubtaskState.FAILED],
                blocked=numbers[SubtaskState.BLOCKED],
                lost_together=ended.is_lost and len(result.outcomes) > 1,
            )
        self._progress.ended(key)

    def _record_begun(self) -> None:
        """Show tasks as executing whose first batches are with workers."""
        begun = [self._begun.popleft() for _ in range(len(self._begun))]
        numbers = [
            self._progress[index].number
            for key in begun
            for index in self._performer.tasks_of(key)
        ]
        instances.move_tasks(
            self._site.database, numbers, TaskStep.EXECUTING, [TaskStep.QUEUED]
        )

    # -- the compute environment -----------------------------------------------

    def _prepare(self) -> None:
        """Give scheduler and workers what they must know, and listen to them."""
        tell_workers(lambda: self._client.register_plugin(Halting()))
        tell_workers(lambda: hear_last_words(self._client))
        if code := self._context.code:
            tell_workers(lambda: send_code(self._client, code))
        self._client.subscribe_topic(
            f"ziggy-{self._token}", lambda event: self._begun.append(tuple(event[1]))
        )
        on_scheduler(self._client, begin_run, self._token)

    def _surroundings(self) -> dict[str, bytes]:
        """Ask all workers what they bring along; return by digest what those say that answer."""
        texts: Mapping[str, bytes] = on_workers(self._client, surroundings)
        return {digest_of(text): text for text in texts.values()}

    def _let_go(self) -> None:
        """Release what is left on the scheduler, if it answers."""
        self._in_flight.let_go()
        forget_topic(self._client, f"ziggy-{self._token}")
        if self._client.status != "running":
            return
        try:
            on_scheduler(self._client, end_run, self._token)
        except ComputeLostError as error:
            logger.warning(
                "instance %s: the scheduler keeps what it has of it: %s",
                self._context.number,
                error,
            )


def _rules(context: InstanceContext, placement: Placement) -> Rules:
    """Return what decisions on an instance follow."""
    nodes = {
        node.name: NodeRules(
            max_failed=node.max_failed_subtasks,
            max_workers=node.max_workers,
            retries=node.retry.times,
        )
        for node in context.pipeline.nodes
    }
    if placement.has_places:  # jobs are sized by how much waits for them
        return Rules(nodes=nodes)
    window = max(_LEAST_WINDOW, _WINDOW_PER_SLOT * placement.slots)
    return Rules(nodes=nodes, window=window)
