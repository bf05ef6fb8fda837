"""Algorithms that are programs: each subtask in a working directory of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import h5py

from ziggy_dask.datastore import FileItem
from ziggy_dask.definitions import ProgramStep, ScriptStep, code_origin, code_place
from ziggy_dask.errors import TaskError
from ziggy_dask.workers import runner
from ziggy_dask.workers.description import interface_name
from ziggy_dask.workers.directory import (
    WorkingDirectory,
    end_directory,
    make_directory,
    take_outputs,
    working_path,
)
from ziggy_dask.workers.halting import haltable
from ziggy_dask.workers.inputs import Inputs
from ziggy_dask.workers.process import Ended, Limits, run_process
from ziggy_dask.workers.work import Cause, Work

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_SHORT = 2000


class ProgramFailure(Exception):
    """A program failed, or had to be ended.

    Parameters
    ----------
    cause
        Why.
    message
        One line.
    traceback
        The algorithm's own traceback, if it left one.
    peak_memory_bytes
        Its largest memory.
    """

    def __init__(
        self,
        cause: Cause,
        message: str,
        traceback: str = "",
        peak_memory_bytes: int = 0,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.traceback = traceback
        self.peak_memory_bytes = peak_memory_bytes


@contextmanager
def run_program(
    work: Work, subtask: int, inputs: Inputs, models: Mapping[str, FileItem]
) -> Iterator[tuple[dict[str, object], int]]:
    """Run the program of a subtask; its directory is there until the block is left.

    What the program left may be read from there when it is stored, piece by piece.

    Parameters
    ----------
    work
        The task.
    subtask
        Number of the subtask.
    inputs
        The task's inputs.
    models
        Models by type.

    Yields
    ------
    dict, int
        What it left, by output name, and its largest memory in bytes.

    Raises
    ------
    ProgramFailure
        If it failed.
    TaskError
        If what it left can't be taken in.
    """
    path = working_path(work, subtask)
    has_failed = True
    files = ExitStack()
    try:
        directory = _made(work, subtask, inputs, models)
        command, environment, log = _command(work, directory.path)
        ended = _run(work, command, environment, directory.path, log)
        _refuse_failure(work, directory.path, command[0], ended)
        own = (log, *_error_files(work, command[0]))
        if ended.left_behind:
            sys.stdout.write(
                f"[ended {ended.left_behind} processes that it left behind]\n"
            )
        yield take_outputs(work, directory, own, files), ended.peak_memory_bytes
        has_failed = False
    finally:
        files.close()
        end_directory(work, path, has_failed=has_failed)


def prepare_program(
    work: Work, subtask: int, path: Path, models: Mapping[str, FileItem]
) -> list[str]:
    """Fill a directory with what a subtask's program is given; return its command line.

    Parameters
    ----------
    work
        The task.
    subtask
        Number of the subtask.
    path
        The directory; it is made.
    models
        Models by type.
    """
    own = replace(
        work, programs=replace(work.programs, work=path.parent / f".{path.name}.parts")
    )
    try:
        made = make_directory(own, subtask, Inputs(own, ()), models)
        shutil.copytree(made.path, path)
    finally:
        shutil.rmtree(own.programs.work, ignore_errors=True)
    command, environment, _ = _command(work, path)
    settings = [f"{name}={value}" for name, value in environment.items()]
    return ["env", "-i", *settings, *command]


def find_program(work: Work, program: str) -> Path:
    """Return the file of a program.

    Raises
    ------
    ProgramFailure
        If it is not on the search path.
    """
    root = _root(work) or Path("/")
    if "/" in program:
        places = [root / program]
    else:
        places = [directory / program for directory in _search_path(work)]
    for place in places:
        if place.is_file() and os.access(place, os.X_OK):
            return place
    there = next((place for place in places if place.is_file()), None)
    raise ProgramFailure(
        Cause.NO_PROGRAM,
        f"{there} can't be executed; try: chmod +x {shlex.quote(str(there))}"
        if there
        else f"no program {program!r} in {_shown(work, places)}",
    )


def _shown(work: Work, places: Sequence[Path]) -> str:
    """Return the directories of some places, as the author of the pipeline knows them."""
    here = _root(work)
    shown = []
    for directory in (place.parent for place in places):
        if here is not None and work.root and directory.is_relative_to(here):
            directory = code_origin(work.root) / directory.relative_to(here)
        shown.append(str(directory))
    return ", ".join(shown)


def find_environment(work: Work, step: ScriptStep) -> Path | None:
    """Return the virtual environment of a script, as the original looks for it."""
    base = work.programs.environments or ((_root(work) or Path("/")) / "env")
    module = Path(step.script).stem
    for place in (base / step.function, base / module, base / "pipeline", base):
        if place.is_dir():
            return place
    return None


def _made(
    work: Work, subtask: int, inputs: Inputs, models: Mapping[str, FileItem]
) -> WorkingDirectory:
    try:
        return make_directory(work, subtask, inputs, models)
    except TaskError as error:
        raise ProgramFailure(Cause.BAD_INPUT, str(error)) from error


def _search_path(work: Work) -> list[Path]:
    """Return where programs are looked for: the cluster's path, then the pipeline's."""
    root = _root(work)
    own = [root / "bin", root] if root else []
    return [*work.programs.path, *own]


def _root(work: Work) -> Path | None:
    """Return where this process has the code of a task."""
    return code_place(work.root) if work.root else None


def _command(work: Work, directory: Path) -> tuple[list[str], dict[str, str], str]:
    """Return the command of a step, its environment, and the name of its log."""
    environment = _environment(work)
    if isinstance(work.step, ProgramStep):
        program = find_program(work, work.step.program)
        arguments = [
            one.replace("{directory}", str(directory)) for one in work.step.arguments
        ]
        return [str(program), *arguments], environment, f"{program.name}-stdout.log"
    assert isinstance(work.step, ScriptStep)
    python = sys.executable
    virtual = find_environment(work, work.step)
    if virtual is not None:
        python = str(virtual / "bin" / "python")
        if not Path(python).exists():
            raise ProgramFailure(
                Cause.NO_PROGRAM, f"the virtual environment {virtual} has no bin/python"
            )
        environment["VIRTUAL_ENV"] = str(virtual)
        environment["PATH"] = f"{virtual / 'bin'}:{environment['PATH']}"
    module = ".".join(Path(work.step.script).with_suffix("").parts)
    root = str(_root(work) or directory)
    function = work.step.function
    step = interface_name(work.node)
    command = [python, runner.__file__, root, module, function, step]
    return command, environment, "ziggy-python-stdout.log"


def _environment(work: Work) -> dict[str, str]:
    programs = work.programs
    inherited = {n: os.environ[n] for n in programs.inherit if n in os.environ}
    path = [str(one) for one in _search_path(work)]
    environment = {
        "PATH": ":".join([*path, _SYSTEM_PATH]),
        **inherited,
        **dict(programs.environment),
    }
    if programs.library_path:
        libraries = ":".join(str(one) for one in programs.library_path)
        environment["LD_LIBRARY_PATH"] = libraries
    return environment


def _run(
    work: Work,
    command: list[str],
    environment: dict[str, str],
    directory: Path,
    log: str,
) -> Ended:
    limits = Limits(
        wall_s=work.limit_s,
        grace_s=work.programs.grace_s,
        disk_bytes=work.programs.disk_quota_bytes,
        log_bytes=work.programs.log_bytes,
    )
    try:
        with haltable(work.token) as halt:
            return run_process(
                command,
                directory,
                environment,
                log=directory / log,
                limits=limits,
                halt=halt,
            )
    except OSError as error:
        raise ProgramFailure(
            Cause.NO_PROGRAM,
            f"{command[0]} can't be started: {_why(command[0], error)}",
        ) from error


def _why(program: str, error: OSError) -> str:
    """Return why a program can't be started; most often its first line is at fault."""
    try:
        with Path(program).open("rb") as file:
            first = file.readline(256)
    except OSError:
        return str(error.strerror)
    if not first.startswith(b"#!"):
        return str(error.strerror)
    if first.endswith(b"\r\n"):
        return (
            "its lines end as on Windows (CRLF), so that its interpreter is not found; "
            "convert it, e.g. with dos2unix"
        )
    interpreter = first[2:].split(maxsplit=1)[0].decode(errors="replace")
    if not Path(interpreter).exists():
        return f"there is no interpreter {interpreter!r}, which its first line names"
    return str(error.strerror)


def _error_files(work: Work, program: str) -> list[str]:
    """Return the names of files by which programs tell that they failed."""
    names = (interface_name(work.node), Path(program).name)
    return [f"{name}-error.h5" for name in names]


def _refuse_failure(work: Work, directory: Path, program: str, ended: Ended) -> None:
    """Raise if a program failed."""
    name = Path(program).name
    reported = [n for n in _error_files(work, program) if (directory / n).exists()]
    said, trace = _read_error(directory / reported[0]) if reported else ("", "")
    peak = ended.peak_memory_bytes
    if ended.cause is not Cause.NONE:
        text = _ENDED[ended.cause].format(
            limit=work.limit_s, quota=work.programs.disk_quota_bytes
        )
        raise ProgramFailure(ended.cause, f"{name} was ended: {text}", "", peak)
    if ended.exit_code < 0:
        _refuse_signal(work, name, -ended.exit_code, peak)
    if reported:
        raise ProgramFailure(Cause.EXCEPTION, said, trace, peak)
    if ended.exit_code:
        text = f"{name} ended with exit code {ended.exit_code}"
        raise ProgramFailure(Cause.EXIT_CODE, text, "", peak)


_ENDED = {
    Cause.TIME_LIMIT: "it took longer than {limit:g} s; see 'time: limit' of the node",
    Cause.DISK_QUOTA: "its directory has more than {quota} bytes; see 'disk_quota'",
    Cause.HALTED: "its task was halted, or its worker closed",
}


def _refuse_signal(work: Work, name: str, number: int, peak: int) -> None:
    if number == signal.SIGXFSZ and work.programs.disk_quota_bytes:
        text = _ENDED[Cause.DISK_QUOTA].format(quota=work.programs.disk_quota_bytes)
        raise ProgramFailure(Cause.DISK_QUOTA, f"{name} was ended: {text}", "", peak)
    word = signal.strsignal(number) or "unknown"
    text = f"{name} was ended by signal {number} ({word})"
    raise ProgramFailure(Cause.SIGNAL, text, "", peak)


def _read_error(path: Path) -> tuple[str, str]:
    """Return the message of an error file, and its stack as a traceback."""
    with suppress(OSError, KeyError), h5py.File(path, "r") as file:
        message = file["message"].asstr()[()]
        identifier = file["identifier"].asstr()[()]
        stack = file["stack"]
        names = stack["name"].asstr()[...]
        places = zip(stack["file"].asstr()[...], stack["line"][...], names, strict=True)
        lines = [f'  File "{f}", line {line}, in {name}' for f, line, name in places]
        said = f"{identifier}: {message}"
        whole = ["Traceback (most recent call last):", *lines, said]
        return said[:_SHORT], "\n".join(whole) + "\n"
    return f"it left {path.name}, which can't be read", ""
