"""What runs on a worker: batches of subtasks, one Dask key each.

A batch never raises for what an algorithm does. Each of its subtasks ends in an
`Outcome`; the data that the good ones wrote travel as change sets of about 1 kB.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import socket
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from distributed import get_worker

from ziggy_dask.datastore import FileItem
from ziggy_dask.datastore.items import read_file_item
from ziggy_dask.definitions import (
    DaskFunctionStep,
    FunctionStep,
    ProgramStep,
    ScriptStep,
    code_package,
    load_function,
)
from ziggy_dask.definitions.signatures import arguments_of, as_function
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.capture import captured
from ziggy_dask.workers.halting import is_halted
from ziggy_dask.workers.inputs import (
    BlockedSubtask,
    Given,
    Inputs,
    MissingItems,
    open_stored,
)
from ziggy_dask.workers.lazy import compute_and_write, open_lazily
from ziggy_dask.workers.limit import Limited, TimeLimit
from ziggy_dask.workers.loading import load_returned
from ziggy_dask.workers.memory import heed_limit, peak_bytes, reset_peak
from ziggy_dask.workers.missing import MissingModel, missing_object
from ziggy_dask.workers.outputs import Outputs
from ziggy_dask.workers.programs import ProgramFailure, run_program
from ziggy_dask.workers.work import (
    NOTHING_RETURNED,
    BatchResult,
    Cause,
    LostBatchResult,
    ModelFile,
    Outcome,
    Result,
    SubtaskState,
    Work,
)
from ziggy_dask.workers.worker_environment import surroundings_digest, surroundings_once

ALGORITHM_LOGGER = "ziggy.algorithm"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an algorithm can ask about the subtask it works on."""

    instance: int
    """Id of the instance."""
    task: int
    """Id of the task."""
    subtask: int
    """Number of the subtask, from 0."""
    node: str
    """Name of the node."""
    unit: dict[str, str]
    """Placeholder values of the unit of work, e.g. ``{"dataset": "set-1"}``."""
    labels: list[str]
    """Items of the subtask; empty if it has everything."""
    event_labels: list[str]
    """Labels of the event that started the instance."""
    seed: int
    """Number for random generators: the same for the same node, unit of work and items, in
    every attempt and instance, and another one for all others."""
    logger: logging.Logger
    """Logger whose records go to the subtask's log."""

    def scratch(self) -> Path:
        """Return a new, empty directory; the algorithm should remove it."""
        return Path(tempfile.mkdtemp(prefix=f"ziggy-{self.task}-{self.subtask}-"))


def load_work(pickled: bytes) -> Work:
    """Return what the batches of a task have in common."""
    work: Work = pickle.loads(pickled)
    return work


def run_batch(work: Work, subtasks: Sequence[int], *results: Result) -> BatchResult:
    """Run some subtasks of a task, one after the other.

    Parameters
    ----------
    work
        The task.
    subtasks
        Numbers of the subtasks.
    *results
        Results of the keys that this one waited for.
    """
    if isinstance(work.step, DaskFunctionStep):
        return _run_lazily(work)
    outcomes, outputs = _run_all(work, subtasks, results)
    return _result(work, outcomes, outputs.change_sets())


def run_alone(pickled: bytes, subtasks: Sequence[int], *results: Result) -> BatchResult:
    """Run the only batch of a task, given what `load_work` takes; see `run_batch`."""
    return run_batch(load_work(pickled), subtasks, *results)


def _run_all(
    work: Work, subtasks: Sequence[int], results: Sequence[Result]
) -> tuple[list[Outcome], Outputs]:
    """Run subtasks; return their outcomes, in order, and what they wrote.

    One that can't be written may leave part of its data in the fork that all share, so
    the others run again, without it, into a new one.
    """
    inputs = Inputs(work, results)
    outputs = Outputs(work)
    outcomes = [
        _run_subtask(work, number, inputs, outputs)
        for number in subtasks
        if not is_halted(work.token)
    ]
    lost = {one.subtask for one in outcomes if one.cause is Cause.NOT_STORED}
    if not lost:
        return outcomes, outputs
    written = [one.subtask for one in outcomes if one.outputs]
    again, outputs = _run_all(work, written, results)
    by_number = {one.subtask: one for one in again}
    return [
        by_number.get(one.subtask, one)
        for one in outcomes
        if one.subtask in by_number or not one.outputs
    ], outputs


def _run_subtask(work: Work, number: int, inputs: Inputs, outputs: Outputs) -> Outcome:
    return _measured(work, number, lambda: _attempt(work, number, inputs, outputs))


def _run_lazily(work: Work) -> BatchResult:
    """Run a Dask function; it is the one subtask of its task."""
    forks: dict[str, bytes] = {}

    def attempt() -> Outcome:
        try:
            with Limited(work.limit_s):
                returned = _call(work, 0, open_lazily(work))
                fitting = Outputs(work).check(0, returned, work.unit)
                by_path = {
                    sink.path: fitting[sink.name]
                    for sink in work.sinks
                    if sink.name in fitting
                }
                forks.update(compute_and_write(work, by_path))
        except MissingItems as reason:
            return Outcome(subtask=0, state=SubtaskState.COMPLETE, message=str(reason))
        except TaskError as error:
            return _failure(0, Cause.BAD_OUTPUT, error)
        except TimeLimit as error:
            return _time_limit(work, 0, error)
        except BaseException as error:  # noqa: BLE001 -- algorithms raise anything
            return _failure(0, Cause.EXCEPTION, error)
        return Outcome(
            subtask=0,
            state=SubtaskState.COMPLETE,
            outputs=tuple(forks),
            message="" if forks else NOTHING_RETURNED,
        )

    return _result(work, [_measured(work, 0, attempt)], forks)


def _measured(work: Work, number: int, attempt: Callable[[], Outcome]) -> Outcome:
    """Return the outcome of an attempt, with its log, times and memory."""
    heed_limit()
    started = time.time()
    wall, cpu = time.perf_counter(), time.thread_time()
    reset_peak()
    title = f"task {work.task}, subtask {number}"
    with captured(f"{work.token} {number}", title) as tail:
        outcome = attempt()
    return replace(
        outcome,
        log=tail.text(),
        started_s=started,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.thread_time() - cpu,
        peak_memory_bytes=outcome.peak_memory_bytes or peak_bytes(),
    )


def _attempt(work: Work, number: int, inputs: Inputs, outputs: Outputs) -> Outcome:
    is_program = isinstance(work.step, ProgramStep | ScriptStep)
    try:
        values = inputs.values(number)
        given = {} if is_program else inputs.of_subtask(number)
    except (MissingItems, BlockedSubtask) as reason:
        return _without_input(number, reason)
    except BaseException as error:  # noqa: BLE001 -- whatever fails is this subtask's outcome
        return _failure(number, Cause.BAD_INPUT, error)
    try:
        return _run_and_store(work, number, given, inputs, outputs, values)
    except _NotStored as error:
        return _failure(number, Cause.NOT_STORED, error.__cause__ or error)
    except (MissingItems, BlockedSubtask) as reason:
        return _without_input(number, reason)
    except TaskError as error:
        return _failure(number, Cause.BAD_OUTPUT, error)
    except ProgramFailure as failure:
        return _program_failure(number, failure)
    except TimeLimit as error:
        return _time_limit(work, number, error)
    except BaseException as error:  # noqa: BLE001 -- algorithms raise anything
        return _failure(number, Cause.EXCEPTION, error)


class _NotStored(Exception):
    """What an algorithm returned could not be written."""


def _run_and_store(
    work: Work,
    number: int,
    given: Mapping[str, Given],
    inputs: Inputs,
    outputs: Outputs,
    values: Mapping[str, str],
) -> Outcome:
    """Run an algorithm and write what it returned.

    What a program left is read while it is written, so its directory stays until then.
    """
    returned: object
    memory = 0
    with ExitStack() as directory:
        if isinstance(work.step, ProgramStep | ScriptStep):
            program = run_program(work, number, inputs, models_of(work))
            returned, memory = directory.enter_context(program)
        else:
            with Limited(work.limit_s):
                returned = load_returned(_call(work, number, given))
        fitting = outputs.check(number, returned, values)
        try:
            written = outputs.write(number, fitting)
        except BaseException as error:
            raise _NotStored from error
    return Outcome(
        subtask=number,
        state=SubtaskState.COMPLETE,
        outputs=written,
        named=outputs.named(number, fitting),
        message="" if written else NOTHING_RETURNED,
        peak_memory_bytes=memory,
    )


def _without_input(number: int, reason: MissingItems | BlockedSubtask) -> Outcome:
    """Return the outcome of a subtask that lacks an input, for good or for now."""
    is_blocked = isinstance(reason, BlockedSubtask)
    return Outcome(
        subtask=number,
        state=SubtaskState.BLOCKED if is_blocked else SubtaskState.COMPLETE,
        message=str(reason),
    )


def _call(work: Work, number: int, given: Mapping[str, Given]) -> object:
    function, extra = bound_algorithm(work, number)
    return function(**given, **extra)


def bound_algorithm(
    work: Work, number: int
) -> tuple[Callable[..., object], dict[str, Any]]:
    """Return the function of a subtask, and its arguments besides the inputs."""
    assert isinstance(work.step, FunctionStep | DaskFunctionStep)
    function, wants = _algorithm_of(work.root, work.step.function, work.code_version)
    extra: dict[str, Any] = {}
    if "parameters" in wants:
        extra["parameters"] = {one.name: one.values for one in work.sets}
    if "models" in wants:
        extra["models"] = models_of(work)
    if "context" in wants:
        extra["context"] = Context(
            instance=work.instance,
            task=work.task,
            subtask=number,
            node=work.node,
            unit=dict(work.unit),
            labels=work.labels.take(work.items(number)).texts() if work.labels else [],
            event_labels=list(work.event_labels),
            seed=seed_of(work, number),
            logger=logging.getLogger(ALGORITHM_LOGGER),
        )
    return function, extra


def seed_of(work: Work, number: int) -> int:
    """Return the seed of a subtask, of 63 bits, from what it is of."""
    items = work.labels.take(work.items(number)).texts() if work.labels else []
    key = [work.node, sorted(work.unit.items()), items]
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def models_of(work: Work) -> dict[str, FileItem]:
    """Return the models of a task by type, under their original names."""
    try:
        return {n: _model(work.datastore, one) for n, one in work.models.items()}
    except Exception as error:
        names = ", ".join(f"{n} {one.original}" for n, one in work.models.items())
        reason = missing_object(error) or f"{type(error).__name__}: {error}"
        raise MissingModel(f"of {names}: {reason}") from error


@lru_cache(maxsize=16)
def _model(datastore: str, one: ModelFile) -> FileItem:
    session = open_stored(datastore, one)
    return replace(read_file_item(session, one.path, one.stored), name=one.original)


def _algorithm_of(
    root: Path | None, target: str, version: str
) -> tuple[Callable[..., object], frozenset[str]]:
    package = code_package(root, version) if root else ""
    return _algorithm(root, target, version, package)


@lru_cache(maxsize=256)
def _algorithm(
    root: Path | None, target: str, version: str, package: str
) -> tuple[Callable[..., object], frozenset[str]]:
    """Return an algorithm and its argument names; let its log records and warnings pass."""
    function = load_function(root, target, version)
    module = getattr(function, "__module__", None) or target.partition(":")[0]
    for name in (ALGORITHM_LOGGER, module, package or module):
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.INFO)
    warnings.filterwarnings("always", module=re.escape(module))
    return as_function(function), frozenset(arguments_of(function))


def _failure(number: int, cause: Cause, error: BaseException) -> Outcome:
    may_lack = cause in (Cause.BAD_INPUT, Cause.EXCEPTION)
    missing = missing_object(error) if may_lack else ""
    if isinstance(error, MemoryError):
        cause = Cause.OUT_OF_MEMORY
    elif isinstance(error, MissingModel):
        cause = Cause.MISSING_MODEL
    elif missing:
        cause = Cause.MISSING_INPUT
    return Outcome(
        subtask=number,
        state=SubtaskState.FAILED,
        cause=cause,
        message=missing or _one_line(error),
        traceback=_traceback_of(error),
    )


_LONGEST_TRACEBACK = 32_768
_LONGEST_LINE = 4_096


def _traceback_of(error: BaseException) -> str:
    """Return a traceback as text; of a very long message, its ends."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = "".join(_shortened(one, _LONGEST_LINE) for one in lines)
    return _shortened(text, _LONGEST_TRACEBACK)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    left_out = len(text) - most
    return f"{text[: most // 2]}[{left_out} characters left out]{text[-most // 2 :]}"


def _time_limit(work: Work, number: int, error: TimeLimit) -> Outcome:
    reached = TimeLimit(
        f"it took longer than {work.limit_s:g} s; see 'time: limit' of the node"
    ).with_traceback(error.__traceback__)
    return _failure(number, Cause.TIME_LIMIT, reached)


def _program_failure(number: int, failure: ProgramFailure) -> Outcome:
    return Outcome(
        subtask=number,
        state=SubtaskState.FAILED,
        cause=failure.cause,
        message=_one_line(failure),
        traceback=failure.traceback,
        peak_memory_bytes=failure.peak_memory_bytes,
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(_text_of(error)[:20_000].split())
    is_told = isinstance(error, TaskError | ProgramFailure | MissingModel | TimeLimit)
    name = "" if is_told else f"{type(error).__name__}: "
    line = f"{name}{text}"[:2000]
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _text_of(error: BaseException) -> str:
    """Return what an exception says, also where its own ``str()`` fails."""
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 -- algorithms define exceptions, too
        return f"its str() fails with {type(failure).__name__}"


def _result(
    work: Work, outcomes: Sequence[Outcome], forks: dict[str, bytes]
) -> BatchResult:
    has_any = any(outcome.state is SubtaskState.COMPLETE for outcome in outcomes)
    kind = BatchResult if has_any else LostBatchResult
    return kind(
        index=work.index,
        outcomes=tuple(outcomes),
        change_sets=forks,
        host=_host(),
        worker=_worker_name(),
        surroundings=surroundings_digest(),
        surroundings_text=surroundings_once(work.token.rpartition("-")[0]),
    )


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()


def _worker_name() -> str:
    try:
        return str(get_worker().name)
    except ValueError:
        return f"process {os.getpid()}"
