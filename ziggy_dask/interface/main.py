"""The ``ziggy`` command.

Command modules import what is heavy inside their functions, so that help and
completion are quick.

Exit codes: 0 all well; 1 the instance ended with failed tasks, or a delivery was
refused; 2 the command line is wrong; 3 a definition, a parameter or a file is wrong,
and nothing was changed; 4 datastore, database or compute environment can't be used,
or lack what was requested; 5 another supervisor is in charge; 130 interrupted, 143 and
129 ended by SIGTERM and SIGHUP.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from ziggy_dask.errors import ClusterError, DatastoreError, ZiggyError
from ziggy_dask.interface.commands.context import Commands
from ziggy_dask.interface.examples import examples_text
from ziggy_dask.interface.output import choose_colours, colours
from ziggy_dask.interface.outside import harmless, told
from ziggy_dask.interface.streams import open_missing_streams, write_any_character
from ziggy_dask.interface.swallowed import insisted
from ziggy_dask.interface.unheard import ended_if_unheard

_SECTIONS = {
    "Begin": {
        "init": "missions:init",
        "status": "status:status",
        "cluster": "cluster:cluster",
        "completion": "completion:completion",
    },
    "Define": {
        "import": "definitions:import_",
        "update": "definitions:update",
        "export": "definitions:export",
        "pipelines": "definitions:pipelines",
        "parameters": "definitions:parameters",
        "schema": "definitions:schema",
    },
    "Bring data": {
        "manifest": "receipt:manifest",
        "receive": "receipt:receive",
        "deliveries": "receipt:deliveries",
        "models": "receipt:models",
        "datastore": "datastore:datastore",
        "tag": "tags:tag",
        "tags": "tags:tags",
        "untag": "tags:untag",
    },
    "Run": {
        "plan": "running:plan",
        "estimate": "estimating:estimate",
        "graph": "running:graph",
        "run": "running:run",
        "events": "events:events",
        "event": "events:event",
    },
    "Look": {
        "instances": "records:instances",
        "tasks": "records:tasks",
        "subtasks": "records:subtasks",
        "logs": "records:logs",
        "stats": "statistics:stats",
        "report": "statistics:report",
        "why": "why:why",
        "history": "lineage:history",
        "lineage": "lineage:lineage",
        "which": "lineage:which",
        "diff": "diff:diff",
        "reproduce": "reproducing:reproduce",
        "code": "why:code",
        "console": "console:console",
    },
    "Archive": {
        "export-crate": "archiving:export_crate",
        "export-prov": "archiving:export_prov",
        "export-stac": "archiving:export_stac",
        "export-datacite": "archiving:export_datacite",
    },
    "Operate": {
        "failures": "operations:failures",
        "restart": "operations:restart",
        "halt": "operations:halt",
        "debug": "debugging:debug",
        "alerts": "operations:alerts",
        "jobs": "jobs:jobs",
        "doctor": "operations:doctor",
        "verify": "verifying:verify",
        "expire": "expiring:expire",
        "backup": "operations:backup",
        "restore": "operations:restore",
    },
}
"""Commands as help shows them, with the modules that have them."""
_NO_OUTPUT = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk or terminal that takes no output; a pipe's is seen to by click."""
_COMMANDS = {name: home for some in _SECTIONS.values() for name, home in some.items()}


class _Ziggy(Commands):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command = getattr(
            import_module(f"ziggy_dask.interface.commands.{module}"), attribute
        )
        assert isinstance(command, click.Command)
        _add_examples(name, command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the commands by what they are for."""
        width = max(map(len, _COMMANDS))
        limit = formatter.width - 6 - width
        for section, names in _SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((f"{name:<{width}}", command.get_short_help_str(limit)))
            with formatter.section(section):
                formatter.write_dl(rows)


def _add_examples(name: str, command: click.Command) -> None:
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            _add_examples(f"{name} {below}", one)
        if not command.invoke_without_command:
            return
    command.epilog = examples_text(name)


@click.group(cls=_Ziggy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ziggy-dask")
@click.option(
    "--cluster",
    "cluster_file",
    type=click.Path(path_type=Path),
    envvar="ZIGGY_CLUSTER",
    help="Cluster file. Default: $ZIGGY_CLUSTER, else the one that was initialised here.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colours: on a terminal (default), always or never. $NO_COLOR and "
    "$FORCE_COLOR are respected.",
)
@click.pass_context
def ziggy(ctx: click.Context, cluster_file: Path | None, color: str) -> None:
    """Run science data pipelines.

    Begin with: ziggy init DIRECTORY, which makes a pipeline that works.
    """
    choose_colours(color)
    ctx.color = colours()
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ClusterError(
            "the current directory is gone, it was removed or moved; change to another one"
        ) from None


def main() -> NoReturn:
    """Run the command line, and end this process.

    Python itself is not taken down: threads of Icechunk, which nobody can join, may call
    into it at that moment, and the command would end by SIGABRT although all is done. So
    threads of ours are joined, exit handlers run and output is flushed, and then the
    process just ends.
    """
    open_missing_streams()  # else what is opened first would be taken for one of them
    try:
        with insisted() as insist, ended_if_unheard():
            _leave_when_told(insist)
            code = exit_code()
    except Exception:  # noqa: BLE001 -- shown as Python would
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as Python does at this point
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever was to read it has gone
            stream.flush()
    os._exit(code)


def _leave_when_told(insist: Callable[[BaseException], NoReturn]) -> None:
    """End a command that has no way of its own to end, without leaving half of its work."""

    def leave(number: int, _frame: object) -> NoReturn:
        insist(SystemExit(128 + number))

    def interrupt(_number: int, _frame: object) -> NoReturn:
        insist(KeyboardInterrupt())

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, leave)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def exit_code() -> int:
    """Run the command line; errors of ours become one message and an exit code.

    The process goes on: what Python should do at its end is left to the caller.
    """
    open_missing_streams()
    write_any_character()
    try:
        code = ziggy.main(prog_name="ziggy", standalone_mode=False)
    except ZiggyError as error:
        return _refused(error)
    except click.exceptions.Abort as error:
        with suppress(OSError):  # the terminal may be gone
            click.echo("interrupted; resume with: ziggy run --continue", err=True)
        return _code_of_signal(error.__cause__)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        click.echo(error.code, err=True)
        return 1
    except OSError as error:
        if error.errno not in _NO_OUTPUT or error.filename is not None:
            return _refused_outside(error)
        with suppress(OSError):
            click.secho(f"ziggy: output can't be written: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what was kept back goes there
        return 4
    except Exception as error:  # noqa: BLE001 -- what is not a fault of the outside is raised
        return _refused_outside(error)
    except BaseException as error:
        from ziggy_dask.datastore.panics import is_panic

        if not is_panic(error):
            raise
        return _refused(DatastoreError(f"the datastore is damaged: {error}"))
    return code if isinstance(code, int) else 0


def _refused(error: ZiggyError) -> int:
    """Print an error of ours; return its exit code, which is all if nothing can be written."""
    with suppress(OSError):
        for line in harmless(str(error)).splitlines():
            click.secho(f"ziggy: {line}", fg="red", err=True, color=colours())
    return error.exit_code


def _refused_outside(error: Exception) -> int:
    """Print an error of the outside in the same way; raise one that is a defect."""
    ours = told(error)
    if ours is None:
        raise error
    return _refused(ours)


def _code_of_signal(cause: BaseException | None) -> int:
    """Return the exit code that shells give to the signal that interrupted a command."""
    number = cause.args[0] if cause is not None and cause.args else 2
    return 128 + int(number)
