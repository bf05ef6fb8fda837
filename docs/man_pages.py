"""Manual pages, one for each command, made of the commands themselves.

Usage: python docs/man_pages.py DIRECTORY

The language is that of man(7) of groff.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
from command_reference import commands

from ziggy_dask.interface import main
from ziggy_dask.interface.examples import EXAMPLES

_CODES = {
    "0": "All is well.",
    "1": "The instance ended with failed tasks.",
    "2": "The command line is wrong.",
    "3": "A definition, a parameter or a delivery is wrong.",
    "4": "Datastore, database or compute environment can't be used.",
    "5": "Another supervisor is in charge.",
    "129": "Ended by SIGHUP.",
    "130": "Interrupted.",
    "143": "Ended by SIGTERM.",
}
_VARIABLES = {
    "ZIGGY_CLUSTER": "Cluster file, where --cluster is not given.",
    "NO_COLOR": "If set and not empty, there are no colours.",
    "FORCE_COLOR": "If set and not empty, there are colours even in a pipe.",
}


def roff(text: str) -> str:
    """Return a text as man(7) takes it, in ASCII."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    safe = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in safe)
    return f"\\&{safe}" if safe.startswith((".", "\\(aq")) else safe


def page(name: str, command: click.Command, related: Sequence[str]) -> str:
    """Return the manual page of a command.

    Parameters
    ----------
    name
        What is typed for it after ``ziggy``; empty: the program itself.
    command
        The command.
    related
        Names of the commands to see as well.
    """
    context = click.Context(command, info_name=f"ziggy {name}".strip())
    title = _title(name)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    brief = " ".join(paragraphs[0].split())
    lines = [
        f'.TH {title.upper()} 1 "" "ziggy\\-dask {version("ziggy-dask")}" "ziggy\\-dask"',
        *_section("Name", f"{roff(title)} \\- {roff(brief.rstrip('.'))}"),
        *_section("Synopsis", f".B {roff(context.command_path)}"),
        roff(" ".join(command.collect_usage_pieces(context))),
        *_section("Description", *_paragraphs(paragraphs)),
    ]
    options = [o for o in command.get_params(context) if isinstance(o, click.Option)]
    known = dict(filter(None, (one.get_help_record(context) for one in options)))
    lines += _section("Options", *_terms(known))
    if isinstance(command, click.Group):
        below = {
            f"{name} {one}".strip(): command.get_command(context, one)
            for one in command.list_commands(context)
        }
        helps = {f"ziggy {n}": c.get_short_help_str(200) for n, c in below.items() if c}
        lines += _section("Commands", *_terms(helps))
    if examples := EXAMPLES.get(name):
        shown = {line: f"{text[:1].upper()}{text[1:]}." for line, text in examples}
        lines += _section("Examples", *_terms(shown))
    lines += _section("Exit status", *_terms(_CODES))
    lines += _section("Environment", *_terms(_VARIABLES))
    others = ", ".join(f"\\fB{roff(_title(one))}\\fR(1)" for one in related)
    return "\n".join([*lines, *_section("See also", others)]) + "\n"


def _title(name: str) -> str:
    return "-".join(["ziggy", *name.split()])


def _section(title: str, *lines: str) -> list[str]:
    return [f".SH {title.upper()}", *lines]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    found = [roff(" ".join(text.split())) for text in texts]
    return [line for text in found for line in (".PP", text)][1:]


def _terms(terms: dict[str, str]) -> list[str]:
    found: list[str] = []
    for term, text in terms.items():
        found += [".TP", f".B {roff(term)}", roff(" ".join(text.split()))]
    return found


def write_man_pages(directory: Path) -> None:
    """Write all pages into ``man1`` of a directory."""
    place = directory / "man1"
    place.mkdir(parents=True, exist_ok=True)
    context = click.Context(main.ziggy)
    groups = {
        name: one
        for name in main.ziggy.list_commands(context)
        if isinstance(one := main.ziggy.get_command(context, name), click.Group)
    }
    every: dict[str, click.Command] = {"": main.ziggy, **groups, **dict(commands())}
    for name, command in every.items():
        above = name.rpartition(" ")[0]
        others = [
            one for one in every if one != name and one.rpartition(" ")[0] == above
        ]
        related = others if above or not name else ["", *groups]
        file = place / f"{_title(name)}.1"
        text = page(name, command, [one for one in related if one != name])
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_man_pages(Path(sys.argv[1]))
