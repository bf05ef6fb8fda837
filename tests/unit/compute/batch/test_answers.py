"""What batch systems say of jobs, read from texts in ``answers``.

Those of SLURM's squeue and of Grid Engine were printed by Debian's packages; the others are
written after the documentation of their formats.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.compute.batch import (
    COMMANDS,
    Told,
    commands_of,
    condor,
    filled,
    lsf,
    pbs,
    sge,
    slurm,
)
from ziggy_dask.definitions import BatchSystem, JobCause, JobState
from ziggy_dask.errors import ClusterError

TEXTS = Path(__file__).parent / "answers"

SEEN = {
    "squeue.txt": (
        slurm.read_squeue,
        {
            "971": (JobState.ENDED, JobCause.NONE, 0),
            "972": (JobState.FAILED, JobCause.NONE, 7),
            "973": (JobState.FAILED, JobCause.TIME_LIMIT, 143),
            "974": (JobState.CANCELLED, JobCause.CANCELLED, 0),
            "975": (JobState.QUEUED, JobCause.NONE, None),
            "976": (JobState.RUNNING, JobCause.NONE, None),
        },
    ),
    "sacct.txt": (
        slurm.read_sacct,
        {
            "971": (JobState.ENDED, JobCause.NONE, 0),
            "972": (JobState.FAILED, JobCause.NONE, 7),
            "973": (JobState.FAILED, JobCause.TIME_LIMIT, 0),
            "974": (JobState.CANCELLED, JobCause.CANCELLED, 143),
            "978": (JobState.FAILED, JobCause.OUT_OF_MEMORY, 253),
            "979": (JobState.FAILED, JobCause.NODE_FAILED, 1),
        },
    ),
    "qstat_pbs.json": (
        pbs.read_qstat,
        {
            "101": (JobState.QUEUED, JobCause.NONE, None),
            "102": (JobState.RUNNING, JobCause.NONE, None),
            "103": (JobState.ENDED, JobCause.NONE, 0),
            "104": (JobState.FAILED, JobCause.NONE, 7),
            "105": (JobState.FAILED, JobCause.TIME_LIMIT, None),
            "106": (JobState.CANCELLED, JobCause.CANCELLED, 143),
            "107": (JobState.FAILED, JobCause.OUT_OF_MEMORY, None),
        },
    ),
    "qstat_sge.xml": (
        sge.read_qstat,
        {
            "16": (JobState.QUEUED, JobCause.NONE, None),
            **dict.fromkeys(
                ("19", "20", "21", "22"), (JobState.RUNNING, JobCause.NONE, None)
            ),
        },
    ),
    "qacct.txt": (
        sge.read_qacct,
        {
            "17": (JobState.ENDED, JobCause.NONE, 0),
            "18": (JobState.FAILED, JobCause.NONE, 7),
            "20": (JobState.FAILED, JobCause.TIME_LIMIT, 137),
            "4": (JobState.FAILED, JobCause.KILLED, 137),
        },
    ),
    "bjobs.json": (
        lsf.read_bjobs,
        {
            "201": (JobState.QUEUED, JobCause.NONE, None),
            "202": (JobState.RUNNING, JobCause.NONE, None),
            "203": (JobState.ENDED, JobCause.NONE, 0),
            "204": (JobState.FAILED, JobCause.NONE, 7),
            "205": (JobState.FAILED, JobCause.TIME_LIMIT, 140),
            "206": (JobState.CANCELLED, JobCause.CANCELLED, 130),
        },
    ),
    "condor_q.json": (
        condor.read_condor,
        {
            "301.0": (JobState.QUEUED, JobCause.NONE, None),
            "302.0": (JobState.RUNNING, JobCause.NONE, None),
            "303.0": (JobState.QUEUED, JobCause.TIME_LIMIT, None),
        },
    ),
    "condor_history.json": (
        condor.read_condor,
        {
            "304.0": (JobState.ENDED, JobCause.NONE, 0),
            "305.0": (JobState.FAILED, JobCause.NONE, 7),
            "306.0": (JobState.FAILED, JobCause.KILLED, 137),
            "307.0": (JobState.CANCELLED, JobCause.CANCELLED, None),
        },
    ),
}


@pytest.fixture
def utc(monkeypatch):
    """A machine whose time is that of the stored texts."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(name: str) -> Told:
    reader, _ = SEEN[name]
    return reader((TEXTS / name).read_text())


@pytest.mark.parametrize("name", SEEN)
def test_states_causes_and_exit_codes_are_read(name):
    _, expected = SEEN[name]
    found = {
        number: (one.state, one.cause, one.exit_code)
        for number, one in read(name).items()
    }
    assert found == expected


@pytest.mark.parametrize(
    ("name", "number", "began", "ended"),
    [
        ("squeue.txt", "973", "14:43:42", "14:44:10"),
        ("sacct.txt", "974", "14:43:42", "14:43:45"),
        ("qstat_pbs.json", "105", "14:43:42", "14:58:50"),
        ("qacct.txt", "20", "14:38:55", "14:39:00"),
        ("condor_history.json", "305.0", "14:43:42", "14:43:44"),
        ("condor_history.json", "307.0", "14:43:42", "14:43:50"),
    ],
)
def test_times_are_read(utc, name, number, began, ended):
    one = read(name)[number]
    assert one.started == datetime.fromisoformat(f"2026-11-25T{began}").astimezone(UTC)
    assert one.ended == datetime.fromisoformat(f"2026-11-25T{ended}").astimezone(UTC)


@pytest.mark.parametrize("name", SEEN)
def test_what_has_not_ended_has_no_end(name):
    for one in read(name).values():
        if not one.state.is_final:
            assert one.ended is None
        if one.state is JobState.QUEUED:
            assert one.started is None


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("squeue.txt", "973", "TIMEOUT"),
        ("sacct.txt", "974", "CANCELLED by 0"),
        ("qacct.txt", "20", "37 : qmaster enforced h_rt, h_cpu, or h_vmem limit"),
        ("bjobs.json", "206", "TERM_OWNER: job killed by owner"),
        ("condor_history.json", "307.0", "via condor_rm (by user me)"),
        ("condor_q.json", "302.0", "running"),
    ],
)
def test_the_batch_system_s_own_words_are_kept(name, number, words):
    assert read(name)[number].comment == words


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (slurm.read_squeue, ""),
        (pbs.read_qstat, '{"timestamp":1, "pbs_server":"pbs1"}'),
        (sge.read_qstat, "<job_info><queue_info/><job_info/></job_info>"),
        (sge.read_qacct, ""),
        (lsf.read_bjobs, '{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}'),
        (condor.read_condor, ""),
    ],
)
def test_where_there_is_nothing_nothing_is_read(reader, text):
    assert reader(text) == {}


GARBAGE = [
    "<html>503|a|b|c|d|e</html>",
    "slurm_load_jobs error: Unable to contact slurm controller",
    "Welcome to the cluster!\n",
    "\x00\x01",
    "8|RUNNING|0|2026-11-25T14:43:42",
    '{"Jobs": {"8": {"job_state": "R"}}}',
    '{"RECORDS": []}',
    '{"pbs_server": "p", "Jobs": {"8": {"job_state": "?"}}}',
    "<job_info><job_list><state>r</state></job_list></job_info>",
    "<html/>",
    '[{"ClusterId": 8, "ProcId": 0, "JobStatus": 99}]',
]


@pytest.mark.parametrize("text", GARBAGE)
@pytest.mark.parametrize(
    "reader",
    [
        slurm.read_squeue,
        slurm.read_sacct,
        pbs.read_qstat,
        sge.read_qstat,
        lsf.read_bjobs,
        condor.read_condor,
    ],
    ids=["squeue", "sacct", "pbs", "sge", "lsf", "condor"],
)
def test_what_cannot_be_an_answer_is_none(reader, text):
    with pytest.raises((KeyError, ValueError, TypeError, AttributeError, SyntaxError)):
        reader(text)


@pytest.mark.parametrize("name", [one for one in SEEN if one != "qacct.txt"])
@given(data=st.data())
def test_an_answer_that_is_cut_off_is_none_or_tells_nothing_else(name, data):
    reader, _ = SEEN[name]
    text = (TEXTS / name).read_text()
    cut = text[: data.draw(st.integers(0, len(text.rstrip()) - 1))]
    try:
        found = reader(cut)
    except (KeyError, ValueError, TypeError, AttributeError, SyntaxError):
        return
    whole = reader(text)
    last = list(found)[-1:]
    assert {
        n: one for n, one in found.items() if n not in last
    }.items() <= whole.items()
    assert name != "squeue.txt" or found.items() <= whole.items()


def test_pending_jobs_of_slurm_tell_what_they_wait_for_and_their_names():
    line = "8|PENDING|0|N/A|N/A|QOSMaxJobsPerUserLimit|ziggy-a|b|\n"
    one = slurm.read_squeue(line)["8"]
    assert one.comment == "PENDING: QOSMaxJobsPerUserLimit"
    assert one.name == "ziggy-a|b"


@pytest.mark.parametrize(
    ("used", "cause"),
    [
        ({"walltime": "00:15:01", "mem": "1gb"}, JobCause.TIME_LIMIT),
        ({"walltime": "00:01:00", "mem": "2097153kb"}, JobCause.OUT_OF_MEMORY),
        ({"walltime": "00:01:00", "mem": "1gb"}, JobCause.KILLED),
    ],
)
def test_what_a_job_of_pbs_used_tells_why_a_signal_ended_it(used, cause):
    job = {
        "job_state": "F",
        "Exit_status": 271,
        "substate": 93,
        "resources_used": used,
        "Resource_List": {"walltime": "00:15:00", "mem": "2gb"},
    }
    content = {"pbs_server": "p", "Jobs": {"8.p": job}}
    one = pbs.read_qstat(json.dumps(content))["8"]
    assert (one.cause, one.exit_code) == (cause, 143)


LINE = "8|{}|0|N/A|N/A|{}|ziggy-a|\n"


@pytest.mark.parametrize(
    "reason",
    [
        "launch_failed_requeued_held",
        "(launch failed requeued held)",
        "JobHoldMaxRequeue",
        "QOSMaxWallDurationPerJobLimit",
        "PartitionTimeLimit",
        "InvalidAccount",
    ],
)
def test_a_job_of_slurm_that_can_not_begin_by_itself_is_stuck(reason):
    assert slurm.read_squeue(LINE.format("PENDING", reason))["8"].is_stuck


@pytest.mark.parametrize(
    "reason",
    [
        *("Resources", "Priority", "None", "JobHeldUser", "ReqNodeNotAvail"),
        *("AssocMaxJobsLimit", "QOSMaxJobsPerUserLimit", "PartitionDown", "BeginTime"),
        *("QOSMaxCpuPerUserLimit", "AssocGrpCpuLimit", "NodeDown", "Licenses"),
    ],
)
def test_what_passes_is_waited_for(reason):
    assert not slurm.read_squeue(LINE.format("PENDING", reason))["8"].is_stuck


@pytest.mark.parametrize(
    ("job", "is_stuck"),
    [
        ({"job_state": "Q", "comment": "Not Running: Server dynamic"}, False),
        ({"job_state": "Q", "comment": "Can Never Run: Insufficient ncpus"}, True),
        ({"job_state": "H", "Hold_Types": "u"}, False),
        ({"job_state": "H", "Hold_Types": "s"}, True),
        (
            {
                "job_state": "H",
                "Hold_Types": "n",
                "comment": "job held, too many failed attempts to run",
            },
            True,
        ),
        ({"job_state": "R", "comment": "Can Never Run"}, False),
    ],
)
def test_a_job_of_pbs_that_can_not_begin_by_itself_is_stuck(job, is_stuck):
    text = json.dumps({"pbs_server": "p", "Jobs": {"8.p": job}})
    assert pbs.read_qstat(text)["8"].is_stuck == is_stuck


def test_a_job_in_error_of_grid_engine_and_a_held_one_of_htcondor_are_stuck():
    text = (TEXTS / "qstat_sge.xml").read_text()
    assert not sge.read_qstat(text)["16"].is_stuck
    assert sge.read_qstat(text.replace("hqw", "Eqw"))["16"].is_stuck
    held = {number: one.is_stuck for number, one in read("condor_q.json").items()}
    assert held == {"301.0": False, "302.0": False, "303.0": True}


def test_a_job_that_is_being_ended_says_so():
    running = (TEXTS / "qstat_sge.xml").read_text()
    assert not any(one.is_ending for one in sge.read_qstat(running).values())
    for word in ("dr", "dt"):
        text = running.replace("<state>r</state>", f"<state>{word}</state>")
        assert any(one.is_ending for one in sge.read_qstat(text).values())
    assert slurm.read_squeue(LINE.format("COMPLETING", ""))["8"].is_ending
    assert not slurm.read_squeue(LINE.format("RUNNING", ""))["8"].is_ending
    text = json.dumps({"pbs_server": "p", "Jobs": {"8.p": {"job_state": "E"}}})
    assert pbs.read_qstat(text)["8"].is_ending


def test_names_of_fields_before_the_jobs_of_slurm_are_none_of_a_job():
    head = "JOBID|STATE|EXIT_CODE|START_TIME|END_TIME|REASON|NAME|\n"
    assert slurm.read_squeue(head) == {}
    wide = "|".join(f"{name:20}" for name in head.split("|"))
    assert slurm.read_squeue(f"{wide.rstrip()}\n") == {}
    line = LINE.format("RUNNING", "None")
    assert slurm.read_squeue(head + line) == slurm.read_squeue(line)
    with pytest.raises(ValueError, match="not a line about a job"):
        slurm.read_squeue(line + head)


def test_who_removes_a_job_of_htcondor_that_was_evicted_is_its_own_rule():
    """The rule that our jobs have: one that was evicted does not begin again."""
    job = {"ClusterId": 8, "ProcId": 0, "JobStatus": 3}
    rule = (
        "The job attribute PeriodicRemove expression '(JobStatus == 1 && NumJobStarts "
        "> 0)' evaluated to TRUE"
    )
    for reason, cause in (
        (rule, JobCause.PREEMPTED),
        ("via condor_rm (by user me)", JobCause.CANCELLED),
    ):
        text = json.dumps([job | {"RemoveReason": reason}])
        assert condor.read_condor(text)["8.0"].cause is cause


@pytest.mark.parametrize(
    ("failed", "used", "asked", "slots", "cause"),
    [
        ("37", "2.010GB", "-l h_rt=60,h_vmem=2G", 1, JobCause.OUT_OF_MEMORY),
        ("37", "5.070MB", "-l h_rt=60,h_vmem=2G", 1, JobCause.TIME_LIMIT),
        ("100", "3.990GB", "-l h_vmem=2G -pe smp 2", 2, JobCause.OUT_OF_MEMORY),
        ("100", "2.010GB", "-l h_vmem=2G -pe smp 2", 2, JobCause.KILLED),
        ("100", "2.010GB", "NONE", 1, JobCause.KILLED),
        ("100", "0.000B", "-l h_vmem=0", 1, JobCause.KILLED),
        ("100", "?", "-l h_vmem=INFINITY", 1, JobCause.KILLED),
        ("19", "2.010GB", "-l h_vmem=2G", 1, JobCause.NODE_FAILED),
    ],
)
def test_what_a_job_of_grid_engine_used_tells_which_limit_ended_it(
    failed, used, asked, slots, cause
):
    text = "=" * 62 + (
        f"\njobnumber 8\nfailed {failed} : words\nexit_status 137 (Killed)\n"
        "start_time Wed Nov 25 14:43:42 2026\nend_time Wed Nov 25 14:44:10 2026\n"
        f"slots {slots}\nmaxvmem {used}\ncategory {asked}\n"
    )
    assert sge.read_qacct(text)["8"].cause is cause


@pytest.mark.parametrize(
    ("reason", "code", "cause"),
    [
        (
            "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
            "137",
            "out of memory",
        ),
        (
            "TERM_CWD_NOTEXIST: current working directory is not accessible",
            "2",
            "worker did not start",
        ),
        ("TERM_REMOVE_HUNG_JOB: job removed", "", "node failed"),
        ("TERM_BUCKET_KILL: job killed with bkill -b", "130", "cancelled"),
        ("TERM_UNKNOWN: unknown reason", "137", "killed"),
        ("", "137", "killed"),
        ("", "7", ""),
    ],
)
def test_reasons_of_lsf_are_causes(reason, code, cause):
    job = {"JOBID": "8", "STAT": "EXIT", "EXIT_REASON": reason, "EXIT_CODE": code}
    text = json.dumps({"COMMAND": "bjobs", "JOBS": 1, "RECORDS": [job]})
    assert lsf.read_bjobs(text)["8"].cause.value == cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (34, JobCause.OUT_OF_MEMORY),
        *((46, JobCause.TIME_LIMIT), (47, JobCause.TIME_LIMIT)),
        *((code, JobCause.NOT_STARTED) for code in (6, 7, 12, 13, 14)),
        *((1, JobCause.NONE), (3, JobCause.NONE)),
    ],
)
def test_codes_of_held_jobs_of_htcondor_are_causes(code, cause):
    job = {"ClusterId": 8, "ProcId": 0, "JobStatus": 5, "HoldReasonCode": code}
    one = condor.read_condor(json.dumps([job]))["8.0"]
    assert (one.cause, one.is_stuck) == (cause, True)


def test_a_signal_that_nobody_explains_is_told_as_one():
    text = "8|FAILED|9|2026-11-25T14:43:42|2026-11-25T14:44:10|\n"
    assert slurm.read_squeue(text)["8"].cause is JobCause.KILLED
    text = "8|FAILED|768|2026-11-25T14:43:42|2026-11-25T14:44:10|\n"
    assert slurm.read_squeue(text)["8"].cause is JobCause.NONE


def test_ids_are_filled_in():
    sacct = COMMANDS[BatchSystem.SLURM].history
    assert sacct is not None
    assert filled(sacct.words, ["7", "8"])[-2:] == ("--jobs", "7,8")
    asked = filled(COMMANDS[BatchSystem.PBS].query.words, ["7", "8"])
    assert asked == ("qstat", "-x", "-f", "-F", "json", "7", "8")
    assert filled(COMMANDS[BatchSystem.SGE].query.words, ["7"]) == ("qstat", "-xml")


def test_a_batch_system_that_cannot_be_asked_is_refused():
    with pytest.raises(ClusterError, match="jobs of moab can't be run by this version"):
        commands_of(BatchSystem.MOAB)


@pytest.mark.parametrize(
    ("used", "allowed", "status", "cause", "code"),
    [
        ("00:01:04", "00:01:00", 271, JobCause.TIME_LIMIT, 143),
        ("100:00:02", "100:00:00", 265, JobCause.TIME_LIMIT, 137),
        ("00:00:30", "00:01:00", 271, JobCause.KILLED, 143),
        ("61", "60", 271, JobCause.TIME_LIMIT, 143),
        (None, "00:01:00", 267, JobCause.KILLED, 139),
    ],
)
def test_pbs_ends_jobs_at_their_wall_time_by_a_signal(
    used, allowed, status, cause, code
):
    job = {
        "job_state": "F",
        "Exit_status": status,
        "resources_used": {"walltime": used} if used else {},
        "Resource_List": {"walltime": allowed},
    }
    (told,) = pbs.read_qstat(
        json.dumps({"pbs_server": "p", "Jobs": {"1.pbs": job}})
    ).values()
    assert (told.state, told.cause, told.exit_code) == (JobState.FAILED, cause, code)
