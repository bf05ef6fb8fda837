"""Twenty operators, each at a shell of their own: warm processes that type at once."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from ziggy_dask.interface.cluster import open_cluster
from ziggy_dask.interface.daemon import serve_until_told
from ziggy_dask.interface.main import exit_code

COUNT = 20
PATIENCE_S = 300
Command = tuple[str, ...]

_context = get_context("forkserver")
# Not Icechunk: its threads start when it is imported, and would be missing after a fork.
_context.set_forkserver_preload(["alembic.command", "distributed", "xarray", "zarr"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command came to."""

    command: Command
    """What was typed after ``ziggy``."""
    code: int
    """Its exit code."""
    output: str
    """What it printed on standard output."""
    errors: str
    """What it printed on standard error."""


class Operators:
    """The processes; each does the command that it is given, all at one moment."""

    def __init__(self) -> None:
        self._start = _context.Barrier(COUNT)
        pairs = [_context.Pipe() for _ in range(COUNT)]
        self._pipes = [ours for ours, _ in pairs]
        self._processes = [
            _context.Process(target=_sit, args=(theirs, self._start))
            for _, theirs in pairs
        ]
        for process in self._processes:
            process.start()

    def type(self, cluster: Path, commands: Sequence[Command]) -> None:
        """Let each operator type a command."""
        for pipe, command in zip(self._pipes, commands, strict=True):
            pipe.send((str(cluster), command))

    def answers(self) -> list[Answer]:
        """Wait for the end of all commands; return what each came to."""
        for pipe in self._pipes:
            assert pipe.poll(PATIENCE_S), "an operator waits for ever"
        return [pipe.recv() for pipe in self._pipes]

    def close(self) -> None:
        """Let them go home."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()


def start_service(cluster: Path):
    """Start a supervisor that waits for its turn and then takes requests."""
    process = _context.Process(target=_serve, args=(cluster,))
    process.start()
    return process


def typed(cluster: str, command: Command) -> Answer:
    """Do a command in this process, as the shell would."""
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = ["ziggy", "--cluster", cluster, *command]
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            code = exit_code()
        except BaseException:  # noqa: BLE001 - what Python itself would do
            traceback.print_exc()
            code = 1
    return Answer(
        command=command,
        code=code,
        output=output.getvalue(),
        errors=errors.getvalue(),
    )


def _sit(pipe, start) -> None:
    while (told := pipe.recv()) is not None:
        start.wait()
        pipe.send(typed(*told))


def _serve(cluster: Path) -> None:
    with (cluster.parent / "supervisor.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        serve_until_told(open_cluster(cluster), standby=True)
