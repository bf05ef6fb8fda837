"""What definition files of the original Ziggy say, as values, before it means anything.

Texts are as they stand in the files: expressions are Java's, locations are Ziggy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ziggy_dask.definitions.parameters import ParameterSet


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyStep:
    """An algorithm."""

    name: str
    file: str = ""
    description: str = ""
    classes: tuple[tuple[str, str], ...] = ()
    """Attributes that name Java classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyNode:
    """A use of a step in a pipeline."""

    name: str
    children: tuple[str, ...] = ()
    single_subtask: bool = False
    max_workers: int = 0
    heap_gigabytes: int = 0
    parameter_sets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyPipeline:
    """A tree of nodes."""

    name: str
    description: str
    roots: tuple[str, ...]
    priority: str = ""
    parameter_sets: tuple[str, ...] = ()
    nodes: tuple[ZiggyNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggySet:
    """A parameter set, or the parameters of one that are to change."""

    content: ParameterSet
    is_partial: bool = False
    texts: tuple[tuple[str, str], ...] = ()
    """If it is partial: values by parameter name, as they were written."""

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.content.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyFileType:
    """A data file type."""

    name: str
    location: str
    files: str
    all_subtasks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyModelType:
    """A model type."""

    name: str
    files: str
    version_group: int = -1
    timestamp_group: int = -1
    semantic_version: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyRegexp:
    """A name for an expression that directories match."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyDirectory:
    """A directory of the datastore, or all that match an expression."""

    path: str
    """Names from the top."""
    is_regexp: bool = False

    @property
    def name(self) -> str:
        """Its path, which tells it from others."""
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyEvent:
    """An event handler."""

    name: str
    pipeline: str
    directory: str
    is_enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyArchitecture:
    """A kind of machine."""

    name: str
    description: str
    cores: int
    ram_gigabytes: int
    cost: float
    bandwidth_gbps: float = 0.0
    node_names_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyQueue:
    """A batch queue."""

    name: str
    description: str
    max_hours: float = 0.0
    """0: there is no limit."""
    max_nodes: int = 0
    """0: there is no limit."""
    is_reserved: bool = False
    is_auto: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiggyEnvironment:
    """A remote environment."""

    name: str
    description: str
    batch_system: str
    cost_unit: str
    metrics_class: str = ""
    architectures: tuple[ZiggyArchitecture, ...] = ()
    queues: tuple[ZiggyQueue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """All definitions of some files, by name."""

    steps: Mapping[str, ZiggyStep] = field(default_factory=dict)
    pipelines: Mapping[str, ZiggyPipeline] = field(default_factory=dict)
    parameter_sets: Mapping[str, ZiggySet] = field(default_factory=dict)
    file_types: Mapping[str, ZiggyFileType] = field(default_factory=dict)
    model_types: Mapping[str, ZiggyModelType] = field(default_factory=dict)
    regexps: Mapping[str, ZiggyRegexp] = field(default_factory=dict)
    directories: Mapping[str, ZiggyDirectory] = field(default_factory=dict)
    events: Mapping[str, ZiggyEvent] = field(default_factory=dict)
    environments: Mapping[str, ZiggyEnvironment] = field(default_factory=dict)

    def with_all_of(self, other: Library) -> Library:
        """Return these definitions and others, which replace those of their names."""
        merged: dict[str, Any] = {
            one.name: {**getattr(self, one.name), **getattr(other, one.name)}
            for one in fields(self)
        }
        return replace(self, **merged)
