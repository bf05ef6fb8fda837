"""A compute environment, a database and a supervisor that are only simulated.

The core decides; what it decides is carried out on plain values. What was carried out is
checked against what must always hold, with nothing of the core's own bookkeeping.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ziggy_dask.engine.actions import (
    Cancel,
    EndInstance,
    Fail,
    FailureCause,
    LayOut,
    Leave,
    Publish,
    Retry,
    SetAside,
    Settle,
    ShowErrors,
    Submit,
    Unblock,
)
from ziggy_dask.engine.decide import Asked, NodeRules, Rules, decide
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress, first_rank
from ziggy_dask.planning.batches import Batch, Part
from ziggy_dask.records.states import InstanceState

WAITING, QUEUED, STORING, COMPLETE = "waiting", "queued", "storing", "complete"
SHOWN_AS_RUNNING = (QUEUED, STORING)


@dataclass
class Row:
    """A task as the database has it."""

    number: int
    node: str
    upstream: tuple[int, ...]
    after: tuple[int, ...] = ()
    count: int = 1
    is_open: bool = False
    step: str = WAITING
    is_error: bool = False
    cause: FailureCause | None = None
    is_halting: bool = False
    complete: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    attempt: int = 0
    resubmits: int = 0
    lost_together: bool = False


class World:
    """Everything outside of the core.

    Parameters
    ----------
    rows
        The tasks, in the order of their plan.
    nodes
        What their nodes say.
    sizes
        Subtasks that open tasks turn out to have, by index.
    bundle
        Number of subtasks in a batch; batches may be of several tasks.
    window
        Subtasks that are laid out at once.
    """

    def __init__(
        self,
        rows: list[Row],
        nodes: dict[str, NodeRules],
        sizes: dict[int, int] | None = None,
        bundle: int = 1,
        window: int = 1_000_000,
    ) -> None:
        self.rows = rows
        self.rules = Rules(nodes=nodes, window=window)
        self.sizes = sizes or {}
        self.bundle = bundle
        self.state = InstanceState.PROCESSING
        self.refused: dict[str, str] = {}
        self.environment_of: dict[str, str] = {}
        self.obstacles: dict[str, str] = {}
        self.ran: Counter[tuple[int, int, int]] = Counter()
        self.begun: list[tuple[int, int]] = []
        self.published: Counter[int] = Counter()
        self.over: EndInstance | Retry | Leave | None = None
        self.start()

    # -- the supervisor --------------------------------------------------------

    def start(self) -> None:
        """Begin, or begin again after a kill: all that is known is what is on record."""
        self.running: dict[tuple, Batch] = {}
        self.results: dict[tuple, Batch] = {}
        self.generation = 0
        for row in self.rows:
            if not row.is_error and row.step != COMPLETE:
                row.step = WAITING
        self.progress = Progress(
            TaskProgress(
                number=row.number,
                index=index,
                node=row.node,
                upstream=frozenset(row.upstream) | frozenset(row.after),
                after=frozenset(row.after),
                count=0 if row.is_open else row.count,
                is_open=row.is_open,
                standing=Standing.FAILED
                if row.is_error
                else Standing.COMPLETE
                if row.step == COMPLETE
                else Standing.WAITING,
                cause=row.cause,
                complete=set(row.complete),
                failed=set(row.failed),
                resubmits=row.resubmits,
                lost_together=row.lost_together,
            )
            for index, row in enumerate(self.rows)
        )
        self.state = InstanceState.PROCESSING
        self.over = None

    def act(self, *, halts: bool = True) -> None:
        """Decide and carry out, until there is nothing to do."""
        for _ in range(10_000):
            asked = Asked(
                halts=frozenset(r.number for r in self.rows if r.is_halting and halts),
                refusals=dict(self.refused),
            )
            actions = decide(self.progress, self.rules, asked)
            self.progress.looked()
            for action in actions:
                self.perform(action)
                if isinstance(action, Publish):
                    halts = True  # what the database refuses is looked at anew
                if self.over is not None:
                    return
            self.check()
            if not actions:
                return
        raise AssertionError("the core never comes to rest")

    def perform(self, action) -> None:
        """Carry out an action, and note it in `Progress`."""
        match action:
            case Settle(tasks):
                for index in tasks:
                    assert all(
                        self.rows[i].step == COMPLETE for i in self.rows[index].upstream
                    )
                    self.rows[index].is_open = False
                    self.rows[index].count = self.sizes[index]
                    self.progress.settled(index, self.sizes[index])
            case Publish(tasks):
                for index in tasks:
                    self._publish(index)
            case Fail(index, cause, _):
                row = self.rows[index]
                assert row.step != COMPLETE
                assert not row.is_error
                row.is_error, row.cause, row.is_halting = True, cause, False
                self.progress.failed(index, cause)
            case Unblock(tasks):
                for index in tasks:
                    self.rows[index].step = WAITING
                    self.progress.unblocked(index)
            case SetAside(tasks):
                for index in tasks:
                    self.rows[index].step = WAITING
                    self.progress.set_aside(index)
            case LayOut(tasks):
                self._lay_out(tasks)
            case Submit(keys):
                self._submit(keys)
            case Cancel(_, tasks):
                for key in self.progress.cancelled(tasks):
                    del self.running[key]
            case ShowErrors():
                self.state = InstanceState.ERRORS_RUNNING
                self.progress.shows_errors = True
            case EndInstance(state):
                self.state, self.over = state, action
            case Retry() | Leave():
                self.over = action

    def _publish(self, index: int) -> None:
        row = self.rows[index]
        assert not row.is_open
        assert row.complete | row.failed == set(range(row.count))
        assert not row.complete & row.failed
        assert len(row.failed) <= self.rules.nodes[row.node].max_failed
        assert all(self.rows[i].step == COMPLETE for i in (*row.upstream, *row.after))
        if row.is_halting:
            return  # the database says no
        row.step = COMPLETE
        self.published[index] += 1
        self.progress.published(index)

    def _lay_out(self, tasks: tuple[int, ...]) -> None:
        made: list[Batch] = []
        able: list[int] = []
        last: dict[tuple[int, int], tuple] = {}
        parts: dict[str, list[tuple[int, int]]] = {}
        for index in tasks:
            row = self.rows[index]
            if any(
                self.rows[i].step != COMPLETE and i not in able for i in row.upstream
            ):
                continue
            assert all(self.rows[i].step == COMPLETE for i in row.after)
            assert not row.is_open
            if row.node in self.obstacles:
                self.progress.obstructed(index, self.obstacles[row.node])
                continue
            able.append(index)
            self.progress[index].environment = self.environment_of.get(row.node, "")
            done = row.complete | row.failed
            some = parts.setdefault(row.node, [])
            some += [(index, n) for n in range(row.count) if n not in done]
        for node, some in parts.items():  # nodes come in the order of the plan
            for start in range(0, len(some), self.bundle):
                chunk = some[start : start + self.bundle]
                key = (node, chunk[0][0], (self.generation << 32) + start)
                by_task: dict[int, list[int]] = {}
                for index, number in chunk:
                    by_task.setdefault(index, []).append(number)
                waits = dict.fromkeys(
                    last[up, n]
                    for index, number in chunk
                    for up in self.rows[index].upstream
                    for n in range(self.rows[up].count)
                    if (up, n) in last
                    and (n == number or self.rows[index].count != self.rows[up].count)
                )
                made.append(
                    Batch(
                        key=key,
                        node=node,
                        parts=tuple(Part(i, tuple(n)) for i, n in by_task.items()),
                        waits_for=tuple(waits),
                        rank=first_rank(self.progress[chunk[0][0]]) + start,
                    )
                )
                last.update((one, key) for one in chunk)
        self.generation += 1
        for index in able:
            self.rows[index].step = QUEUED
        self.progress.laid_out(able, made)

    def _submit(self, keys) -> None:
        for key in keys:
            batch = self.progress.batch(key)
            for before in batch.waits_for:
                is_known = before in self.running or before in self.results
                assert is_known or before in keys, (
                    "Dask would not know what it waits for"
                )
            assert key not in self.running
            assert key not in self.results, "a key is used twice"
            self.running[key] = batch
        self.progress.submitted(keys)

    # -- the workers -----------------------------------------------------------

    def runnable(self) -> list[tuple]:
        """Return the keys that Dask could run now."""
        return [
            key
            for key, batch in sorted(self.running.items())
            if not any(before in self.running for before in batch.waits_for)
        ]

    def end(self, key: tuple, how: str) -> None:
        """Let a batch end: ``good``, ``bad`` or ``lost``."""
        batch = self.running.pop(key)
        self.results[key] = batch
        size = batch.size
        for part in batch.parts:
            row = self.rows[part.task]
            blocked = self._blocked(batch, part)
            ended = [n for n in part.subtasks if n not in blocked]
            for number in ended:
                self.ran[part.task, number, row.attempt] += 1
                self.begun.append((part.task, number))
                assert number not in row.complete, "what is recorded ran again"
            bad = ended if how in ("bad", "lost") else []
            good = [n for n in ended if n not in bad]
            row.complete.update(good)
            row.failed.update(bad)
            is_together = how == "lost" and size > 1 and bool(bad)
            row.lost_together |= is_together
            self.progress.recorded(
                part.task,
                complete=good,
                failed=bad,
                blocked=blocked,
                lost_together=is_together,
            )
        self.progress.ended(key)

    def _blocked(self, batch: Batch, part: Part) -> list[int]:
        """Return the subtasks for which something before them failed in this graph."""
        for before in batch.waits_for:
            for one in self.results[before].parts:
                up = self.rows[one.task]
                if one.task in self.rows[part.task].upstream and (
                    not set(one.subtasks) <= up.complete
                ):
                    return list(part.subtasks)
        return []

    # -- what must hold --------------------------------------------------------

    def check(self) -> None:
        """Check what must hold whenever the supervisor rests."""
        running = Counter(b.node for b in self.running.values())
        for node, rules in self.rules.nodes.items():
            assert not rules.max_workers or running[node] <= rules.max_workers
        assert self.progress.in_flight == len(self.running)
        assert max(self.published.values(), default=0) <= 1

    def check_rest(self) -> None:
        """Check what must hold while the supervisor waits for something to end."""
        if self.over is not None:
            return
        assert self.running, "it waits, and nothing runs"
        at_work = {i for batch in self.running.values() for i in batch.tasks}
        # Limited nodes keep batches back, and those that follow wait for them.
        at_work |= {task.index for task in self.progress if task.outstanding}
        coming = self.progress.all_followers(at_work) | at_work
        for index, row in enumerate(self.rows):
            if not row.is_error and row.step in SHOWN_AS_RUNNING:
                assert index in coming, "a task is shown as running, and nothing runs"
        if any(row.is_error for row in self.rows):
            assert self.state is InstanceState.ERRORS_RUNNING

    def check_end(self) -> None:
        """Check that the end is right: its state, and that nothing could have gone on."""
        assert isinstance(self.over, EndInstance)
        assert not self.running
        assert self.state.is_final
        failed = {i for i, row in enumerate(self.rows) if row.is_error}
        expected = InstanceState.ERRORS_STALLED if failed else InstanceState.COMPLETED
        assert self.state is expected
        doomed = set(failed)
        for index, row in enumerate(self.rows):
            if doomed & {*row.upstream, *row.after}:
                doomed.add(index)
            if not row.is_error:
                assert row.step == (WAITING if index in doomed else COMPLETE)
            if row.step == COMPLETE:
                assert self.published[index] == 1
            if row.is_error and row.cause is FailureCause.SUBTASKS:
                rules = self.rules.nodes[row.node]
                assert len(row.failed) > rules.max_failed
                assert row.resubmits >= rules.retries
        assert not any(row.is_halting for row in self.rows if row.step != COMPLETE)

    def retry(self) -> None:
        """Bring back what the core wants to run once more."""
        assert isinstance(self.over, Retry)
        for index in self.over.tasks:
            row = self.rows[index]
            assert row.is_error
            assert row.cause is FailureCause.SUBTASKS
            self.reset(index)
            row.resubmits += 1
        self.start()

    def reset(self, index: int) -> None:
        """Bring a failed task back to where its failed subtasks can run again."""
        row = self.rows[index]
        row.is_error, row.cause, row.step = False, None, WAITING
        row.failed.clear()
        row.attempt += 1
        row.lost_together = False
