"""Job scripts: what is submitted to a batch system, by dask-jobqueue's own job classes.

A job is one Dask worker with its nanny on one node. `check_jobs` tells what is wrong with an
environment's options and directives before anything is submitted.
"""

from __future__ import annotations

import inspect
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ziggy_dask.compute.formatting import clock
from ziggy_dask.definitions import (
    Architecture,
    BatchSystem,
    Environment,
    Options,
    Problem,
    Secret,
)
from ziggy_dask.definitions.access import Access
from ziggy_dask.definitions.names import is_line, suggestion
from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from dask_jobqueue.core import Job
    from distributed import Security

CLASSES: Mapping[BatchSystem, str] = {
    BatchSystem.SLURM: "slurm:SLURMJob",
    BatchSystem.PBS: "pbs:PBSJob",
    BatchSystem.SGE: "sge:SGEJob",
    BatchSystem.LSF: "lsf:LSFJob",
    BatchSystem.HTCONDOR: "htcondor:HTCondorJob",
    BatchSystem.OAR: "oar:OARJob",
    BatchSystem.MOAB: "moab:MoabJob",
}
"""Modules and classes of dask-jobqueue."""

_ACCOUNTS = {
    BatchSystem.SLURM: "account",
    BatchSystem.PBS: "account",
    BatchSystem.MOAB: "account",
    BatchSystem.SGE: "project",
    BatchSystem.LSF: "project",
    BatchSystem.OAR: "project",
}

_OURS = {
    "account": "'account' beside 'batch'",
    "project": "'account' beside 'batch'",
    "queue": "'queues' beside 'batch'",
    "cores": "'cores' of the architecture",
    "memory": "'memory' of the architecture",
    "walltime": "'max_time' of the queue; wall times are estimated",
    "job_extra_directives": "'directives' beside 'batch'",
    "job_extra": "'directives' beside 'batch'",
    "job_script_prologue": "'prologue' beside 'batch'",
    "env_extra": "'prologue' beside 'batch'",
    "extra": "'worker_extra_args'",
    "header_skip": "'job_directives_skip'",
    **dict.fromkeys(
        ("scheduler", "name", "job_name", "nanny", "protocol", "security"),
        "nothing: it is given by each run",
    ),
}
"""Arguments of job classes that are said elsewhere, and where."""

_INSTEAD = {
    BatchSystem.PBS: {"select=": "select=", "nodes=": "select="},
    BatchSystem.MOAB: {"select=": "select=", "nodes=": "select="},
    BatchSystem.SLURM: {
        "--mem": "--mem=",
        "--cpus-per-task": "--cpus-per-task=",
        "--ntasks": "-n 1",
    },
    BatchSystem.OAR: {"/nodes=": "/nodes="},
}
"""With such a directive, the line that dask-jobqueue would write itself is left out."""

_RESTARTS = {BatchSystem.SLURM: "${SLURM_RESTART_COUNT:+.$SLURM_RESTART_COUNT}"}
"""What makes the name of a worker new when its job begins again: shell, in the script."""
_NO_RERUN: Mapping[BatchSystem, tuple[str, ...]] = {
    BatchSystem.PBS: ("-r n",),
    BatchSystem.SGE: ("-r n",),
    BatchSystem.LSF: ("-rn",),
    BatchSystem.HTCONDOR: ("periodic_remove = JobStatus == 1 && NumJobStarts > 0",),
}
"""Directives by which a job never begins again: another one is submitted instead."""

_PLAIN = re.compile(r"[\w@%+=:,./~${}-]+", re.ASCII)
_MEANT = re.compile(r"[\\\"`]|\$(?!\w|\{\w+\})")
"""What would mean something to a shell between double quotes, but for variables."""

_UNSEEN = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
"""Workers show nothing to other machines; Dask's dashboard shows what they do."""
STEADY = "ziggy_dask.compute.monotonic_clock"
"""What workers load first, so that they go on when somebody sets the clock of their node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job: a worker on a node."""

    environment: Environment
    """Where."""
    architecture: Architecture
    """On what sort of node."""
    scheduler: str
    """Address of the scheduler, as seen from that node."""
    name: str
    """Name of the job, and of its worker."""
    queue: str = ""
    """Queue; empty: the site's default."""
    wall_s: float = 0.0
    """Wall time, in seconds; 0: the queue's default."""
    resources: tuple[tuple[str, float], ...] = ()
    """Dask resources that the worker announces."""
    processes: int = 1
    """Worker processes; they share the node's cores and memory evenly."""
    log_directory: str = ""
    """Directory for what the job prints, on a disk that the nodes see."""
    local_directory: str = ""
    """Directory of the worker's own files on its node."""
    python: str = sys.executable
    """Python that runs the worker."""
    access: Access = Access.UMASK
    """Whom its files are for."""


def job_of(spec: JobSpec, security: Security | None = None) -> Job:
    """Return the job as dask-jobqueue submits it; nothing is submitted.

    Parameters
    ----------
    security
        Its certificates must be in files: their paths are in the script.
    """
    batch = spec.environment.batch
    for what, text in {
        "queue": spec.queue,
        "account": spec.environment.account,
        "log directory": spec.log_directory,
        "name": spec.name,
    }.items():
        if not is_line(text) or len(text.split()) > 1:
            raise ClusterError(
                f"the {what} of a job is {text!r}; a job script of {batch.value} can't "
                "name what has blanks or control characters"
            )
    arguments = _arguments(spec)
    arguments["worker_extra_args"] += _paths(security)
    return _job_class(batch)(**arguments)


def job_script(spec: JobSpec, security: Security | None = None) -> str:
    """Return the text that is submitted."""
    return str(job_of(spec, security).job_script())


def check_jobs(one: Environment) -> tuple[Problem, ...]:
    """Return everything that dask-jobqueue would not take."""
    where = ("environments", one.name, "options")
    known = _parameters(one.batch)
    found = []
    for name, value in one.options.items:
        if name in _OURS:
            found.append(
                Problem((*where, name), f"instead of {name!r} write {_OURS[name]}")
            )
        elif name not in known:
            found.append(
                Problem(
                    (*where, name),
                    f"jobs of {one.batch.value} have no option {name!r}"
                    + suggestion(name, known - set(_OURS)),
                )
            )
        if _has_secret(value):
            found.append(
                Problem(
                    (*where, name),
                    "job scripts can be read by others, so they hold no secrets; read "
                    "it in 'prologue', from a file",
                )
            )
    if one.batch is BatchSystem.HTCONDOR:
        for architecture in one.architectures:
            for line in (*one.directives, *architecture.directives):
                if "=" not in line:
                    found.append(
                        Problem(
                            (*where[:-1], "directives"),
                            f"{line!r} is not a line of HTCondor; write 'name = value'",
                        )
                    )
    return tuple(found) or tuple(_refused(one))


def _refused(one: Environment) -> Iterator[Problem]:
    """Yield what the job class itself complains of, e.g. a value of the wrong kind."""
    sound = (each for each in one.architectures if each.memory_bytes > 0)
    for architecture in list(sound)[:1]:
        try:
            job_script(example_of(one, architecture))
        # What somebody else's class raises for a wrong value is not known here.
        except Exception as error:  # noqa: BLE001
            yield Problem(
                ("environments", one.name, "options"),
                f"{CLASSES[one.batch]} of dask-jobqueue does not take the options: "
                f"{type(error).__name__}: {error}",
            )


def example_of(environment: Environment, architecture: Architecture) -> JobSpec:
    """Return a job as a run would submit it, in the queue with the lowest limit."""
    queues = sorted(
        (one for one in environment.queues if one.is_automatic),
        key=lambda one: one.max_time_s or float("inf"),
    )
    return JobSpec(
        environment=environment,
        architecture=architecture,
        scheduler=f"tls://{environment.scheduler_host or 'SCHEDULER'}:8786",
        name="ziggy-1-0",
        queue=queues[0].name if queues else "",
        wall_s=queues[0].max_time_s if queues else 0.0,
    )


def import_job_classes() -> None:
    """Import dask-jobqueue, for use in other threads; to be called in the main one.

    It takes over the handling of interrupts when it is imported, which is given back.
    """
    before = signal.getsignal(signal.SIGINT)
    import_module("dask_jobqueue")
    signal.signal(signal.SIGINT, before)


def _job_class(batch: BatchSystem) -> type[Job]:
    module, _, name = CLASSES[batch].partition(":")
    found: type[Job] = getattr(import_module(f"dask_jobqueue.{module}"), name)
    return found


def _parameters(batch: BatchSystem) -> set[str]:
    """Return the keyword arguments that a job class takes."""
    names: set[str] = set()
    for each in _job_class(batch).__mro__:
        if each.__module__.startswith("dask_jobqueue") and "__init__" in vars(each):
            names.update(inspect.signature(vars(each)["__init__"]).parameters)
    return names - {"self", "base_class_kwargs", "kwargs"}


def _arguments(spec: JobSpec) -> dict[str, Any]:
    environment, batch = spec.environment, spec.environment.batch
    directives = _with_rerun(
        batch, (*environment.directives, *spec.architecture.directives)
    )
    options = environment.options.content()
    arguments: dict[str, Any] = {
        "scheduler": shlex.quote(spec.scheduler),
        "name": spec.name + _RESTARTS.get(batch, ""),
        "job_name": spec.name,
        "cores": spec.architecture.cores,
        "memory": f"{spec.architecture.memory_bytes}B",
        "processes": spec.processes,
        "nanny": True,
        "python": shlex.quote(spec.python),
        "job_script_prologue": [*_umask(spec.access), *environment.prologue],
        "job_extra_directives": list(directives),
        "job_directives_skip": _left_out(batch, directives),
        "log_directory": spec.log_directory or None,
        "local_directory": shlex.quote(spec.local_directory) or None,
        **_of_batch(spec, directives),
        **options,
    }
    for name in ("python", "local_directory", "worker_command"):
        if isinstance(text := options.get(name), str):
            arguments[name] = in_shell(text)
    given = arguments.get("worker_extra_args", ())
    words = [word for text in given for word in shlex.split(str(text))]
    extra = [*_UNSEEN, "--preload", STEADY, *map(in_shell, words)]
    if spec.resources:
        texts = [f"{name}={number:.15g}" for name, number in spec.resources]
        extra += ["--resources", shlex.quote(",".join(texts))]
    return arguments | {"worker_extra_args": extra}


def _paths(security: Security | None) -> list[str]:
    """Return options that tell a worker where the files of its certificate are."""
    if security is None:
        return []
    files = security.get_tls_config_for_role("worker")
    return [
        word
        for key, path in files.items()
        if key != "ciphers"
        for word in (f"--tls-{key.replace('_', '-')}", shlex.quote(str(path)))
    ]


def in_shell(text: str) -> str:
    r"""Return a word of a shell's line, in which variables alone mean something.

    Examples
    --------
    >>> in_shell("$TMPDIR/work"), in_shell("a b $(rm x) $HOME")
    ('$TMPDIR/work', '"a b \\$(rm x) $HOME"')
    """
    if _PLAIN.fullmatch(text):
        return text
    return '"' + _MEANT.sub(r"\\\g<0>", text) + '"'


def _umask(access: Access) -> list[str]:
    return [] if access is Access.UMASK else [f"umask {access.mask(0):04o}"]


def _with_rerun(batch: BatchSystem, directives: Sequence[str]) -> tuple[str, ...]:
    """Add what keeps a job from beginning again, unless directives say something of it."""
    ours = _NO_RERUN.get(batch, ())
    words = {line.split("=")[0].split()[0] for line in ours}
    said = {line.split("=")[0].split()[0] for line in directives if line.split()}
    return tuple(directives) if words & said else (*directives, *ours)


def _of_batch(spec: JobSpec, directives: Sequence[str]) -> dict[str, Any]:
    """Return what batch systems call by different names."""
    batch, account = spec.environment.batch, spec.environment.account
    if batch is BatchSystem.HTCONDOR:
        return {"disk": "1GB", "job_extra_directives": _condor_lines(spec, directives)}
    arguments: dict[str, Any] = {"queue": spec.queue or None}
    if account:
        arguments[_ACCOUNTS[batch]] = account
    if spec.wall_s:
        arguments["walltime"] = clock(
            spec.wall_s, with_seconds=batch is not BatchSystem.LSF
        )
    if batch is BatchSystem.OAR:
        # Without a name of the property dask-jobqueue warns of every job.
        arguments["memory_per_core_property_name"] = "not_applicable"
    return arguments


def _condor_lines(spec: JobSpec, directives: Sequence[str]) -> dict[str, str]:
    lines = {}
    if spec.environment.account:
        lines["accounting_group"] = spec.environment.account
    if spec.wall_s:
        lines["allowed_job_duration"] = str(round(spec.wall_s))
    for one in directives:
        name, _, value = one.partition("=")
        lines[name.strip()] = value.strip()
    return lines


def _left_out(batch: BatchSystem, directives: Sequence[str]) -> list[str]:
    instead = _INSTEAD.get(batch, {})
    return [
        own
        for word, own in instead.items()
        if any(word in directive for directive in directives)
    ]


def _has_secret(value: object) -> bool:
    if isinstance(value, Options):
        return any(_has_secret(one) for _, one in value.items)
    if isinstance(value, tuple):
        return any(_has_secret(one) for one in value)
    return isinstance(value, Secret)
