"""Every command has help with examples, and every example is a good command line."""

import re
import shlex

import click
import pytest

from ziggy_dask.interface.examples import EXAMPLES
from ziggy_dask.interface.main import ziggy


def commands(group=ziggy, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*path, name)), command


ALL = dict(commands())


def test_every_command_has_examples_and_every_example_a_command():
    assert set(EXAMPLES) == set(ALL)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_examples_of_a_command_are_in_its_help_and_parse(name, tmp_path):
    shown = ALL[name].get_help(click.Context(ALL[name]))
    for line, _ in EXAMPLES[name]:
        assert line in shown
        words = shlex.split(re.sub(r'^eval "\$\((.*)\)"$|\|.*$', r"\1", line))
        for place in (word for word in words if "." in word or "/" in word):
            assert not place.startswith("/"), "an example is of no one machine"
        arguments = words[1:]
        if arguments[0] == "--cluster":
            arguments = arguments[2:]
        rest = arguments[len(name.split()) :]
        assert arguments[: len(name.split())] == name.split()
        parser = ALL[name].make_parser(click.Context(ALL[name]))
        options, _, _ = parser.parse_args(list(rest))
        needed = {one.name for one in ALL[name].params if one.required}
        assert all(options.get(one) not in (None, ()) for one in needed)


def test_every_option_says_what_it_is_for():
    silent = [
        f"{name} {option.opts[0]}"
        for name, command in ALL.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert silent == []
