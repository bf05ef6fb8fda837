"""Replies to submissions: what a batch system means when it does not take a job.

A reply passes (try again), names a limit (continue with the jobs that exist), is permanent
(nothing but a change of a file helps) or is unknown. One table per batch system says which;
the words are those of the systems' sources and of real sites.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ziggy_dask.definitions import BatchSystem


class Meaning(Enum):
    """What follows from a reply."""

    PASSING = "passing"
    """The same submission may succeed later."""
    LIMIT = "limit"
    """It may succeed when fewer jobs are queued or running."""
    PERMANENT = "permanent"
    """It never succeeds as it is."""
    UNKNOWN = "unknown"
    """No table has these words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a batch system said instead of a job number."""

    meaning: Meaning
    """What follows from it."""
    words: str
    """Its own words, as one line."""
    key: str = ""
    """Key of the cluster file, or of the node, that asked for what was refused."""


_ACCOUNT = "'account' of the environment"
_QUEUE = "'queues' of the environment, or 'remote: queue' of the node"
_TIME = "'max_time' of the queue, or 'time' of the node"
_NODE = "'cores', 'memory' and 'directives' of the architecture"
_DIRECTIVES = "'directives' of the environment or of the architecture"
_HOST = "the machine: submit from one that the batch system accepts"

Rows = tuple[tuple[Meaning, str, str], ...]
"""Meaning, regular expression (without regard to case), key to fix; the first match counts."""

_EVERYWHERE: Rows = (
    (
        Meaning.PASSING,
        (
            r"timed? ?out|no answer|connection (refused|reset|closed)|broken pipe|"
            r"network is unreachable|no route to host|temporarily unavailable|"
            r"temporary failure|try again|too many open files|cannot allocate memory|"
            r"can(no|')t fork|stale (nfs )?file handle|input/output error|text file busy|"
            r"name or service not known|bad gateway|service unavailable"
        ),
        "",
    ),
    (
        Meaning.PERMANENT,
        r"command not found|no such file or directory: '?(sbatch|qsub|bsub|condor_submit)",
        "PATH: the batch system's commands must be found by it",
    ),
)
"""Replies of the operating system, of SSH and of wrappers around the commands."""

_SLURM: Rows = (
    (
        Meaning.LIMIT,
        (
            r"(Assoc|QOS)(Max|Grp)Submit\w*|QOSMax\w*Submit\w*|maximum number of jobs|"
            r"job submit limit(?!,)|submit(ted)? jobs? limit"
        ),
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PERMANENT,
        (
            r"\w*WallDurationPerJob\w*|\w*Wall(Limit)?PerJob|time limit is invalid|"
            r"invalid time(-min)? (specification|specified)|\w+GrpWallLimit"
        ),
        _TIME,
    ),
    (
        Meaning.PERMANENT,
        r"(Assoc|QOS)(Max|Min|Grp)(Cpu|Node|Mem|GRES|TRES|Billing|Bb|License)\w*",
        _NODE,
    ),
    (
        Meaning.LIMIT,
        r"violates accounting(/QOS)? policy",
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PASSING,
        (
            r"unable to contact slurm controller|controller is in standby|standby mode|"
            r"socket timed out|unable to (establish|connect)|communication .* failure|"
            r"message (send|receive) failure|zero (length|bytes)|failed to send entire|"
            r"temporarily unable to accept job|unable to create job record, try again|"
            r"protocol authentication error|munge|error writing script|"
            r"required partition not available|partition configuration not available now|"
            r"required node not available|partition in down state|maintenance|"
            r"credential (expired|replayed)|error generating job credential|"
            r"slurm_persist_conn|can't find an address|unexpected missing socket|"
            r"requested nodes are busy|database"
        ),
        "",
    ),
    (
        Meaning.PERMANENT,
        r"invalid account|account/partition combination|breached requested qos",
        _ACCOUNT,
    ),
    (
        Meaning.PERMANENT,
        r"invalid partition|no partition specified|group not permitted to use this part",
        _QUEUE,
    ),
    (
        Meaning.PERMANENT,
        (
            r"node configuration is not available|more processors requested|"
            r"node count specification|cpu count specification|memory (required|spec)|"
            r"nodes not in this partition|invalid feature|invalid generic resource|gres|"
            r"trackable resource|more tasks than available|job size specification"
        ),
        _NODE,
    ),
    (
        Meaning.PERMANENT,
        (
            r"invalid (qos|license|wckey|reservation|--nice|job array|mcs_label)|"
            r"(un|not )recogni[sz]ed option|invalid option|reservation (is|not)|burst buffer|"
            r"access/permission denied|invalid user id|invalid group id|user not found|"
            r"system submissions disabled|operation not supported|incompatible versions|"
            r"access denied to requested reservation|only batch jobs|dependency problem|"
            r"script.*(empty|#!)|job_submit|unable to resolve path"
        ),
        _DIRECTIVES,
    ),
)
"""``src/common/slurm_errno.c`` and the reasons of ``slurm_job_state_reason_string``."""

_PBS: Rows = (
    (
        Meaning.LIMIT,
        (
            r"maximum number of jobs|would exceed (queue \S+|complex)'s per-|"
            r"would exceed .* limit on (jobs|resource)|job exceeds (queue|server) limit.*job"
        ),
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PASSING,
        (
            r"cannot connect to (specified )?(pbs )?server|connection table full|"
            r"no free connections|server shutting down|pbs server internal error|"
            r"resource temporarily unavailable|resource busy|queue is not enabled|"
            r"communication failure|batch protocol error|system error|"
            r"failed to save job|expired credential|munge|errno=(111|110|113|15010|15031)"
        ),
        "",
    ),
    (
        Meaning.PERMANENT,
        r"unknown queue|access to queue is denied|no default queue",
        _QUEUE,
    ),
    (
        Meaning.PERMANENT,
        r"invalid account|group(id)? .*not|project|allocation",
        _ACCOUNT,
    ),
    (Meaning.PERMANENT, r"walltime", _TIME),
    (
        Meaning.PERMANENT,
        (
            r"violates queue and/or server resource limits|resource limit exceeds|"
            r"unknown resource|select|illegal attribute or resource value|node"
        ),
        _NODE,
    ),
    (Meaning.PERMANENT, r"access from host not allowed|bad uid|unauthorized", _HOST),
    (
        Meaning.PERMANENT,
        r"illegal|invalid|usage:|undefined attribute|rejected|script|hook|too long",
        _DIRECTIVES,
    ),
)
"""``src/lib/Liblog/pbs_messages.c`` of OpenPBS."""

_SGE: Rows = (
    (
        Meaning.LIMIT,
        (
            r"only \d+ jobs? (is|are) allowed per (user|cluster)|too many jobs|"
            r"max(imum)?_?(u_)?jobs"
        ),
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PASSING,
        (
            r"unable to (contact|send message to) qmaster|can't get (an )?(answer|response)|"
            r"failed receiving|got (no response|send error|max\. unread)|commlib error|"
            r"qmaster (is )?(not|down)|cannot get connection|no response from qmaster"
        ),
        "",
    ),
    (
        Meaning.PERMANENT,
        r"unknown queue|job was rejected because.*queue|no suitable queues",
        _QUEUE,
    ),
    (Meaning.PERMANENT, r"project", _ACCOUNT),
    (
        Meaning.PERMANENT,
        r"parallel environment|unknown resource|denied: .*resource|can not be scheduled",
        _NODE,
    ),
    (Meaning.PERMANENT, r"no submit host|neither submit nor admin host|access", _HOST),
    (
        Meaning.PERMANENT,
        r"unknown option|invalid option|jsv|job rejected|denied:|script",
        _DIRECTIVES,
    ),
)
"""Catalogues of messages in ``source/daemons/qmaster`` and ``source/clients``."""

_LSF: Rows = (
    (
        Meaning.LIMIT,
        (
            r"pending job (threshold|limit)|job (slot )?limit|too many (pending )?jobs|"
            r"MAX_PEND_JOBS|MAX_PEND_SLOTS|QUEUE_MAX"
        ),
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PASSING,
        (
            r"lsf is down|please wait|batch system .*not responding|batch daemon not|"
            r"communication|mbatchd|cannot (open|connect)|queue has been closed|"
            r"queue is closed|system (call|error)|internal library error"
        ),
        "",
    ),
    (
        Meaning.PERMANENT,
        r"no such queue|user cannot use the queue|not.*queue",
        _QUEUE,
    ),
    (Meaning.PERMANENT, r"project|user group|license", _ACCOUNT),
    (Meaning.PERMANENT, r"run ?limit|RUNLIMIT", _TIME),
    (
        Meaning.PERMANENT,
        r"resource requirement|MEMLIMIT|processor|slots|bad resource|host",
        _NODE,
    ),
    (
        Meaning.PERMANENT,
        r"illegal option|bad argument|esub|request aborted|not submitted",
        _DIRECTIVES,
    ),
)
"""Messages of ``lsb_submit(3)`` and ``bsub(1)``."""

_HTCONDOR: Rows = (
    (
        Meaning.LIMIT,
        (
            r"MAX_JOBS(_PER_OWNER|_SUBMITTED|_PER_SUBMISSION)?|would exceed|"
            r"too many jobs|number of submitted jobs"
        ),
        "'max_jobs' of the environment",
    ),
    (
        Meaning.PASSING,
        (
            r"failed to (connect|create (new )?cluster|commit)|can't find address|"
            r"unable to (connect|contact)|SECMAN|CEDAR|qmgmt|schedd.*(not|busy)"
        ),
        "",
    ),
    (Meaning.PERMANENT, r"accounting_?group", _ACCOUNT),
    (Meaning.PERMANENT, r"request_?(memory|cpus|disk|gpus)|requirements", _NODE),
    (
        Meaning.PERMANENT,
        (
            r"unable to parse|parse error|syntax|not allowed|denied|invalid|"
            r"submit requirement|no such attribute|executable|can't open"
        ),
        _DIRECTIVES,
    ),
)
"""HTCondor's manual, ``condor_submit`` and configuration macros of the schedd."""

TABLES: Mapping[BatchSystem, Rows] = {
    BatchSystem.SLURM: (*_SLURM, *_EVERYWHERE),
    BatchSystem.PBS: (*_PBS[:2], *_EVERYWHERE, *_PBS[2:]),
    BatchSystem.SGE: (*_SGE[:2], *_EVERYWHERE, *_SGE[2:]),
    BatchSystem.LSF: (*_LSF[:2], *_EVERYWHERE, *_LSF[2:]),
    BatchSystem.HTCONDOR: (*_HTCONDOR[:2], *_EVERYWHERE, *_HTCONDOR[2:]),
}
"""What each batch system says, and what it means; ways of failing that pass come first."""


def read_reply(batch: BatchSystem, text: str) -> Reply:
    """Return what a batch system means that did not take a job.

    Parameters
    ----------
    batch
        Which batch system.
    text
        What its command printed as errors.

    Examples
    --------
    >>> read_reply(BatchSystem.PBS, "qsub: Unknown queue").meaning
    <Meaning.PERMANENT: 'permanent'>
    """
    words = " ".join(text.split()) or "no answer"
    for meaning, pattern, key in TABLES.get(batch, _EVERYWHERE):
        if re.search(pattern, words, re.IGNORECASE):
            return Reply(meaning=meaning, words=words, key=key)
    return Reply(meaning=Meaning.UNKNOWN, words=words)
