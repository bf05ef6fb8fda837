"""What is wrong with a node by itself: numbers, retries, where it runs, its step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from ziggy_dask.definitions.batch import Remote
from ziggy_dask.definitions.names import argument_name, is_line, is_name
from ziggy_dask.definitions.pipeline import (
    DataReceiptStep,
    Node,
    ProgramStep,
    ScriptStep,
    Step,
)
from ziggy_dask.definitions.problem import Problem


def node_problems(node: Node) -> Iterator[Problem]:
    """Yield what is wrong with a node, whatever else is in its pipeline."""
    where = ("nodes", node.name)
    if node.max_failed_subtasks < 0:
        yield Problem(where, "max_failed_subtasks can't be negative")
    if node.typical_s < 0:
        yield Problem(where, "typical time can't be negative")
    if node.limit_s < 0:
        yield Problem(where, "time limit can't be negative")
    if node.max_workers < 0:
        yield Problem(where, "max_workers can't be negative")
    if node.cores < 1:
        yield Problem(
            (*where, "cores"), f"cores is {node.cores}, but must be at least 1"
        )
    if node.gpu < 0:
        yield Problem((*where, "gpu"), "gpu can't be negative")
    if 0 < node.limit_s < node.typical_s:
        yield Problem(
            (*where, "time"),
            f"the typical time, {node.typical_s:g} s, is longer than the limit, "
            f"{node.limit_s:g} s",
        )
    if node.remote is not None:
        yield from _remote((*where, "remote"), node, node.remote)
    if node.retry.times < 0:
        yield Problem(where, "retry: times can't be negative")
    if node.retry.memory < 1 or node.retry.time < 1:
        yield Problem(where, "retry: factors can't be less than 1")
    if node.retry.memory > 1 and not node.memory_bytes:
        yield Problem(where, "retry: memory grows only if the node says its 'memory'")
    if node.retry.time > 1 and not node.limit_s:
        yield Problem(where, "retry: time grows only if the node has a 'time: limit'")
    yield from _script(where, node.step)
    if isinstance(node.step, DataReceiptStep):
        if node.inputs or node.outputs:
            yield Problem(
                where,
                "data receipt has no inputs or outputs: it brings every data type "
                "that has 'files' and a 'reader'",
            )
        return
    is_program = isinstance(node.step, ProgramStep | ScriptStep)
    for key, given in (("inputs", node.inputs), ("outputs", node.outputs)):
        if not given and not (is_program and key == "outputs"):
            yield Problem(where, f"node {node.name!r} has no {key}")
    arguments = Counter(argument_name(one.data_type) for one in node.inputs)
    for name, times in arguments.items():
        if times > 1:
            yield Problem(
                (*where, "inputs"), f"{times} inputs have the argument name {name!r}"
            )


def _remote(where: tuple[str, ...], node: Node, remote: Remote) -> Iterator[Problem]:
    if not is_name(remote.environment):
        yield Problem(
            (*where, "environment"),
            f"{remote.environment!r} can't name an environment of the cluster file",
        )
    for key, number, least in (
        ("max_nodes", remote.max_nodes, 0),
        ("subtasks_per_core", remote.subtasks_per_core, 0),
        ("min_subtasks", remote.min_subtasks, -1),
    ):
        if number < least:
            yield Problem(
                (*where, key), f"{key} is {number:g}, but must be at least {least}"
            )
    for key in ("queue", "reserved_queue", "architecture"):
        if not is_line(name := getattr(remote, key)) or len(name.split()) > 1:
            yield Problem(
                (*where, key),
                f"{key!r} is {name!r}; in a job script it must be one word, without "
                "blanks and control characters",
            )
    if remote.queue and remote.reserved_queue:
        yield Problem(
            (*where, "reserved_queue"), "give 'queue' or 'reserved_queue', not both"
        )
    if isinstance(node.step, DataReceiptStep):
        yield Problem(where, "data receipt runs in the supervisor, never elsewhere")


def _script(where: tuple[str, ...], step: Step) -> Iterator[Problem]:
    if isinstance(step, ProgramStep) and not step.program.strip():
        yield Problem((*where, "program"), "names no program")
    if not isinstance(step, ScriptStep):
        return
    path = PurePosixPath(step.script)
    if path.suffix != ".py" or path.is_absolute() or ".." in path.parts:
        yield Problem(
            (*where, "script"),
            f"{step.script!r} is not a script; write 'package/module.py'",
        )
