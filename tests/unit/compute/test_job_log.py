"""What the log of a job says of its end."""

from __future__ import annotations

import pytest

from ziggy_dask.compute.job_log import decisive_line
from ziggy_dask.definitions import JobCause

DASK = (
    "2026-11-30 21:05:03,665 - distributed.worker - INFO -  Registered to: tls://10.0.0.1:1",
    (
        "2026-11-30 21:05:09 - distributed.worker.memory - WARNING - Unmanaged memory use is "
        "high. Process memory: 1.2 GiB -- Worker memory limit: 1.4 GiB"
    ),
    (
        "2026-11-30 21:05:09 - distributed.nanny.memory - WARNING - Worker tls://10.0.0.2:1 "
        "(pid=9) exceeded 95% memory budget. Restarting..."
    ),
)
"""What Dask's workers write while they work."""


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            (
                "slurmstepd: error: Detected 1 oom_kill event in StepId=5.batch. Some of the "
                "step tasks have been OOM Killed."
            ),
            JobCause.OUT_OF_MEMORY,
        ),
        (
            "slurmstepd: error: Exceeded step memory limit at some point.",
            JobCause.OUT_OF_MEMORY,
        ),
        (
            "=>> PBS: job killed: mem 2097153kb exceeded limit 2097152kb",
            JobCause.OUT_OF_MEMORY,
        ),
        ("Cgroup mem limit exceeded: memory usage 2097152kb", JobCause.OUT_OF_MEMORY),
        (
            "=>> PBS: job killed: walltime 3632 exceeded limit 3600",
            JobCause.TIME_LIMIT,
        ),
        ("=>> PBS: job killed: ncpus 3.1 exceeded limit 1 (sum)", JobCause.KILLED),
        (
            (
                "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-25T14:43:42 DUE TO "
                "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***"
            ),
            JobCause.NODE_FAILED,
        ),
        (
            (
                "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-25T14:43:42 DUE TO "
                "PREEMPTION ***"
            ),
            JobCause.PREEMPTED,
        ),
        (
            "slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2026-11-25T14:43:42 ***",
            JobCause.CANCELLED,
        ),
    ],
)
@pytest.mark.parametrize("had_worker", [True, False])
def test_the_line_that_says_why_is_found_among_others(line, cause, had_worker):
    text = "\n".join((*DASK, line, *DASK))
    assert decisive_line(text, had_worker=had_worker) == (cause, line)


def test_what_workers_say_of_their_memory_is_no_end():
    assert decisive_line("\n".join(DASK)) == (JobCause.NONE, "")


@pytest.mark.parametrize(
    "line",
    [
        "cat: /data/x: No such file or directory",
        "warning: Permission denied",
        "ConnectionRefusedError: [Errno 111] Connection refused",
    ],
)
def test_a_worker_that_came_was_started(line):
    assert decisive_line(line)[0] is JobCause.NOT_STARTED
    assert decisive_line(line, had_worker=True) == (JobCause.NONE, "")
