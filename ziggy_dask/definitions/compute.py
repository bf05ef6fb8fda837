"""Compute as values: where the Dask scheduler is, and the home pool with it."""

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


EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of a machine."""


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
