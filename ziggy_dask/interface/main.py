"""The ``ziggy`` command.

Command modules import what is heavy inside their functions, so that help and
completion are quick.

Exit codes: 0 all well; 1 the instance ended with failed tasks; 2 the command line
is wrong; 3 a definition, parameter or delivery is wrong; 4 datastore, database or
compute environment can't be used; 5 another supervisor is in charge; 130
interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import ZiggyError

_COMMANDS = {
    "init": "missions:init",
    "cluster": "cluster:cluster",
    "import": "definitions:import_",
    "update": "definitions:update",
    "export": "definitions:export",
    "pipelines": "definitions:pipelines",
    "parameters": "definitions:parameters",
    "manifest": "receipt:manifest",
    "receive": "receipt:receive",
    "deliveries": "receipt:deliveries",
    "models": "receipt:models",
    "plan": "running:plan",
    "estimate": "estimating:estimate",
    "graph": "running:graph",
    "run": "running:run",
    "instances": "records:instances",
    "tasks": "records:tasks",
    "subtasks": "records:subtasks",
    "logs": "records:logs",
    "stats": "statistics:stats",
    "report": "statistics:report",
    "events": "events:events",
    "event": "events:event",
    "failures": "operations:failures",
    "restart": "operations:restart",
    "halt": "operations:halt",
    "alerts": "operations:alerts",
    "console": "console:console",
    "debug": "debugging:debug",
    "doctor": "operations:doctor",
    "backup": "operations:backup",
    "restore": "operations:restore",
    "datastore": "datastore:datastore",
}


class _Ziggy(click.Group):
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
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{suggestion(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Ziggy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ziggy-dask")
@click.option(
    "--cluster",
    "cluster_file",
    type=click.Path(path_type=Path),
    envvar="ZIGGY_CLUSTER",
    help="Cluster file. Default: $ZIGGY_CLUSTER, else the one that was initialised here.",
)
@click.pass_context
def ziggy(ctx: click.Context, cluster_file: Path | None) -> None:
    """Run science data pipelines.

    Begin with: ziggy init DIRECTORY, which makes a pipeline that works.
    """
    ctx.obj = cluster_file


def main() -> None:
    """Run the command line; errors of ours become one message and an exit code."""
    try:
        code = ziggy.main(standalone_mode=False)
    except ZiggyError as error:
        for line in str(error).splitlines():
            click.secho(f"ziggy: {line}", fg="red", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        click.echo("interrupted; go on with: ziggy run --continue", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
