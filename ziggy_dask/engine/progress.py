"""How far an instance is, for the core: no database, no Dask, no datastore.

`Progress` changes by what happened, in words of the past: recorded, published, laid out.
It keeps count of what could be decided anew, so that a decision need not look at all
tasks. `decide` reads it, and changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ziggy_dask.engine.actions import FailureCause
from ziggy_dask.engine.ordered import Ordered
from ziggy_dask.planning.batches import Batch, Key

_AGE_BITS, _DEPTH_BITS, _ORDINAL_BITS, _BATCH_BITS = 26, 5, 13, 16
RANK_BITS = _AGE_BITS + _DEPTH_BITS + _ORDINAL_BITS + _BATCH_BITS
"""Bits of a batch's rank; Dask's priorities have 63."""


class Standing(Enum):
    """Where a task stands."""

    WAITING = "waiting"
    """It is not laid out."""
    OUT = "out"
    """Its batches are laid out; some may have ended."""
    ASIDE = "aside"
    """It was, and can't go on before what it reads is stored."""
    FAILED = "failed"
    """It has the error flag."""
    COMPLETE = "complete"
    """A commit names it."""


@dataclass(slots=True, kw_only=True)
class TaskProgress:
    """How far one task is."""

    number: int
    """Number of the task."""
    index: int
    """Index in the plan of its instance."""
    node: str
    """Name of its node."""
    upstream: frozenset[int] = frozenset()
    """Indices of the tasks that it waits for."""
    after: frozenset[int] = frozenset()
    """Those of them that must be stored before it begins, although it does not read them."""
    count: int = 1
    """Number of its subtasks; 0 while they are not known."""
    is_open: bool = False
    """Whether its subtasks are known only when its inputs are stored."""
    standing: Standing = Standing.WAITING
    """Where it stands."""
    cause: FailureCause | None = None
    """Why it failed, if so."""
    complete: set[int] = field(default_factory=set)
    """Subtasks on record as complete."""
    failed: set[int] = field(default_factory=set)
    """Subtasks on record as failed."""
    blocked: set[int] = field(default_factory=set)
    """Subtasks that could not run, since one before them failed."""
    lost_together: bool = False
    """Whether subtasks were lost in one batch, so that only one of them may be to blame."""
    resubmits: int = 0
    """How often it was restarted by itself."""
    tolerated: int = 0
    """Number of subtasks that may fail although its node does not allow it."""
    obstacle: str = ""
    """Why its subtasks can't be worked out or handed out; empty: nothing is known of."""
    environment: str = ""
    """Environment that runs its subtasks; empty: the home pool."""
    outstanding: int = 0
    """Batches that are laid out and have not ended."""
    root: int = 0
    """Number of the first task of all that it depends on: the age of its unit."""
    depth: int = 0
    """Number of tasks between that one and this one."""
    ordinal: int = 0
    """Number of tasks before it that are of the same age and depth."""

    @property
    def has_ended(self) -> bool:
        """Whether all its subtasks are on record."""
        return not self.is_open and len(self.complete) + len(self.failed) >= self.count

    @property
    def is_unended(self) -> bool:
        """Whether it is neither complete nor failed."""
        return self.standing not in (Standing.COMPLETE, Standing.FAILED)

    @property
    def left(self) -> int:
        """Number of subtasks that are not on record."""
        return self.count - len(self.complete) - len(self.failed)

    @property
    def order(self) -> tuple[int, int, int]:
        """What comes first has the lower order: the oldest unit, from its start."""
        return (self.root, self.depth, self.number)


def first_rank(task: TaskProgress) -> int:
    """Return the rank of a task's first batch; of two, the lower one runs first.

    The oldest unit comes first, of its tasks the one nearest to the end, and of those
    that are alike the one with the lower number.

    Examples
    --------
    >>> old, new = (TaskProgress(number=n, index=n, node="a", root=n) for n in (1, 2))
    >>> after_old = TaskProgress(number=3, index=3, node="b", root=1, depth=1)
    >>> first_rank(after_old) < first_rank(old) < first_rank(new)
    True
    """
    rank = task.root % (1 << _AGE_BITS)
    rank = (rank << _DEPTH_BITS) + max(0, (1 << _DEPTH_BITS) - 1 - task.depth)
    rank = (rank << _ORDINAL_BITS) + min(task.ordinal, (1 << _ORDINAL_BITS) - 1)
    return rank << _BATCH_BITS


@dataclass(slots=True)
class _Standing:
    """A batch that is laid out."""

    batch: Batch
    missing: int
    """Number of batches that it waits for and that are not submitted."""
    is_submitted: bool = False


class Progress:
    """How far all tasks of an instance are, by index in its plan.

    Parameters
    ----------
    tasks
        The tasks as they are on record.
    """

    def __init__(self, tasks: Iterable[TaskProgress]) -> None:
        self._tasks = {task.index: task for task in tasks}
        self._numbers = {task.number: task.index for task in self._tasks.values()}
        self._followers: dict[int, list[int]] = defaultdict(list)
        self._unstored: dict[int, int] = {}
        self._alike: Counter[tuple[int, int]] = Counter()
        for index in sorted(self._tasks):
            self._place(self._tasks[index])
        self._able = 0
        self._doomed: set[int] = set()
        self._touched: set[int] = set()
        self._to_publish: set[int] = set()
        self._candidates: Ordered[tuple[tuple[int, int, int], int]] = Ordered()
        self._batches: dict[Key, _Standing] = {}
        self._waiters: dict[Key, list[Key]] = {}
        self._ready: dict[str, Ordered[tuple[int, Key]]] = {}
        self._running: Counter[str] = Counter()
        self._in_flight = 0
        self._subtasks_out = 0
        self.has_failed = False
        """Whether a task has the error flag."""
        self.publish_after = 0.0
        """Moment before which nothing should be published while other work goes on."""
        self.shows_errors = False
        """Whether the instance is shown as one with failed tasks."""
        self._begin()

    def _place(self, task: TaskProgress) -> None:
        """Work out what a task depends on, and the age of its unit."""
        before = [self._tasks[i] for i in task.upstream]
        task.root = min((one.root for one in before), default=task.number)
        task.depth = max((one.depth + 1 for one in before), default=0)
        task.ordinal = self._alike[task.root, task.depth]
        self._alike[task.root, task.depth] += 1
        for index in task.upstream:
            self._followers[index].append(task.index)
        self._unstored[task.index] = sum(
            one.standing is not Standing.COMPLETE for one in before
        )

    def _begin(self) -> None:
        self._able = sum(task.is_unended for task in self._tasks.values())
        for task in list(self._tasks.values()):
            if task.standing is Standing.FAILED:
                self.has_failed = True
                self._doom(task.index)
        for task in self._tasks.values():
            if task.is_unended:
                self._touch(task.index)

    # -- what is asked of it ---------------------------------------------------

    def __getitem__(self, index: int) -> TaskProgress:
        """Return how far a task is."""
        return self._tasks[index]

    def __iter__(self) -> Iterator[TaskProgress]:
        """Yield all tasks in the order of the plan."""
        return (self._tasks[index] for index in sorted(self._tasks))

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self._tasks)

    def index_of(self, number: int) -> int | None:
        """Return the index of the task with a number, if it is one of these."""
        return self._numbers.get(number)

    @property
    def touched(self) -> list[int]:
        """Indices of the tasks that something has changed for, in order."""
        return sorted(self._touched)

    @property
    def to_publish(self) -> list[int]:
        """Indices of the tasks that wait to be published, in order."""
        return sorted(self._to_publish)

    @property
    def candidates(self) -> Iterator[int]:
        """Indices of the tasks that can be laid out, oldest units first."""
        return (index for _, index in self._candidates)

    def ready(self) -> Mapping[str, Iterable[tuple[int, Key]]]:
        """Return ranks and keys of the batches that could be handed out, by node."""
        return self._ready

    def running(self, node: str) -> int:
        """Return the number of batches of a node that are handed out."""
        return self._running[node]

    @property
    def in_flight(self) -> int:
        """Number of batches that are handed out and have not ended."""
        return self._in_flight

    @property
    def subtasks_out(self) -> int:
        """Number of subtasks that are laid out and have not ended."""
        return self._subtasks_out

    @property
    def able(self) -> int:
        """Number of tasks that have not ended and need nothing that failed."""
        return self._able

    def is_doomed(self, index: int) -> bool:
        """Tell whether a task needs something of one that has failed."""
        return index in self._doomed

    def unstored(self, index: int) -> int:
        """Return how many of the tasks that a task waits for are not published."""
        return self._unstored[index]

    def is_laid_out(self, key: Key) -> bool:
        """Tell whether a batch is laid out and has not ended."""
        return key in self._batches

    def batch(self, key: Key) -> Batch:
        """Return a batch that is laid out and has not ended."""
        return self._batches[key].batch

    def missing(self, key: Key) -> int:
        """Return how many of those that a batch waits for are not submitted."""
        return self._batches[key].missing

    def waiters(self, key: Key) -> Sequence[Key]:
        """Return the batches that are not submitted and wait for one."""
        return [one for one in self._waiters.get(key, ()) if one in self._batches]

    def followers(self, index: int) -> Sequence[int]:
        """Return the tasks that wait for a task."""
        return self._followers.get(index, ())

    def all_followers(self, indices: Iterable[int]) -> set[int]:
        """Return the tasks that wait for some, near or far."""
        found: set[int] = set()
        waiting = list(indices)
        while waiting:
            for index in self.followers(waiting.pop()):
                if index not in found:
                    found.add(index)
                    waiting.append(index)
        return found

    def is_stored(self, indices: Iterable[int]) -> bool:
        """Tell whether the products of all these tasks are published."""
        return all(self[i].standing is Standing.COMPLETE for i in indices)

    def has_inputs(self, index: int) -> bool:
        """Tell whether all that a task waits for is published."""
        return not self._unstored[index]

    # -- what has happened -----------------------------------------------------

    def looked(self) -> None:
        """Forget what was touched: it has been decided on."""
        self._touched.clear()

    def recorded(
        self,
        index: int,
        *,
        complete: Iterable[int] = (),
        failed: Iterable[int] = (),
        blocked: Iterable[int] = (),
        lost_together: bool = False,
    ) -> None:
        """Note outcomes that are on record, and subtasks that were blocked."""
        task = self[index]
        task.complete.update(complete)
        task.failed.update(failed)
        task.blocked.update(blocked)
        task.lost_together |= lost_together
        self._touch(index)

    def ended(self, key: Key) -> None:
        """Note that a batch has ended."""
        standing = self._batches.pop(key)
        if standing.is_submitted:
            self._in_flight -= 1
            self._running[standing.batch.node] -= 1
        self._take_out(standing.batch)

    def obstructed(self, index: int, reason: str) -> None:
        """Note that the subtasks of a task can't be worked out, or handed out."""
        self[index].obstacle = reason
        self._touch(index)

    def settled(self, index: int, count: int) -> None:
        """Note that the subtasks of a task are known."""
        task = self[index]
        task.count, task.is_open = count, False
        self._touch(index)

    def reopened(self, indices: Collection[int]) -> list[Key]:
        """Note that tasks are planned anew; return the batches of theirs in flight."""
        keys = self.cancelled(indices)
        for index in indices:
            task = self[index]
            self._to_publish.discard(index)
            self._candidates.discard((task.order, index))
            task.standing, task.is_open, task.count = Standing.WAITING, True, 0
            for some in (task.complete, task.failed, task.blocked):
                some.clear()
            self._touch(index)
        return keys

    def published(self, index: int) -> None:
        """Note that a commit names a task."""
        task = self[index]
        task.standing = Standing.COMPLETE
        self._leave(index)
        for follower in self.followers(index):
            self._unstored[follower] -= 1
            self._touch(follower)

    def failed(self, index: int, cause: FailureCause) -> None:
        """Note that a task has the error flag."""
        task = self[index]
        task.standing, task.cause = Standing.FAILED, cause
        self.has_failed = True
        self._leave(index)
        self._doom(index)

    def unblocked(self, index: int) -> None:
        """Note that the subtasks of a task that were blocked can be laid out anew."""
        task = self[index]
        task.blocked.clear()
        task.standing = Standing.WAITING
        self._touch(index)

    def set_aside(self, index: int) -> None:
        """Note that a task waits for its inputs again."""
        self[index].standing = Standing.ASIDE

    def laid_out(self, indices: Iterable[int], batches: Sequence[Batch]) -> None:
        """Note that tasks are cut into batches."""
        for index in indices:
            self[index].standing = Standing.OUT
            self._candidates.discard((self[index].order, index))
        for batch in batches:
            for part in batch.parts:
                self[part.task].outstanding += 1
            self._subtasks_out += batch.size
            self._batches[batch.key] = _Standing(batch, 0)
        for batch in batches:
            standing = self._batches[batch.key]
            for key in batch.waits_for:
                before = self._batches.get(key)
                if before is not None and not before.is_submitted:
                    standing.missing += 1
                    self._waiters.setdefault(key, []).append(batch.key)
            if not standing.missing:
                self._make_ready(batch)
        for index in indices:
            self._touch(index)

    def submitted(self, keys: Sequence[Key]) -> None:
        """Note that batches are handed out."""
        for key in keys:
            standing = self._batches[key]
            batch = standing.batch
            standing.is_submitted = True
            self._ready.setdefault(batch.node, Ordered()).discard((batch.rank, key))
            self._in_flight += 1
            self._running[batch.node] += 1
        for key in keys:
            for waiter in self._waiters.pop(key, ()):
                waiting = self._batches.get(waiter)
                if waiting is not None:
                    waiting.missing -= 1
                    if not waiting.missing and not waiting.is_submitted:
                        self._make_ready(waiting.batch)

    def cancelled(self, tasks: Collection[int]) -> list[Key]:
        """Take out all batches with subtasks of some tasks; return those handed out.

        So are the batches that wait for what these were to give. Subtasks of other tasks
        in any of them are laid out anew.
        """
        gone = self._with_waiting(set(tasks))
        for standing in gone:
            batch = standing.batch
            del self._batches[batch.key]
            self._waiters.pop(batch.key, None)
            self._ready.setdefault(batch.node, Ordered()).discard(
                (batch.rank, batch.key)
            )
            if standing.is_submitted:
                self._in_flight -= 1
                self._running[batch.node] -= 1
        for standing in gone:
            self._take_out(standing.batch)
        return [one.batch.key for one in gone if one.is_submitted]

    def _with_waiting(self, tasks: set[int]) -> list[_Standing]:
        """Return the batches with subtasks of tasks, and all that wait for them."""
        waiting: dict[Key, list[Key]] = {}
        for key, standing in self._batches.items():
            for before in standing.batch.waits_for:
                waiting.setdefault(before, []).append(key)
        todo = [
            key
            for key, standing in self._batches.items()
            if not tasks.isdisjoint(standing.batch.tasks)
        ]
        found: dict[Key, _Standing] = {}
        while todo:
            key = todo.pop()
            if key not in found:
                found[key] = self._batches[key]
                todo += waiting.get(key, ())
        return list(found.values())

    def _make_ready(self, batch: Batch) -> None:
        self._ready.setdefault(batch.node, Ordered()).add((batch.rank, batch.key))

    def _take_out(self, batch: Batch) -> None:
        self._subtasks_out -= batch.size
        for part in batch.parts:
            self[part.task].outstanding -= 1
            self._touch(part.task)

    def _leave(self, index: int) -> None:
        """Count a task that has ended no longer among those that could go on."""
        self._touched.discard(index)
        self._to_publish.discard(index)
        self._candidates.discard((self[index].order, index))
        if index not in self._doomed:
            self._able -= 1

    def _doom(self, index: int) -> None:
        """Count what waits for a failed task no longer among what could go on."""
        for follower in self.all_followers([index]) - self._doomed:
            self._doomed.add(follower)
            if self[follower].is_unended:
                self._able -= 1
                self._touch(follower)

    def _touch(self, index: int) -> None:
        """Note that something has changed for a task."""
        task = self[index]
        if not task.is_unended:
            return
        self._touched.add(index)
        if not self.has_inputs(index) or task.is_open:
            return
        if task.has_ended:
            if not task.outstanding:
                self._to_publish.add(index)
        elif task.standing is Standing.WAITING:
            self._candidates.add((task.order, index))
