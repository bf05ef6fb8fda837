"""Compute environments as values: where the scheduler is, and batch systems beside it.

`Compute` is where the Dask scheduler is, and the home pool with it. An `Environment` is a
batch system whose jobs are further workers of that scheduler. `Remote` says which one a
node of a pipeline uses, and how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Something that no file of the project holds: only where it is to be found."""

    from_environment: str = ""
    """Name of the environment variable that holds it, or"""
    from_file: str = ""
    """path of the file that holds it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Keyword arguments of somebody else's class, which are passed on as they are.

    Examples
    --------
    >>> options = Options.of({"n_cores": 2, "tags": {"team": "a"}})
    >>> options.names
    ('n_cores', 'tags')
    >>> options.content()
    {'n_cores': 2, 'tags': {'team': 'a'}}
    """

    items: tuple[tuple[str, object], ...] = ()
    """Names and values: scalars, tuples, `Secret` or further `Options`."""

    @classmethod
    def of(cls, content: Mapping[str, object]) -> Options:
        """Freeze a mapping of scalars, lists and mappings.

        ``{"from_environment": NAME}`` and ``{"from_file": PATH}`` become a `Secret`.
        """
        return cls(tuple((name, _frozen(value)) for name, value in content.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(name for name, _ in self.items)

    def content(self) -> dict[str, object]:
        """Return the mapping that `of` would freeze to these options."""
        return {name: _thawed(value) for name, value in self.items}


def _frozen(value: object) -> object:
    if isinstance(value, Mapping):
        if len(value) == 1 and set(value) <= {"from_environment", "from_file"}:
            return Secret(**{str(key): str(text) for key, text in value.items()})
        return Options.of(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(_frozen(one) for one in value)
    return value


def _thawed(value: object) -> object:
    if isinstance(value, Options):
        return value.content()
    if isinstance(value, Secret):
        return {
            key: text
            for key, text in (
                ("from_environment", value.from_environment),
                ("from_file", value.from_file),
            )
            if text
        }
    if isinstance(value, tuple):
        return [_thawed(one) for one in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Certificates of a scheduler that runs already; private keys stay in their files."""

    ca_file: Path
    """Certificate of the authority that signed those of scheduler and workers."""
    certificate: Path
    """Certificate of this client."""
    key: Path
    """Its private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCompute:
    """Scheduler in the supervisor, workers as processes on its machine."""

    workers: int = 0
    """Number of worker processes; 0: one per core."""
    threads: int = 1
    """Threads, and so subtasks at once, per worker."""
    memory_bytes: int = 0
    """Memory per worker, in bytes; 0: the machine's, shared evenly."""
    host: str = ""
    """Address that the scheduler binds; empty: loopback, unless jobs must reach it."""
    interface: str = ""
    """Network interface that it binds instead, e.g. ``ib0``."""
    dashboard: str = ""
    """Address of Dask's dashboard, ``host:port``; empty: loopback, any port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCompute:
    """A Dask scheduler that runs already."""

    address: str
    """Its address, e.g. ``tls://host:8786``."""
    security: Security | None = None
    """Certificates for ``tls://``; None: those of Dask's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCompute:
    """Machines that are reached by SSH: Dask's ``SSHCluster``."""

    hosts: tuple[str, ...]
    """Host names; all have workers, the first one the scheduler too."""
    workers: int = 1
    """Worker processes per host."""
    threads: int = 1
    """Threads, and so subtasks at once, per worker."""
    memory_bytes: int = 0
    """Memory per worker, in bytes; 0: the host's, shared evenly."""
    options: Options = field(default_factory=Options)
    """Further keyword arguments of ``SSHCluster``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesCompute:
    """Dask's operator on a Kubernetes cluster: ``KubeCluster``."""

    image: str
    """Image of scheduler and workers, with the packages that algorithms import."""
    namespace: str = "default"
    """Kubernetes namespace."""
    workers: int = 1
    """Number of worker pods."""
    worker_memory_bytes: int = 0
    """Memory of a worker, in bytes; 0: not said."""
    worker_cores: int = 1
    """Cores of a worker."""
    options: Options = field(default_factory=Options)
    """Further keyword arguments of ``KubeCluster``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCompute:
    """A dask-gateway server that starts clusters for its users."""

    address: str
    """Address of the gateway, e.g. ``https://gateway.example.org``."""
    cluster_options: Options = field(default_factory=Options)
    """Cluster options that this gateway offers."""
    workers: int = 1
    """Number of workers."""
    options: Options = field(default_factory=Options)
    """Further keyword arguments of ``Gateway``, e.g. ``auth``."""


class Provider(Enum):
    """A cloud that dask-cloudprovider knows, with its class there."""

    EC2 = "ec2"
    FARGATE = "fargate"
    ECS = "ecs"
    AZURE = "azure"
    GCP = "gcp"
    DIGITALOCEAN = "digitalocean"
    HETZNER = "hetzner"
    IBM = "ibm"
    OPENSTACK = "openstack"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudCompute:
    """Machines of a cloud, by dask-cloudprovider."""

    provider: Provider
    """Which cloud."""
    workers: int = 1
    """Number of workers."""
    options: Options = field(default_factory=Options)
    """Further keyword arguments of the provider's class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCompute:
    """Anything else that has the interface of Dask's clusters."""

    name: str
    """The class, as ``module:Class``."""
    workers: int = 1
    """Number of workers that it is scaled to."""
    options: Options = field(default_factory=Options)
    """Its keyword arguments."""


Compute = (
    LocalCompute
    | AddressCompute
    | SshCompute
    | KubernetesCompute
    | GatewayCompute
    | CloudCompute
    | ClassCompute
)

KINDS: Mapping[str, type[Compute]] = MappingProxyType(
    {
        "local": LocalCompute,
        "address": AddressCompute,
        "ssh": SshCompute,
        "kubernetes": KubernetesCompute,
        "gateway": GatewayCompute,
        "cloud": CloudCompute,
        "class": ClassCompute,
    }
)
"""Kinds of compute by the keys that they have in cluster files."""


def kind_of(compute: Compute) -> str:
    """Return the key that a kind of compute has in cluster files."""
    return next(key for key, kind in KINDS.items() if isinstance(compute, kind))


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
    """So many nodes may a user have at once; 0: there is no limit. Jobs are not held
    back by it: the batch system does that."""
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


class JobState(Enum):
    """What a job is doing."""

    SUBMITTING = "submitting"
    """It is being handed to the batch system."""
    QUEUED = "queued"
    """It waits for a node."""
    RUNNING = "running"
    """It has one."""
    ENDED = "ended"
    """It has ended by itself."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""
    FAILED = "failed"
    """The batch system refused it, or it ended otherwise."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self in (JobState.ENDED, JobState.CANCELLED, JobState.FAILED)
