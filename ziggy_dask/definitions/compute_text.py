"""Compute environments as YAML: the parts of a cluster file that say where subtasks run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from ziggy_dask.definitions.batch import (
    Architecture,
    BatchSystem,
    Environment,
    Optimizer,
    Queue,
    Remote,
)
from ziggy_dask.definitions.compute import (
    KINDS,
    AddressCompute,
    ClassCompute,
    CloudCompute,
    Compute,
    GatewayCompute,
    KubernetesCompute,
    LocalCompute,
    Options,
    Provider,
    Security,
    SshCompute,
    kind_of,
)
from ziggy_dask.definitions.compute_check import check_environment
from ziggy_dask.definitions.section import Section, parse_document

_BINDING = ("host", "interface", "dashboard")


def read_compute(section: Section, base: Path) -> Compute:
    """Read ``compute``: exactly one kind; `base` is where relative paths start."""
    kinds = [kind for kind in section.names() if kind in KINDS]
    if len(kinds) > 1:
        section.fault(kinds[1], f"'compute' has {' and '.join(kinds)}; give one")
    for name in section.names():
        if name in {one.value for one in BatchSystem}:
            section.fault(
                name,
                f"{name!r} is a batch system: write it under 'environments', as "
                f"'NAME: {{batch: {name}, ...}}'",
            )
    kind = kinds[0] if kinds else "local"
    if kind == "local":
        compute = _local(section)
    else:
        is_hosted = kind != "address"
        compute = _hosted(section, kind) if is_hosted else _address(section, base)
        for key in _BINDING:
            if key in section:
                section.fault(key, f"{key!r} is for 'compute: local' alone")
    section.done()
    return compute


def read_environments(top: Section) -> tuple[Environment, ...]:
    """Read ``environments``: batch systems by name."""
    return tuple(_environment(*one) for one in top.sections("environments"))


def environments_from_yaml(
    text: str, file: str = "environments"
) -> tuple[Environment, ...]:
    """Read and check text that `environments_to_yaml` wrote.

    Raises
    ------
    DefinitionError
        With everything that is wrong, each with its line.
    """
    document, top = parse_document(text, file)
    environments = read_environments(top)
    top.done()
    for one in environments:
        for problem in check_environment(one):
            document.take(problem)
    document.raise_faults()
    return environments


def environments_to_yaml(environments: Sequence[Environment]) -> str:
    """Return environments as they stand in a cluster file; defaults are left out."""
    content = {
        "environments": {one.name: _environment_content(one) for one in environments}
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def compute_to_yaml(compute: Compute) -> str:
    """Return ``compute`` as it stands in a cluster file; defaults are left out."""
    content = {"compute": _compute_content(compute)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def read_remote(section: Section) -> Remote:
    """Read what a node says of where its subtasks run."""
    section.refuse_zero("max_nodes", "subtasks_per_core")
    remote = Remote(
        environment=section.text("environment"),
        optimizer=section.choice("optimizer", Optimizer.COST),
        architecture=section.text("architecture", ""),
        queue=section.text("queue", ""),
        reserved_queue=section.text("reserved_queue", ""),
        max_nodes=section.integer("max_nodes", 0),
        subtasks_per_core=section.number("subtasks_per_core", 0.0),
        min_subtasks=section.integer("min_subtasks", -1),
        one_subtask_per_node=section.flag("one_subtask_per_node"),
        scale_time_by_cores=section.flag("scale_time_by_cores", True),
    )
    section.done()
    return remote


def remote_content(one: Remote) -> dict[str, object]:
    """Return what `read_remote` reads; defaults are left out."""
    return _content(one)


def _environment(name: str, section: Section) -> Environment:
    section.refuse_zero("max_jobs")
    environment = Environment(
        name=name,
        batch=section.choice("batch", BatchSystem.SLURM, needed=True),
        architectures=tuple(
            _architecture(*one) for one in section.sections("architectures")
        ),
        queues=tuple(_queue(*one) for one in section.sections("queues")),
        description=section.text("description", ""),
        cost_unit=section.text("cost_unit", ""),
        account=section.text("account", ""),
        directives=section.texts("directives"),
        prologue=section.texts("prologue"),
        options=_options(section, "options"),
        scheduler_host=section.text("scheduler_host", ""),
        interface=section.text("interface", ""),
        max_jobs=section.integer("max_jobs", 0),
    )
    section.done()
    return environment


def _architecture(name: str, section: Section) -> Architecture:
    architecture = Architecture(
        name=name,
        cores=section.integer("cores"),
        memory_bytes=section.size("memory") if "memory" in section else 0,
        description=section.text("description", ""),
        cost=section.number("cost", 0.0),
        gpus=section.integer("gpus", 0),
        bandwidth=section.number("bandwidth", 0.0),
        directives=section.texts("directives"),
    )
    section.done()
    return architecture


def _queue(name: str, section: Section) -> Queue:
    section.refuse_zero("max_time", "max_nodes")
    is_reserved = section.flag("reserved")
    queue = Queue(
        name=name,
        description=section.text("description", ""),
        max_time_s=section.duration("max_time"),
        max_nodes=section.integer("max_nodes", 0),
        is_automatic=section.flag("automatic", not is_reserved),
        is_reserved=is_reserved,
    )
    section.done()
    return queue


def _options(section: Section, key: str) -> Options:
    return Options.of(section.tree(key))


def _local(section: Section) -> Compute:
    inner = section.section("local")
    inner.refuse_zero("workers", "memory")
    compute = LocalCompute(
        workers=inner.integer("workers", 0),
        threads=inner.integer("threads", 1),
        memory_bytes=inner.size("memory"),
        **{key: section.text(key, "") for key in _BINDING},
    )
    inner.done()
    return compute


def _address(section: Section, base: Path) -> Compute:
    security = section.section("security")

    def path(key: str) -> Path:
        text = os.path.expandvars(security.text(key))
        return Path(os.path.normpath(base / Path(text).expanduser()))

    compute = AddressCompute(address=section.text("address"))
    if "security" in section:
        compute = replace(
            compute,
            security=Security(
                ca_file=path("ca_file"),
                certificate=path("certificate"),
                key=path("key"),
            ),
        )
    security.done()
    return compute


def _hosted(section: Section, kind: str) -> Compute:
    inner = section.section(kind)
    compute = _HOSTED[kind](
        inner,
        {
            "workers": inner.integer("workers", 1),
            "options": _options(inner, "options"),
        },
    )
    inner.done()
    return compute


_HOSTED: Mapping[str, Callable[[Section, Mapping[str, Any]], Compute]] = {
    "ssh": lambda inner, shared: SshCompute(
        hosts=inner.texts("hosts"),
        threads=inner.integer("threads", 1),
        memory_bytes=inner.size("memory"),
        **shared,
    ),
    "kubernetes": lambda inner, shared: KubernetesCompute(
        image=inner.text("image"),
        namespace=inner.text("namespace", "default"),
        worker_memory_bytes=inner.size("worker_memory"),
        worker_cores=inner.integer("worker_cores", 1),
        **shared,
    ),
    "gateway": lambda inner, shared: GatewayCompute(
        address=inner.text("address"),
        cluster_options=_options(inner, "cluster_options"),
        **shared,
    ),
    "cloud": lambda inner, shared: CloudCompute(
        provider=inner.choice("provider", Provider.EC2, needed=True), **shared
    ),
    "class": lambda inner, shared: ClassCompute(name=inner.text("name"), **shared),
}
"""Reads what each kind says beside the number of workers and the options."""

_WORDS = {"is_automatic": "automatic", "is_reserved": "reserved"}


def _compute_content(compute: Compute) -> dict[str, object]:
    kind = kind_of(compute)
    content = _content(compute)
    outside = _BINDING if kind == "local" else ("security",)
    beside = {key: content.pop(key) for key in outside if key in content}
    return {kind: content.pop("address") if kind == "address" else content, **beside}


def _environment_content(one: Environment) -> dict[str, object]:
    content = _content(one)
    del content["name"]
    for key, named in (("architectures", one.architectures), ("queues", one.queues)):
        content.pop(key, None)
        if named:
            content[key] = {each.name: _named_content(each) for each in named}
    return content


def _named_content(one: Architecture | Queue) -> dict[str, object]:
    content = _content(one)
    del content["name"]
    if isinstance(one, Queue) and one.is_reserved:
        content.pop("automatic", None)
    return content


def _content(value: Any) -> dict[str, object]:
    """Return the fields of a value under their keys in YAML, without the defaults."""
    content = {}
    for each in fields(value):
        given = getattr(value, each.name)
        if given == each.default or given in ((), Options()):
            continue
        key = each.name.removesuffix("_bytes").removesuffix("_s")
        content[_WORDS.get(key, key)] = _plain(given)
    return content


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Options):
        return value.content()
    if isinstance(value, Security):
        return _content(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path) else value
