"""Batch systems as values: their jobs are further workers of the supervisor's scheduler.

An `Environment` is a batch system with its sorts of nodes and its queues. `Remote` says which
one a node of a pipeline uses, and how.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ziggy_dask.definitions.compute import Options


class BatchSystem(Enum):
    """A batch system whose job scripts dask-jobqueue writes."""

    SLURM = "slurm"
    PBS = "pbs"
    SGE = "sge"
    LSF = "lsf"
    HTCONDOR = "htcondor"
    OAR = "oar"
    MOAB = "moab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A sort of node that a batch system has."""

    name: str
    """Name, as the batch system knows it."""
    cores: int
    """Cores of one node."""
    memory_bytes: int
    """Memory of one node, in bytes."""
    description: str = ""
    """One line for people."""
    cost: float = 0.0
    """Price of one node for one hour, in the environment's cost units."""
    gpus: int = 0
    """GPUs of one node."""
    bandwidth: float = 0.0
    """Bandwidth of its network, in Gb/s; 0: not known."""
    directives: tuple[str, ...] = ()
    """Lines of job scripts that ask for such a node, e.g. ``--constraint=rome``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue of a batch system (SLURM: partition)."""

    name: str
    """Name, as the batch system knows it."""
    description: str = ""
    """One line for people."""
    max_time_s: float = 0.0
    """Longest wall time of a job, in seconds; 0: there is no limit."""
    max_nodes: int = 0
    """Most nodes that a user may have there at once; 0: there is no limit."""
    is_automatic: bool = True
    """Whether it is taken without being named."""
    is_reserved: bool = False
    """Whether it stands for reservations, which have names of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A batch system: a place where nodes of a pipeline may send their subtasks."""

    name: str
    """Name, by which nodes of pipelines refer to it."""
    batch: BatchSystem
    """Which batch system."""
    architectures: tuple[Architecture, ...]
    """Sorts of nodes; at least one."""
    queues: tuple[Queue, ...] = ()
    """Queues; empty: the site's default queue, of which no limit is known."""
    description: str = ""
    """One line for people."""
    cost_unit: str = ""
    """What costs are counted in, e.g. ``SBU``."""
    account: str = ""
    """Account, project or group that is charged."""
    directives: tuple[str, ...] = ()
    """Further lines of every job script, without the leading ``#SBATCH`` or the like."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts, e.g. ``module load python``."""
    options: Options = field(default_factory=Options)
    """Further keyword arguments of dask-jobqueue's job class."""
    scheduler_host: str = ""
    """Host name or address by which jobs reach the scheduler; empty: this host's name."""
    interface: str = ""
    """Network interface of that address instead, e.g. ``ib0``."""
    max_jobs: int = 0
    """So many jobs may be queued or running at once; 0: there is no limit."""

    def architecture(self, name: str) -> Architecture | None:
        """Return the architecture with a name, if there is one."""
        return next((one for one in self.architectures if one.name == name), None)

    def queue(self, name: str) -> Queue | None:
        """Return the queue with a name, if there is one."""
        return next((one for one in self.queues if one.name == name), None)


class Optimizer(Enum):
    """What decides between architectures that are all large enough."""

    COST = "cost"
    """The least estimated cost."""
    CORES = "cores"
    """The most cores that memory allows to be busy."""
    QUEUE_DEPTH = "queue_depth"
    """The queue that would run empty first."""
    QUEUE_TIME = "queue_time"
    """The least time in the queue and running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where the subtasks of a node run, and how many nodes they get."""

    environment: str
    """Name of the environment in the cluster file."""
    optimizer: Optimizer = Optimizer.COST
    """What decides between architectures."""
    architecture: str = ""
    """Architecture to use; empty: the optimizer chooses."""
    queue: str = ""
    """Queue to use; empty: the one with the lowest limit that suffices."""
    reserved_queue: str = ""
    """Name of a reservation's queue to use."""
    max_nodes: int = 0
    """So many nodes may one task have; 0: there is no limit."""
    subtasks_per_core: float = 0.0
    """So many subtasks run one after another on a core, if that is more than time
    allows anyway; 0: as many as a subtask's longest time has room for."""
    min_subtasks: int = -1
    """With fewer subtasks left than that, they run in the home pool."""
    one_subtask_per_node: bool = False
    """Whether a subtask has a node for itself."""
    scale_time_by_cores: bool = True
    """Whether a subtask that has a node for itself is faster by the number of cores."""
