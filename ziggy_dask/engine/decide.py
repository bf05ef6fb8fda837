"""The core: what is to be done now, given how far an instance is. A pure function.

It knows no Dask, no database and no datastore, so each rule can be tried in a table, and
all of them against a compute environment that is only simulated. `run` carries out what is
decided here; nothing else decides.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ziggy_dask.engine.actions import (
    Action,
    Cancel,
    EndCause,
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
    StopCause,
    Submit,
    Unblock,
)
from ziggy_dask.engine.progress import Progress, Standing, TaskProgress
from ziggy_dask.planning.batches import Key
from ziggy_dask.records.states import InstanceState

HALTED = "halted by an operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """What a node of the pipeline says of its tasks."""

    max_failed: int = 0
    """Number of subtasks of a task that may fail."""
    max_workers: int = 0
    """Number of its subtasks that may run at once; 0: any."""
    retries: int = 0
    """Number of times that failed subtasks run again by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decisions on an instance follow, fixed while it runs."""

    nodes: Mapping[str, NodeRules]
    """What its nodes say, by name."""
    window: int = 1_000_000
    """Number of subtasks that are laid out at once, so that the oldest units come first."""

    def of(self, task: TaskProgress) -> NodeRules:
        """Return what the node of a task says."""
        return self.nodes[task.node]

    def allowed(self, task: TaskProgress) -> int:
        """Return the number of subtasks of a task that may fail."""
        return max(self.of(task).max_failed, task.tolerated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for since the last decision."""

    halts: frozenset[int] = frozenset()
    """Numbers of tasks that operators halt."""
    refusals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Environments that take no jobs at present, with the reason."""
    stop: StopCause | None = None
    """Why the supervisor stops, if it does."""


NOTHING_ASKED = Asked()


def decide(
    progress: Progress, rules: Rules, asked: Asked = NOTHING_ASKED, now: float = 0.0
) -> list[Action]:
    """Return what is to be done now, in order.

    Parameters
    ----------
    progress
        How far the tasks are. It is not changed: whoever carries out an action notes that.
    rules
        What the pipeline says of its nodes.
    asked
        What operators and batch systems ask for.
    now
        The time, in seconds; on the same clock as ``progress.publish_after``.

    Returns
    -------
    list
        Empty: there is nothing to do until something ends or is asked for. The last
        decision on an instance is `EndInstance`, `Retry` or `Leave`.
    """
    if asked.stop is not None:
        return [Leave(asked.stop)]
    actions = _ended_from_outside(progress, asked)
    halted = {one.task for one in actions if isinstance(one, Fail)}
    actions += _followed_from_changes(progress, rules, halted)
    failing = {one.task for one in actions if isinstance(one, Fail)}
    if not actions:
        actions += [*_publish(progress, now), *_lay_out(progress, rules)]
        if keys := _submittable(progress, rules):
            actions.append(Submit(keys))
    if not actions and not progress.in_flight:
        return [_end(progress, rules)]
    has_failed = progress.has_failed or bool(failing)
    if has_failed and not progress.shows_errors and _goes_on(progress, failing):
        actions.insert(0, ShowErrors())
    return actions


def _goes_on(progress: Progress, failing: Collection[int]) -> bool:
    """Tell whether something else goes on when some tasks have failed."""
    if not failing:
        return True
    gone = progress.all_followers(failing) | set(failing)
    lost = sum(progress[i].is_unended and not progress.is_doomed(i) for i in gone)
    return progress.able > lost


def _ended_from_outside(progress: Progress, asked: Asked) -> list[Action]:
    """Fail tasks that are halted, or whose environment takes no jobs."""
    failing: dict[int, Fail] = {}
    for number in sorted(asked.halts):
        index = progress.index_of(number)
        if index is not None and progress[index].is_unended:
            failing[index] = Fail(index, FailureCause.HALTED, HALTED)
    if asked.refusals:
        for task in progress:
            reason = asked.refusals.get(task.environment)
            is_out = task.is_unended and task.standing is Standing.OUT
            if reason and is_out and task.left and task.index not in failing:
                failing[task.index] = Fail(task.index, FailureCause.REFUSED, reason)
    if not failing:
        return []
    tasks = sorted(progress.all_followers(failing) | failing.keys())
    return [*failing.values(), Cancel(tuple(sorted(failing)), tuple(tasks))]


def _followed_from_changes(
    progress: Progress, rules: Rules, failing: Collection[int]
) -> list[Action]:
    """Return what follows from what has changed, task by task."""
    fails: list[Action] = []
    settle: list[int] = []
    unblock: list[int] = []
    aside: list[int] = []
    for index in progress.touched:
        task = progress[index]
        if index in failing:
            continue
        if cause := _failure(task, rules):
            fails.append(Fail(index, cause, task.obstacle))
        elif task.is_open and progress.has_inputs(index):
            settle.append(index)
        elif _is_interrupted(task) and progress.has_inputs(index):
            unblock.append(index)
        elif _is_left_behind(progress, task):
            aside.append(index)
    kinds = ((Settle, settle), (Unblock, unblock), (SetAside, aside))
    return [*fails, *(kind(tuple(some)) for kind, some in kinds if some)]


def _failure(task: TaskProgress, rules: Rules) -> FailureCause | None:
    """Return why a task fails now, if it does."""
    if task.obstacle and task.is_open:
        return FailureCause.NOT_SETTLED
    if task.obstacle:
        is_done = task.has_ended
        return FailureCause.NOT_STORABLE if is_done else FailureCause.NOT_HANDED_OUT
    has_ended = task.has_ended and not task.outstanding
    if has_ended and len(task.failed) > rules.allowed(task):
        return FailureCause.SUBTASKS
    return None


def _is_interrupted(task: TaskProgress) -> bool:
    """Tell whether a task was laid out, and subtasks of it neither ran nor will run."""
    return (
        task.standing in (Standing.OUT, Standing.ASIDE)
        and not task.outstanding
        and not task.has_ended
    )


def _is_left_behind(progress: Progress, task: TaskProgress) -> bool:
    """Tell whether nothing runs for a task that is out, and nothing will for now."""
    return (
        task.standing is Standing.OUT
        and not task.outstanding
        and (progress.is_doomed(task.index) or not task.has_ended)
    )


def _publish(progress: Progress, now: float) -> list[Action]:
    """Publish what is ready, as much at a time as commits are slow."""
    if progress.in_flight and now < progress.publish_after:
        return []
    ready = tuple(progress.to_publish)
    return [Publish(ready)] if ready else []


def _lay_out(progress: Progress, rules: Rules) -> list[Action]:
    """Cut the oldest units into batches, with what follows from them, up to the window."""
    if 2 * progress.subtasks_out > rules.window:
        return []
    room = rules.window - progress.subtasks_out
    chosen: list[int] = []
    unlocked: list[tuple[tuple[int, int, int], int]] = []
    waiting: dict[int, int] = {}
    candidates = ((progress[i].order, i) for i in progress.candidates)
    following = next(candidates, None)
    while room > 0 and (following or unlocked):
        if unlocked and (following is None or unlocked[0] < following):
            _, index = heapq.heappop(unlocked)
        else:
            assert following is not None
            index, following = following[1], next(candidates, None)
        chosen.append(index)
        room -= max(1, progress[index].left)
        for follower in progress.followers(index):
            waiting.setdefault(follower, progress.unstored(follower))
            waiting[follower] -= 1
            if not waiting[follower] and _can_follow(progress, progress[follower]):
                heapq.heappush(unlocked, (progress[follower].order, follower))
    return [LayOut(tuple(chosen))] if chosen else []


def _can_follow(progress: Progress, task: TaskProgress) -> bool:
    """Tell whether a task can be laid out together with all that it reads."""
    return (
        task.standing in (Standing.WAITING, Standing.ASIDE)
        and not task.is_open
        and not task.has_ended
        and not progress.is_doomed(task.index)
        and progress.is_stored(task.after)
    )


def _submittable(progress: Progress, rules: Rules) -> tuple[Key, ...]:
    """Return the batches to hand out: all that nothing holds back, and what follows them."""
    chosen: dict[Key, None] = {}
    taken: Counter[str] = Counter()
    missing: dict[Key, int] = {}
    todo = {node: iter(queue) for node, queue in progress.ready().items()}
    while todo:
        unlocked: dict[str, list[tuple[int, Key]]] = {}
        for node, queue in todo.items():
            for key in _up_to_limit(progress, rules, node, queue, taken):
                chosen[key] = None
                for waiter in progress.waiters(key):
                    missing.setdefault(waiter, progress.missing(waiter))
                    missing[waiter] -= 1
                    if not missing[waiter]:
                        batch = progress.batch(waiter)
                        unlocked.setdefault(batch.node, []).append((batch.rank, waiter))
        todo = {node: iter(sorted(some)) for node, some in unlocked.items()}
    return tuple(chosen)


def _up_to_limit(
    progress: Progress,
    rules: Rules,
    node: str,
    queue: Iterable[tuple[int, Key]],
    taken: Counter[str],
) -> Iterable[Key]:
    """Yield the keys of a queue, as many as its node allows to run at once."""
    limit = rules.nodes[node].max_workers if node in rules.nodes else 0
    for _, key in queue:
        if limit and progress.running(node) + taken[node] >= limit:
            return
        taken[node] += 1
        yield key


def _end(progress: Progress, rules: Rules) -> Action:
    """Return how it ends, now that nothing runs and nothing can begin."""
    if again := [task.index for task in progress if _may_retry(task, rules)]:
        return Retry(tuple(again))
    if any(task.standing is Standing.FAILED for task in progress):
        return EndInstance(InstanceState.ERRORS_STALLED, EndCause.FAILED_TASKS)
    if any(task.is_unended for task in progress):
        return EndInstance(InstanceState.TRANSITION_FAILED, EndCause.STUCK)
    return EndInstance(InstanceState.COMPLETED, EndCause.COMPLETE)


def _may_retry(task: TaskProgress, rules: Rules) -> bool:
    """Tell whether a failed task has a restart left.

    Subtasks that were lost in one batch always have one, in which every subtask runs by
    itself: only one of them may be to blame.
    """
    return (
        task.standing is Standing.FAILED
        and task.cause is not None
        and task.cause.may_retry
        and bool(task.failed)
        and (
            task.resubmits < rules.of(task).retries
            or (task.resubmits == 0 and task.lost_together)
        )
    )
