"""Logs of jobs: the line that says why a job ended, or why its worker did not start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ziggy_dask.definitions import JobCause

_TAIL = 64 * 1024
"""So much of the end of each log is read, in bytes."""

_LINES: tuple[tuple[JobCause, str], ...] = (
    (
        JobCause.OUT_OF_MEMORY,
        (
            r"oom[-_ ]?kill|out of memory|(?<!worker )memory limit|"
            r"PBS: job killed: (mem|vmem)|TERM_MEMLIMIT|exceeded memory|cgroup.*\bmem|"
            r"MemoryError|std::bad_alloc|cannot allocate memory"
        ),
    ),
    (
        JobCause.TIME_LIMIT,
        (
            r"DUE TO TIME LIMIT|PBS: job killed: walltime|TERM_RUNLIMIT|"
            r"exceeded (hard )?wallclock|h_rt"
        ),
    ),
    (JobCause.PREEMPTED, r"DUE TO PREEMPTION|TERM_PREEMPT|preempted"),
    (
        JobCause.NODE_FAILED,
        r"DUE TO NODE FAILURE|node fail|TERM_ZOMBIE|lost connection to mom",
    ),
    (
        JobCause.NOT_STARTED,
        (
            r"No module named|ModuleNotFoundError|ImportError|command not found|"
            r"module: not found|Unable to locate a modulefile|Lmod has detected|"
            r"No such file or directory|cannot execute|Exec format error|"
            r"Permission denied|Read-only file system|No space left on device|"
            r"Disk quota exceeded|error while loading shared libraries|"
            r"prolog(ue)?.*(fail|error)|Mismatched versions|SyntaxError|"
            r"Name or service not known|Connection refused|No route to host|"
            r"Timed out trying to connect|certificate verify failed|"
            r"Worker with name .* already exists|name taken"
        ),
    ),
    (JobCause.CANCELLED, r"CANCELLED AT|TERM_OWNER|TERM_ADMIN|via condor_rm"),
    (JobCause.KILLED, r"PBS: job killed|TERM_\w+:"),
)
"""Lines that batch systems, shells, Python and Dask write; the first match counts.

That a worker uses much of its memory Dask says long before a job ends, and often.
"""


def decisive_line(text: str, *, had_worker: bool = False) -> tuple[JobCause, str]:
    r"""Return why a job ended by its log, and the line that says so; nothing if none does.

    Of a job whose worker came, no line says why it did not.

    Examples
    --------
    >>> decisive_line("hello\nbash: line 3: python9: command not found\n")
    (<JobCause.NOT_STARTED: 'worker did not start'>, 'bash: line 3: python9: command not found')
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for cause, pattern in _LINES:
        if had_worker and cause is JobCause.NOT_STARTED:
            continue
        sought = re.compile(pattern, re.IGNORECASE)
        for line in reversed(lines):
            if sought.search(line):
                return cause, line[-300:]
    return JobCause.NONE, ""


def log_files(directory: Path, name: str, number: str) -> Iterator[Path]:
    """Yield the logs of a job, as its batch system names them."""
    short = number.partition(".")[0]
    patterns = [f"{name}*"]
    if short.isdigit():
        patterns += [f"{number}.*", f"worker-{number}.*", f"*.[oe]{short}"]
    seen = set()
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            if path.is_file() and path not in seen:
                seen.add(path)
                yield path


def read_logs(directory: Path, name: str, number: str) -> str:
    """Return the ends of the logs of a job; empty if there are none."""
    found = []
    for path in log_files(directory, name, number):
        try:
            with path.open("rb") as stream:
                stream.seek(max(path.stat().st_size - _TAIL, 0))
                found.append(stream.read(_TAIL).decode(errors="replace"))
        except OSError:
            continue  # a log that can't be read says nothing
    return "\n".join(found)
