"""The values that a pipeline definition is made of.

They are frozen and compare by content, so a definition read from YAML equals
the same one built in Python. `check` tells what is wrong with a whole pipeline.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from ziggy_dask.definitions.batch import (
    Remote,
)
from ziggy_dask.definitions.location import FilePattern, Location
from ziggy_dask.definitions.parameters import ParameterSet


class ProductKind(Enum):
    """How the products of a data type are stored."""

    ARRAY = "array"
    """One Dataset per unit of work; subtasks are slices along one dimension."""
    COLLECTION = "collection"
    """A group of Datasets, one per item; for items of different shapes."""
    FILE = "file"
    """Opaque files, byte for byte, one per item."""


class Priority(Enum):
    """How urgent an instance is among others."""

    HIGHEST = "highest"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    LOWEST = "lowest"

    @property
    def rank(self) -> int:
        """The priority as Dask's schedulers take it: higher comes first."""
        order = list(Priority)
        return order.index(Priority.NORMAL) - order.index(self)


class Process(Enum):
    """Which items an instance processes."""

    ALL = "all"
    """All that are there."""
    NEW = "new"
    """Those of which earlier instances have not yet made products."""


REFUSE, QUARANTINE = "refuse", "quarantine"
"""What becomes of a delivery with bad files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """A name for a regular expression that part of a path must match."""

    name: str
    """Name, as it stands in braces in locations."""
    pattern: str
    """Regular expression that the whole text must match."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataType:
    """A sort of product: where it lives and how it is stored."""

    name: str
    """Name, as used by nodes."""
    location: Location
    """Place of the product of one unit of work in the datastore."""
    kind: ProductKind = ProductKind.ARRAY
    """How products are stored."""
    subtask: str = ""
    """Dimension along which subtasks are cut; empty: one subtask has it all."""
    chunk: int = 1
    """Number of items along `subtask` in one subtask and in one stored chunk."""
    chunks: tuple[tuple[str, int], ...] = ()
    """Sizes of stored chunks along other dimensions, in elements."""
    compression: str = "zstd"
    """Compressor of stored chunks: ``zstd``, ``blosc`` or ``none``."""
    files: str = ""
    """Expression for names of files that hold this type; its groups name the item.

    Files of a file product may lie deeper: segments of a location, with ``/``
    after each, may come before the expression."""
    reader: str = ""
    """Name of the reader that turns such a file into a Dataset."""
    reader_options: tuple[tuple[str, object], ...] = ()
    """What the reader is told, by name of the option: values, or tuples of them."""
    dtypes: tuple[tuple[str, str], ...] = ()
    """Types of variables as NumPy names them, for deliveries whose files differ."""
    external: bool = False
    """Whether another pipeline, or another program, puts it into the datastore."""
    file_format: str = "netcdf"
    """How programs are given Datasets of this type: ``netcdf`` or ``zarr``."""

    @property
    def has_items(self) -> bool:
        """Whether its products are made of items, one or more per subtask."""
        return bool(self.subtask) or self.kind is not ProductKind.ARRAY

    @property
    def is_series(self) -> bool:
        """Whether its files are pieces along `subtask`, which bring their own labels.

        Their names say nothing about items: the expression has no groups.
        """
        return (
            self.kind is ProductKind.ARRAY
            and bool(self.subtask and self.files and self.reader)
            and not re.compile(self.files).groups
        )

    @property
    def deeper(self) -> Location | None:
        """Where its files lie below the product; None: in the product itself."""
        above, slash, _ = self.files.rpartition("/")
        return Location(above) if slash else None

    @property
    def full_location(self) -> Location:
        """Directory of its files."""
        above, slash, _ = self.files.rpartition("/")
        return Location(f"{self.location}/{above}") if slash else self.location

    def file_pattern(self, patterns: Mapping[str, str]) -> FilePattern:
        """Return which files of a product are of this type."""
        return FilePattern(
            deeper=self.files.rpartition("/")[0],
            name=self.files.rpartition("/")[2],
            patterns=tuple(
                (name, patterns[name])
                for name in self.full_location.placeholders
                if name in patterns
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelType:
    """A sort of instrument model, received and versioned as files."""

    name: str
    """Name, as used by nodes."""
    files: str
    """Regular expression that the name of a model file must match."""
    version_group: int = 0
    """Capture group of `files` that holds the version; 0: there is none."""
    timestamp_group: int = 0
    """Capture group of `files` that holds a time stamp; 0: there is none."""
    semantic_version: bool = False
    """Whether versions are of the form ``major.minor.patch``."""
    observed: str = ""
    """Placeholder whose value tells the time of an observation; empty: every unit of
    work gets the newest model, whatever its time."""
    valid_from_group: int = 0
    """Capture group of `files` that holds the first time at which a model applies."""
    valid_until_group: int = 0
    """Capture group of `files` that holds the last one; 0: until the next begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStep:
    """A Python function on xarray objects, called once per subtask."""

    function: str
    """Where it is: ``module:function``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaskFunctionStep:
    """A Python function that gets the whole unit of work lazily and returns it so."""

    function: str
    """Where it is: ``module:function``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReceiptStep:
    """The built-in step that takes deliveries into the datastore."""

    bad_files: str = REFUSE
    """``refuse``: one bad file keeps its delivery out. ``quarantine``: it alone stays out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStep:
    """Any program, run once per subtask in a directory that holds its inputs."""

    program: str
    """Its file name, looked for on the search path, or a path."""
    arguments: tuple[str, ...] = ()
    """What it is called with; ``{directory}`` stands for the working directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStep:
    """A Python function that takes one dict, in a working directory of its own.

    It runs in a process of its own virtual environment, as Ziggy runs it.
    """

    script: str
    """Its file, as ``package/module.py``."""
    function: str
    """Its name."""


Step = FunctionStep | DaskFunctionStep | ProgramStep | ScriptStep | DataReceiptStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A data type that a node reads."""

    data_type: str
    """Name of the data type."""
    all_subtasks: bool = False
    """Whether each subtask gets all of it instead of its own slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandler:
    """What starts a pipeline by itself: ready files in a directory, or the clock."""

    name: str
    """Name, e.g. ``downlink``."""
    directory: str = ""
    """Directory where ready files appear; may name environment variables."""
    schedule: str = ""
    """Times at which it starts, as a cron expression of five fields."""
    timezone: str = "UTC"
    """Time zone of the schedule, e.g. ``Europe/Berlin``."""
    is_enabled: bool = True
    """Whether the supervisor follows it, unless an operator says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often the failed subtasks of a task run again by themselves."""

    times: int = 0
    """So many times."""
    memory: float = 1.0
    """Factor by which the memory that a subtask gets grows each time."""
    time: float = 1.0
    """Factor by which its time limit grows each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A use of a step inside a pipeline."""

    name: str
    """Name, unique in the pipeline."""
    step: Step
    """What it runs."""
    inputs: tuple[Input, ...] = ()
    """What it reads."""
    outputs: tuple[str, ...] = ()
    """Names of the data types that it writes."""
    parameters: tuple[str, ...] = ()
    """Names of its parameter sets, besides those of the whole pipeline."""
    models: tuple[str, ...] = ()
    """Names of the model types that it uses."""
    after: tuple[str, ...] = ()
    """Nodes that must end first although it does not read their products."""
    single_subtask: bool = False
    """Whether one subtask gets all items of the unit of work."""
    max_failed_subtasks: int = 0
    """So many subtasks may fail without failing their task."""
    typical_s: float = 0.0
    """Typical time of one subtask, in seconds; 0: not known."""
    limit_s: float = 0.0
    """Longest time of one subtask, after which a program is ended, in seconds; 0: there
    is no limit."""
    memory_bytes: int = 0
    """Memory that a subtask needs, in bytes; 0: not said. Workers that say how much they
    have are given no more subtasks at once than fit."""
    cores: int = 1
    """Cores that a subtask keeps busy."""
    gpu: int = 0
    """GPUs that a subtask needs."""
    remote: Remote | None = None
    """Where its subtasks run; None: in the home pool."""
    retry: Retry = field(default_factory=lambda: Retry())
    """What happens by itself when too many subtasks fail."""
    max_workers: int = 0
    """So many of its subtasks may run at once; 0: as many as there is room for."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A directed acyclic graph of nodes, with all that they refer to."""

    name: str
    """Name of the pipeline."""
    description: str = ""
    """One line for people."""
    priority: Priority = Priority.NORMAL
    """Priority of its instances."""
    process: Process = Process.ALL
    """Which items its instances process, if they are not told otherwise."""
    placeholders: tuple[Placeholder, ...] = ()
    """Placeholders for locations."""
    data_types: tuple[DataType, ...] = ()
    """Data types that its nodes read and write."""
    model_types: tuple[ModelType, ...] = ()
    """Model types that its nodes use."""
    parameter_sets: tuple[ParameterSet, ...] = ()
    """Parameter sets with their default values."""
    parameters: tuple[str, ...] = ()
    """Names of the parameter sets that every node gets."""
    nodes: tuple[Node, ...] = ()
    """The nodes."""
    events: tuple[EventHandler, ...] = ()
    """What starts it by itself."""
    root: Path | None = field(default=None, compare=False)
    """Directory of the algorithms' code; None: whatever Python can import."""

    @cached_property
    def patterns(self) -> Mapping[str, str]:
        """Regular expressions of the placeholders by name."""
        return MappingProxyType({one.name: one.pattern for one in self.placeholders})

    @cached_property
    def types(self) -> Mapping[str, DataType]:
        """Data types by name."""
        return MappingProxyType({one.name: one for one in self.data_types})

    @cached_property
    def delivered(self) -> tuple[DataType, ...]:
        """Data types that deliveries bring: those with a reader.

        Of what a program writes, the reader is for the program's files.
        """
        programs = (
            node
            for node in self.nodes
            if isinstance(node.step, ProgramStep | ScriptStep)
        )
        made = {name for node in programs for name in node.outputs}
        return tuple(
            data_type
            for data_type in self.data_types
            if data_type.reader and data_type.name not in made
        )

    @cached_property
    def models(self) -> Mapping[str, ModelType]:
        """Model types by name."""
        return MappingProxyType({one.name: one for one in self.model_types})

    @cached_property
    def sets(self) -> Mapping[str, ParameterSet]:
        """Parameter sets by name."""
        return MappingProxyType({one.name: one for one in self.parameter_sets})

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return MappingProxyType({one.name: one for one in self.nodes})

    @cached_property
    def upstream(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the nodes that each node directly follows.

        A node follows those that write what it reads, those named in its
        `after`, and, if it reads a type that deliveries bring, data receipt.
        """
        return MappingProxyType(
            {one.name: self._upstream_of(one) for one in self.nodes}
        )

    @cached_property
    def ordered(self) -> tuple[Node, ...]:
        """All nodes, each after the nodes that it follows.

        Nodes on a cycle are left out; `check` reports them.
        """
        done: dict[str, Node] = {}
        waiting = list(self.nodes)
        while waiting:
            ready = [
                n for n in waiting if all(up in done for up in self.upstream[n.name])
            ]
            if not ready:
                break
            done.update((node.name, node) for node in ready)
            waiting = [node for node in waiting if node.name not in done]
        return tuple(done.values())

    def sets_of(self, node: Node) -> tuple[ParameterSet, ...]:
        """Return the parameter sets of a node: the pipeline's and its own."""
        names = dict.fromkeys((*self.parameters, *node.parameters))
        return tuple(self.sets[name] for name in names)

    def _repr_html_(self) -> str:
        """Return it as notebooks show it."""
        from ziggy_dask.definitions.card import pipeline_card

        return pipeline_card(self)

    def _upstream_of(self, node: Node) -> tuple[str, ...]:
        reads = {one.data_type for one in node.inputs}
        received = any(data_type.name in reads for data_type in self.delivered)
        found = list(node.after)
        for other in self.nodes:
            brings = isinstance(other.step, DataReceiptStep) and received
            if reads & set(other.outputs) or (brings and other is not node):
                found.append(other.name)
        return tuple(dict.fromkeys(name for name in found if name in self.by_name))


def text_digest(text: str) -> str:
    """Return the identity of a text: its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
