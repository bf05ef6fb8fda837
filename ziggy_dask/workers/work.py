"""What the supervisor hands to workers, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.definitions import (
    DaskFunctionStep,
    FunctionStep,
    ParameterSet,
    ProductKind,
    Programs,
    ProgramStep,
    ScriptStep,
)
from ziggy_dask.definitions.location import FilePattern

if TYPE_CHECKING:
    from ziggy_dask.datastore import Labels, Storage
    from ziggy_dask.datastore.trees import Held


class SubtaskState(Enum):
    """How a subtask ended."""

    COMPLETE = "COMPLETE"
    """The algorithm came to its end; what it returned is written."""
    FAILED = "FAILED"
    """The algorithm failed, or what it returned does not fit."""
    BLOCKED = "BLOCKED"
    """It could not run, as a subtask before it failed. Not on record: it may run later."""


class Cause(Enum):
    """Why a subtask failed."""

    NONE = ""
    """It did not."""
    EXCEPTION = "exception"
    """The algorithm raised one."""
    BAD_OUTPUT = "bad output"
    """What the algorithm returned does not fit its data type."""
    BAD_INPUT = "bad input"
    """An input could not be read."""
    MISSING_INPUT = "missing input"
    """The datastore lacks part of an input."""
    MISSING_MODEL = "missing model"
    """A model could not be read from the datastore."""
    NOT_STORED = "not stored"
    """The output could not be written."""
    WORKER_LOST = "worker lost"
    """Its worker died, repeatedly."""
    OUT_OF_MEMORY = "out of memory"
    """It needed more memory than there was."""
    NO_PROGRAM = "no program"
    """The program is not there, or can't be started."""
    EXIT_CODE = "exit code"
    """The program ended with an exit code other than 0."""
    SIGNAL = "signal"
    """The program was ended by a signal."""
    TIME_LIMIT = "time limit"
    """The program or function took longer than it may."""
    DISK_QUOTA = "disk quota"
    """The program filled more of the disk than it may."""
    HALTED = "halted"
    """It was ended because its worker was."""


NOTHING_RETURNED = "the algorithm returned nothing"
"""Message of a subtask whose algorithm gave no output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An input of a task, as a worker finds it."""

    name: str
    """Argument name in the algorithm."""
    data_type: str
    """Name of the data type."""
    path: str
    """Product that is read."""
    kind: ProductKind
    """How it is stored."""
    dimension: str
    """Its subtask dimension; empty if there is none."""
    chunk: int
    """Items per subtask of the task that makes it."""
    is_whole: bool
    """Whether each subtask gets all of it."""
    labels: Labels | None
    """Its items; None: one whole."""
    snapshot: str | None
    """Snapshot to read it from; None: results of `task` bring it along."""
    instance: int | None
    """Instance that makes it; None: it was stored before this one began."""
    task: int | None
    """Index of the task in the same graph that makes it."""
    max_failed: int
    """So many subtasks of that task may fail."""
    pattern: FilePattern
    """Which files of a file product are of this type."""
    file_format: str
    """How programs are given Datasets: ``netcdf`` or ``zarr``."""
    held: Held | None = None
    """What of the datastore has it; None: the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """An output of a task, as a worker writes it."""

    name: str
    """Name in a dict that the algorithm returns."""
    data_type: str
    """Name of the data type."""
    path: str
    """Product that is made."""
    kind: ProductKind
    """How it is stored."""
    storage: Storage
    """Chunks and compression."""
    allocation: bytes | None
    """Fork in which it was allocated by an earlier run; None: not yet."""
    pattern: FilePattern
    """Which files are of this type."""
    reader: str
    """Reader that turns a program's file into a Dataset; empty: there is none."""
    reader_options: tuple[tuple[str, object], ...] = ()
    """Options of the reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that a task uses."""

    path: str
    """Product that holds the versions of its type."""
    stored: str
    """File name in the datastore."""
    original: str
    """File name as it was delivered."""
    snapshot: str
    """Snapshot to read it from."""
    held: Held | None = None
    """What of the datastore has it; None: the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Everything that the subtasks of a task have in common."""

    token: str
    """Identifies this task in this run of the supervisor."""
    index: int
    """Index of the task in its plan."""
    instance: int
    """Id of the instance."""
    task: int
    """Id of the task."""
    node: str
    """Name of the node."""
    unit: Mapping[str, str]
    """Placeholder values of the unit of work."""
    unit_name: str
    """Name of the unit of work."""
    step: FunctionStep | DaskFunctionStep | ProgramStep | ScriptStep
    """The algorithm."""
    limit_s: float
    """Time after which a program is ended, in seconds; 0: there is no limit."""
    root: Path | None
    """Directory of the algorithms' code."""
    code_version: str
    """Version of that code."""
    sets: tuple[ParameterSet, ...]
    """Parameter sets."""
    models: Mapping[str, ModelFile]
    """Models by model type."""
    sources: tuple[Source, ...]
    """Inputs."""
    sinks: tuple[Sink, ...]
    """Outputs."""
    event_labels: tuple[str, ...]
    """Labels of the event that started the instance."""
    labels: Labels | None
    """Items of the task; None: a single subtask has everything."""
    chunk: int
    """Items per subtask."""
    count: int
    """Number of subtasks."""
    datastore: str
    """URL of the datastore."""
    scaffold: bytes
    """Fork in which outputs are allocated."""
    programs: Programs
    """How programs are run."""

    def items(self, subtask: int) -> slice:
        """Return the positions of a subtask's items among `labels`."""
        length = len(self.labels) if self.labels is not None else 1
        return slice(subtask * self.chunk, min((subtask + 1) * self.chunk, length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one subtask ended."""

    subtask: int
    """Its number."""
    state: SubtaskState
    """How it ended."""
    outputs: tuple[str, ...] = ()
    """Paths of the products to which it gave something."""
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the items it gave, by product, where they are not its own labels."""
    cause: Cause = Cause.NONE
    """Why it failed."""
    message: str = ""
    """One line on why it failed, or why it had no output."""
    traceback: str = ""
    """Traceback of the algorithm's exception."""
    log: str = ""
    """What it printed, logged and warned; the end of it if that was much."""
    started_s: float = 0.0
    """Start, in seconds since 1970 UTC."""
    wall_s: float = 0.0
    """Time that it took, in seconds."""
    cpu_s: float = 0.0
    """Processor time of its thread, in seconds."""
    peak_memory_bytes: int = 0
    """Largest memory of the worker process while it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What a Dask key returns: outcomes of subtasks of one task, and their data."""

    index: int
    """Index of the task in its plan."""
    outcomes: tuple[Outcome, ...]
    """One per subtask."""
    change_sets: Mapping[str, bytes] = field(default_factory=dict)
    """Pickled forks that hold the data, by product."""
    host: str = ""
    """Machine that ran it."""
    worker: str = ""
    """Name of the worker that ran it."""
    surroundings: str = ""
    """Digest of what the worker brought along: Python, packages, threads."""
    surroundings_text: bytes = b""
    """All of that, in the first results of a worker process."""

    def with_output(self, path: str) -> set[int]:
        """Return the subtasks that gave something to a product."""
        return {one.subtask for one in self.outcomes if path in one.outputs}


class LostBatchResult(BatchResult):
    """A result with nothing for others; schedulers see that by the name of its type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """All of a task: what merging its results gives."""

    index: int
    """Index of the task in its plan."""
    complete: frozenset[int]
    """Subtasks that are complete."""
    outputs: Mapping[str, frozenset[int]]
    """Subtasks that gave something, by product."""
    change_sets: Mapping[str, bytes]
    """Pickled forks with all data, by product."""
    failed: int
    """Number of subtasks that failed."""
    blocked: int
    """Number of subtasks that could not run."""


class LostMerged(Merged):
    """What merging gives if no subtask has made anything."""

    __slots__ = ()


Result = BatchResult | Merged
Results = Sequence[Result]
