"""The reference of the command line, made of the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from ziggy_dask.interface.examples import EXAMPLES
from ziggy_dask.interface.main import ziggy


def commands(
    group: click.Group = ziggy, path: str = ""
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with what is typed for it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def section(name: str, command: click.Command) -> str:
    """Return what the reference says of a command."""
    context = click.Context(command, info_name=f"ziggy {name}")
    lines = [f"## ziggy {name}", "", "```text"]
    lines += [" ".join(["ziggy", name, *command.collect_usage_pieces(context)]), "```"]
    lines += ["", inspect.cleandoc(command.help or "")]
    options = [
        o for o in command.params if isinstance(o, click.Option) and not o.hidden
    ]
    if options:
        lines += ["", "| option | |", "|---|---|"]
    for option in options:
        record = option.get_help_record(context)
        assert record is not None
        text = " ".join(record[1].split()).replace("|", "\\|")
        lines.append(f"| `{record[0].replace('|', chr(92) + '|')}` | {text} |")
    examples = EXAMPLES.get(name, ())
    width = max((len(line) for line, _ in examples), default=0)
    lines += ["", "```console"]
    lines += [f"$ {line:<{width}}  # {meaning}" for line, meaning in examples]
    return "\n".join([*lines, "```"])


def write_command_reference(file: Path) -> None:
    """Write the reference, if it is not there as it should be."""
    top = (
        "# Command line\n\nMade of the commands themselves; `ziggy COMMAND --help` says "
        "the same. Exit codes are on the page [running and looking](../running.md). "
        "`make docs` makes manual pages too: `man -M docs/_build/man ziggy-run`."
    )
    text = "\n\n".join([top, *(section(*one) for one in commands())]) + "\n"
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
