"""Remote environments of the original Ziggy as environments of a cluster file, and back."""

from __future__ import annotations

from collections.abc import Iterator

from ziggy_dask.definitions.batch import (
    Architecture,
    BatchSystem,
    Environment,
    Queue,
)
from ziggy_dask.definitions.ziggy_xml.library import (
    Library,
    ZiggyArchitecture,
    ZiggyEnvironment,
    ZiggyQueue,
)
from ziggy_dask.errors import DefinitionError, Fault

_GB = 1_000_000_000
_HOUR_S = 3600


def environments_from_ziggy(library: Library) -> tuple[Environment, ...]:
    """Return the environments of a library that have a batch system.

    Those without one are what the home pool is here. The class of queue metrics and the
    file with names of nodes have no meaning here, and are left out.
    """
    return tuple(
        Environment(
            name=one.name,
            batch=BatchSystem(one.batch_system),
            description=one.description,
            cost_unit=one.cost_unit,
            architectures=tuple(_architecture(each) for each in one.architectures),
            queues=tuple(_queue(each) for each in one.queues),
        )
        for one in library.environments.values()
        if one.batch_system != "none"
    )


def library_from_environments(environments: tuple[Environment, ...]) -> Library:
    """Return environments as definitions of the original Ziggy.

    Raises
    ------
    DefinitionError
        With everything in them that those can't say.
    """
    faults = [
        Fault(message=f"environment {one.name!r}: {text}")
        for one in environments
        for text in _unsaid(one)
    ]
    if faults:
        raise DefinitionError(faults)
    return Library(environments={one.name: _environment(one) for one in environments})


def _architecture(one: ZiggyArchitecture) -> Architecture:
    return Architecture(
        name=one.name,
        description=one.description,
        cores=one.cores,
        memory_bytes=one.ram_gigabytes * _GB,
        cost=one.cost,
        bandwidth=one.bandwidth_gbps,
        directives=(_select(one.name),),
    )


def _select(architecture: str) -> str:
    """Return how the original asks PBS for a node of an architecture."""
    return f"-l select=1:model={architecture}"


def _queue(one: ZiggyQueue) -> Queue:
    return Queue(
        name=one.name,
        description=one.description,
        max_time_s=round(one.max_hours * _HOUR_S, 6),
        max_nodes=one.max_nodes,
        is_automatic=one.is_auto and not one.is_reserved,
        is_reserved=one.is_reserved,
    )


def _unsaid(one: Environment) -> Iterator[str]:
    """Yield what the original's definitions can't say."""
    if one.batch is not BatchSystem.PBS:
        yield f"the original knows only PBS, not {one.batch.value}"
    for key, given in (
        ("directives", one.directives),
        ("prologue", one.prologue),
        ("options", one.options.items),
    ):
        if given:
            yield f"the original knows no {key!r}"
    for each in one.architectures:
        if each.memory_bytes % _GB:
            yield f"memory of {each.name!r} is not a whole number of GB"
        if each.gpus:
            yield f"the original knows no GPUs, as {each.name!r} has"
        if each.directives not in ((), (_select(each.name),)):
            yield f"the original knows no directives, as {each.name!r} has"


def _environment(one: Environment) -> ZiggyEnvironment:
    return ZiggyEnvironment(
        name=one.name,
        description=one.description,
        batch_system=one.batch.value,
        cost_unit=one.cost_unit,
        architectures=tuple(
            ZiggyArchitecture(
                name=each.name,
                description=each.description,
                cores=each.cores,
                ram_gigabytes=each.memory_bytes // _GB,
                cost=each.cost,
                bandwidth_gbps=each.bandwidth,
            )
            for each in one.architectures
        ),
        queues=tuple(
            ZiggyQueue(
                name=each.name,
                description=each.description,
                max_hours=each.max_time_s / _HOUR_S,
                max_nodes=each.max_nodes,
                is_reserved=each.is_reserved,
                is_auto=each.is_automatic or each.is_reserved,
            )
            for each in one.queues
        ),
    )
