"""What is wrong with compute environments: all of it, at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields

from ziggy_dask.definitions.batch import (
    Architecture,
    Environment,
    Queue,
)
from ziggy_dask.definitions.compute import (
    AddressCompute,
    ClassCompute,
    Compute,
    GatewayCompute,
    LocalCompute,
    Options,
    Secret,
    SshCompute,
    kind_of,
)
from ziggy_dask.definitions.names import is_line, is_name
from ziggy_dask.definitions.problem import Problem

_SECRET = re.compile(
    r"(passw|passphrase|secret|token|credential|(api|access|private|auth)_?key)", re.I
)
_PLACE_OF_SECRET = re.compile(
    r"(file|path|dir|name|arn|id|url|lifetime|timeout)$", re.I
)
_ASSIGNED = re.compile(r"(\w+)=[\"']?([^\s\"'$]+)")
_ADVICE = (
    "files of the project hold no secrets: name an environment variable "
    "('from_environment: NAME') or a file ('from_file: PATH')"
)


def check_compute(
    compute: Compute, environments: Sequence[Environment] = ()
) -> tuple[Problem, ...]:
    """Return everything that is wrong with a cluster's compute environments."""
    found = list(_compute(compute))
    for name, times in Counter(one.name for one in environments).items():
        if times > 1:
            found.append(
                Problem(
                    ("environments", name), f"{times} environments are called {name!r}"
                )
            )
    for one in environments:
        found.extend(check_environment(one))
    if environments and not isinstance(compute, LocalCompute):
        found.append(
            Problem(
                ("environments",),
                "jobs of batch systems are workers of the supervisor's own scheduler, "
                "so 'environments' need 'compute: local'",
            )
        )
    elif isinstance(compute, LocalCompute) and not (compute.host or compute.interface):
        found.extend(_one_address(environments))
    return tuple(found)


def _one_address(environments: Sequence[Environment]) -> Iterator[Problem]:
    """Yield what is wrong if the scheduler listens where only some jobs reach it."""
    places = {one.name: one.interface or one.scheduler_host for one in environments}
    if len(set(places.values())) > 1:
        said = ", ".join(
            f"{name!r}: {place or 'this host'}" for name, place in places.items()
        )
        yield Problem(
            ("environments",),
            f"jobs reach the scheduler by different addresses ({said}), but it listens "
            "at one; write 'host: 0.0.0.0' under 'compute' to have it listen at all of "
            "them, or give one address for all",
        )


def check_environment(one: Environment) -> tuple[Problem, ...]:
    """Return everything that is wrong with an environment."""
    where = ("environments", one.name)
    found = []
    if not is_name(one.name):
        found.append(Problem(where, f"{one.name!r} can't name an environment"))
    if not one.architectures:
        found.append(
            Problem(
                (*where, "architectures"),
                f"environment {one.name!r} has no architectures; say what its nodes "
                "have, e.g. 'node: {cores: 32, memory: 128GB}'",
            )
        )
    if one.scheduler_host and one.interface:
        found.append(
            Problem(
                (*where, "interface"),
                "'scheduler_host' and 'interface' both tell the scheduler's address; "
                "give one",
            )
        )
    found.extend(_least(where, "max_jobs", one.max_jobs, 0))
    for key in ("account", "scheduler_host", "interface"):
        found.extend(_word((*where, key), repr(key), getattr(one, key)))
    found.extend(_lines(where, "directives", one.directives))
    found.extend(_lines(where, "prologue", one.prologue))
    found.extend(_options((*where, "options"), one.options))
    for name, times in Counter(each.name for each in one.architectures).items():
        if times > 1:
            found.append(Problem(where, f"{times} architectures are called {name!r}"))
    for name, times in Counter(each.name for each in one.queues).items():
        if times > 1:
            found.append(Problem(where, f"{times} queues are called {name!r}"))
    for architecture in one.architectures:
        found.extend(_architecture(where, architecture))
    for queue in one.queues:
        found.extend(_queue(where, queue))
    return tuple(found)


def _architecture(outer: tuple[str, ...], one: Architecture) -> Iterator[Problem]:
    where = (*outer, "architectures", one.name)
    yield from _word(where, "the name of an architecture", one.name)
    yield from _least(where, "cores", one.cores, 1)
    if one.memory_bytes < 1:
        yield Problem(
            (*where, "memory"),
            f"the memory of architecture {one.name!r} is {one.memory_bytes} bytes; "
            "write e.g. '128GB'",
        )
    yield from _least(where, "cost", one.cost, 0)
    yield from _least(where, "gpus", one.gpus, 0)
    yield from _least(where, "bandwidth", one.bandwidth, 0)
    yield from _lines(where, "directives", one.directives)


def _queue(outer: tuple[str, ...], one: Queue) -> Iterator[Problem]:
    where = (*outer, "queues", one.name)
    yield from _word(where, "the name of a queue", one.name)
    yield from _least(where, "max_time", one.max_time_s, 0)
    yield from _least(where, "max_nodes", one.max_nodes, 0)
    if one.is_reserved and one.is_automatic:
        yield Problem(
            (*where, "automatic"),
            f"queue {one.name!r} stands for reservations, which have names of their "
            "own, so it can't be taken automatically; leave 'automatic' out",
        )


def _compute(compute: Compute) -> Iterator[Problem]:
    where = ("compute", kind_of(compute))
    for each in fields(compute):
        value = getattr(compute, each.name)
        key = each.name.removesuffix("_bytes")
        if isinstance(value, int):
            is_count = key == "workers" and not isinstance(compute, LocalCompute)
            least = 1 if is_count or key in ("threads", "worker_cores") else 0
            yield from _least(where, key, value, least)
        if isinstance(value, Options):
            yield from _options((*where, key), value)
    if isinstance(compute, LocalCompute) and compute.host and compute.interface:
        yield Problem(
            ("compute", "interface"),
            "'host' and 'interface' both tell where the scheduler binds; give one",
        )
    if isinstance(compute, AddressCompute | GatewayCompute):
        yield from _address(where, compute.address)
    if isinstance(compute, SshCompute) and not compute.hosts:
        yield Problem((*where, "hosts"), "'hosts' names no host")
    if isinstance(compute, ClassCompute) and not re.fullmatch(
        r"\w+(\.\w+)*:\w+", compute.name
    ):
        yield Problem(
            (*where, "name"), f"{compute.name!r} is not a class; write 'module:Class'"
        )


def _address(where: tuple[str, ...], address: str) -> Iterator[Problem]:
    place = where if where[-1] == "address" else (*where, "address")
    if "://" not in address:
        yield Problem(
            place,
            f"{address!r} is not an address; write e.g. "
            + ("'tls://host:8786'" if place == where else "'https://host'"),
        )
    if re.search(r"://[^/@]*:[^/@]*@", address):
        yield Problem(place, f"the address holds a password; {_ADVICE}")


def _least(
    where: tuple[str, ...], key: str, number: float, least: int
) -> Iterator[Problem]:
    if number < least:
        yield Problem(
            (*where, key), f"{key!r} is {number:g}, but must be at least {least}"
        )


def _word(where: tuple[str, ...], what: str, text: str) -> Iterator[Problem]:
    """Yield what is wrong with a text that job scripts hold as one word."""
    if not is_line(text) or len(text.split()) > 1:
        yield Problem(
            where,
            f"{what} is {text!r}; in a job script it must be one word, without blanks "
            "and control characters",
        )


def _lines(where: tuple[str, ...], key: str, lines: Sequence[str]) -> Iterator[Problem]:
    for line in lines:
        if "\n" in line:
            yield Problem(
                (*where, key), f"{line!r} is more than one line; give a list of lines"
            )
        elif not is_line(line.replace("\t", " ")):
            yield Problem(
                (*where, key), f"{line!r} has control characters; leave them out"
            )
        for name, _ in _ASSIGNED.findall(line):
            if _is_secret(name):
                yield Problem(
                    (*where, key),
                    f"{name!r} looks like a secret, and job scripts can be read by "
                    f"others: read it from a file, e.g. '{name}=$(cat ~/.{name.lower()})'",
                )


def _options(where: tuple[str, ...], options: Options) -> Iterator[Problem]:
    for name, value in options.items:
        yield from _option((*where, name), name, value)


def _option(where: tuple[str, ...], name: str, value: object) -> Iterator[Problem]:
    if isinstance(value, Options):
        yield from _options(where, value)
    elif isinstance(value, tuple):
        for one in value:
            yield from _option(where, name, one)
    elif isinstance(value, str):
        if not is_line(value):
            yield Problem(
                where, f"{name!r} is {value!r}; leave the control characters out"
            )
        assigned = _ASSIGNED.findall(value)
        for key in {name, *(key for key, _ in assigned)}:
            if value and _is_secret(key):
                yield Problem(
                    where, f"{key!r} looks like a secret, given as it is; {_ADVICE}"
                )
        if re.search(r"://[^/@]*:[^/@]*@", value):
            yield Problem(where, f"{name!r} holds a password; {_ADVICE}")
    elif isinstance(value, Secret) and value.from_file[:1] not in ("", "/", "~", "$"):
        yield Problem(
            where,
            f"{name!r}: {value.from_file!r} depends on where it is looked up; begin with "
            "'/' or '~'",
        )


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _PLACE_OF_SECRET.search(name)
