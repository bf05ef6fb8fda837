"""What batch systems say when they do not take a job, and what that means.

Texts of SLURM and of OpenPBS are those of their sources; the others are those of manuals and of
messages that sites show their users.
"""

from __future__ import annotations

import pytest

from ziggy_dask.compute.batch.replies import TABLES, Meaning, read_reply
from ziggy_dask.definitions import BatchSystem

SBATCH = "sbatch: error: Batch job submission failed: "
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
P, L, N, U = Meaning.PASSING, Meaning.LIMIT, Meaning.PERMANENT, Meaning.UNKNOWN

SAID = {
    BatchSystem.SLURM: [
        (P, SBATCH + "Socket timed out on send/recv operation"),
        (P, SBATCH + "Unable to contact slurm controller (connect failure)"),
        (P, SBATCH + "Slurm backup controller in standby mode"),
        (P, SBATCH + "Resource temporarily unavailable"),
        (P, SBATCH + "Zero Bytes were transmitted or received"),
        (P, SBATCH + "Unable to create job record, try again"),
        (P, SBATCH + "I/O error writing script/environment to file"),
        (P, SBATCH + "Required partition not available (inactive or drain)"),
        (P, SBATCH + "Protocol authentication error"),
        (P, "sbatch: error: Munge encode failed: Failed to access socket\n" + SBATCH),
        (
            P,
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        ),
        (L, f"sbatch: error: AssocMaxSubmitJobLimit\n{SBATCH}{POLICY}"),
        (L, f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{SBATCH}{POLICY}"),
        (L, f"sbatch: error: AssocGrpSubmitJobsLimit\n{SBATCH}{POLICY}"),
        (L, f"sbatch: error: QOSGrpSubmitJobsLimit\n{SBATCH}{POLICY}"),
        (L, SBATCH + POLICY),
        (N, f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{SBATCH}{POLICY}"),
        (N, f"sbatch: error: AssocMaxWallDurationPerJobLimit\n{SBATCH}{POLICY}"),
        (N, f"sbatch: error: QOSMaxCpuPerUserLimit\n{SBATCH}{POLICY}"),
        (N, SBATCH + "Invalid account or account/partition combination specified"),
        (N, "sbatch: error: invalid partition specified: nosuch\n" + SBATCH),
        (N, SBATCH + "User's group not permitted to use this partition"),
        (N, SBATCH + "Requested node configuration is not available"),
        (N, SBATCH + "Requested time limit is invalid (missing or exceeds some limit)"),
        (N, SBATCH + "Invalid feature specification"),
        (N, SBATCH + "Invalid qos specification"),
        (N, SBATCH + "Access/permission denied"),
        (N, "sbatch: unrecognized option '--nosuch'"),
        (U, "sbatch: error: the moon is full"),
    ],
    BatchSystem.PBS: [
        (P, "qsub: cannot connect to server pbs1 (errno=15010)"),
        (P, "Connection refused\nqsub: cannot connect to server pbs1 (errno=111)"),
        (P, "qsub: PBS server internal error (15011) in Error creating job"),
        (P, "qsub: Request not allowed: Server shutting down"),
        (P, "qsub: Queue is not enabled"),
        (P, "qsub: Server connection table full"),
        (P, "qsub: Failed to save job/resv, refer server logs for details"),
        (L, "qsub: would exceed queue generic's per-user limit"),
        (L, "qsub: would exceed queue low's per-user limit of jobs in 'Q' state"),
        (L, "qsub: would exceed complex's per-group limit"),
        (L, "qsub: Maximum number of jobs already in queue debug"),
        (L, "qsub: Maximum number of jobs for user me already in queue debug"),
        (L, "qsub: would exceed user me's limit on resource ncpus in queue low"),
        (N, "qsub: Unknown queue"),
        (N, "qsub: Access to queue is denied"),
        (N, "qsub: Invalid Account"),
        (N, "qsub: Job violates queue and/or server resource limits"),
        (N, "qsub: Unknown resource: modell"),
        (N, "qsub: Bad UID for job execution"),
        (N, "qsub: illegal -N value"),
        (N, "usage: qsub [-a date_time] [-A account_string]"),
        (U, "qsub: the moon is full"),
    ],
    BatchSystem.SGE: [
        (
            P,
            (
                "error: commlib error: got select error (Connection refused)\n"
                "Unable to run job: unable to send message to qmaster using port 6444"
            ),
        ),
        (P, "error: unable to contact qmaster using port 6444 on host 'head'"),
        (P, "Unable to run job: got no response from JSV script within 5s"),
        (
            L,
            (
                "Unable to run job: job rejected: Only 20 jobs are allowed per user "
                "(current job count: 20).\nExiting."
            ),
        ),
        (
            N,
            'Unable to run job: Job was rejected because job requests unknown queue "x".',
        ),
        (
            N,
            'Unable to run job: job rejected: the requested parallel environment "mpi"',
        ),
        (N, 'qsub: denied: host "laptop" is not a submit host'),
        (N, 'qsub: Unknown option "--what"'),
        (U, "qsub: the moon is full"),
    ],
    BatchSystem.LSF: [
        (P, "LSF is down. Please wait ..."),
        (P, "Batch system daemon not responding ... still trying"),
        (P, "Queue has been closed. Job not submitted."),
        (L, "User <me>: Pending job threshold reached. Retrying in 60 seconds..."),
        (L, "Job limit reached. Job not submitted."),
        (N, "nosuch: No such queue. Job not submitted."),
        (N, "RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted."),
        (N, "Bad resource requirement syntax. Job not submitted."),
        (U, "bsub: the moon is full"),
    ],
    BatchSystem.HTCONDOR: [
        (P, "ERROR: Can't find address of local schedd"),
        (P, "ERROR: Failed to connect to local queue manager\nCEDAR:6001:Failed"),
        (
            L,
            (
                "ERROR: Failed to create proc\nNumber of submitted jobs would exceed "
                "MAX_JOBS_PER_OWNER"
            ),
        ),
        (N, "ERROR: Submit requirement NotTooBig not met."),
        (N, "ERROR: on Line 4 of submit file: Syntax error"),
        (U, "the moon is full"),
    ],
}


@pytest.mark.parametrize(
    ("batch", "meaning", "text"),
    [(batch, meaning, text) for batch, rows in SAID.items() for meaning, text in rows],
)
def test_each_reply_has_its_meaning(batch, meaning, text):
    found = read_reply(batch, text)
    assert found.meaning is meaning
    assert found.words == " ".join(text.split())
    assert bool(found.key) == (meaning in (L, N))


@pytest.mark.parametrize("batch", TABLES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh: connect to host login1 port 22: Connection refused",
        "bash: fork: retry: Resource temporarily unavailable",
        "[Errno 24] Too many open files: 'x'",
        "503 Service Unavailable",
    ],
)
def test_what_comes_of_networks_and_machines_passes(batch, text):
    assert read_reply(batch, text).meaning is Meaning.PASSING


@pytest.mark.parametrize("batch", TABLES)
def test_a_command_that_is_not_there_never_comes_by_itself(batch):
    text = "[Errno 2] No such file or directory: 'sbatch'"
    assert read_reply(batch, text).meaning is Meaning.PERMANENT


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (
            SBATCH + "Invalid account or account/partition combination specified",
            "account",
        ),
        (SBATCH + "Invalid partition name specified", "queues"),
        (SBATCH + "Requested time limit is invalid", "max_time"),
        (SBATCH + "Requested node configuration is not available", "architecture"),
        (SBATCH + "Invalid qos specification", "directives"),
    ],
)
def test_a_permanent_reply_names_the_key_that_asked(text, key):
    assert key in read_reply(BatchSystem.SLURM, text).key
