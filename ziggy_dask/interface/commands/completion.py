"""``ziggy completion``, and the names from the database that it offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.commands.context import cluster_file

if TYPE_CHECKING:
    from ziggy_dask.records.database import Database

Names = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_MENDS = {
    "bash": {
        "COMPREPLY+=($value)": r"""[[ $value == *= ]] && compopt -o nospace
            [[ ${COMP_WORDS[COMP_CWORD]} == [\"\']* ]] || value=$(printf %q "$value")
            COMPREPLY+=("$value")"""
    },
    "zsh": {
        "-a response\n": "-a response ending\n",
        "in ${response}; do\n": """in ${response}; do
        [[ "$key" == *= ]] && ending=(-S "")
""",
        "descriptions -U\n": 'descriptions -U "${(@)ending}"\n',
    },
    "fish": {'string split ","': 'string split --max 1 ","'},
}
"""What is better in click's scripts, by shell: the name of a parameter, which may have
spaces, is followed by its value and not by a space; descriptions may have commas."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and names.

    Names come from the database: pipelines, nodes, instances, tasks, parameters, causes.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "ziggy", "_ZIGGY_COMPLETE").source()
    for words, better in _MENDS[shell].items():
        script = script.replace(words, better)
    click.echo(script)


def _pipelines(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the names of pipelines."""
    from ziggy_dask.records import names

    return names.pipeline_names(database)


def _nodes(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the nodes of the pipeline that the command line has so far."""
    from ziggy_dask.records import names

    return names.node_names(database, _pipeline_so_far(ctx))


def _parameters(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the parameters of the pipeline that the command line has so far."""
    from ziggy_dask.records import names

    return names.parameter_set_names(database, _pipeline_so_far(ctx))


def _instances(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the newest instances."""
    from ziggy_dask.records import names

    return names.instance_numbers(database)


def _tasks(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the newest tasks."""
    from ziggy_dask.records import names

    return names.task_numbers(database)


def _failed_tasks(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the newest tasks that failed."""
    from ziggy_dask.records import names

    return names.task_numbers(database, only_failed=True)


def _causes(database: Database, ctx: click.Context) -> list[tuple[str, str]]:
    """Return the fingerprints of failures."""
    from ziggy_dask.records import names

    return names.cause_names(database)


def _pipeline_so_far(ctx: click.Context) -> str:
    # An option that still wants its value keeps click from sorting out arguments.
    return ctx.params.get("pipeline") or next(iter(ctx.args), "")


def _names_of(
    query: Callable[[Database, click.Context], list[tuple[str, str]]],
) -> Names:
    """Return what a parameter needs to complete names from the database."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from ziggy_dask.definitions import read_cluster
        from ziggy_dask.records.database import open_database

        try:
            place = read_cluster(cluster_file(ctx)).database
            database = open_database(place.url, place.password_file)
            found = query(database, ctx)
        except ZiggyError:
            return []  # there is nothing to complete, and no place to say why
        return [
            CompletionItem(name, help=text)
            for name, text in found
            if name.startswith(incomplete)
        ]

    return complete


PIPELINE = _names_of(_pipelines)
NODE = _names_of(_nodes)
PARAMETER = _names_of(_parameters)
INSTANCE = _names_of(_instances)
TASK = _names_of(_tasks)
FAILED_TASK = _names_of(_failed_tasks)
CAUSE = _names_of(_causes)
