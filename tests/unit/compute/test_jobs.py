"""What is made of what the commands of batch systems do; here they are scripts."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ziggy_dask as z
from ziggy_dask.compute import jobs
from ziggy_dask.compute.batch import COMMANDS
from ziggy_dask.compute.batch.replies import Meaning, Reply
from ziggy_dask.compute.jobs import NoAnswer, ask, cancel, find, may_exist, submit
from ziggy_dask.compute.script import JobSpec, job_of
from ziggy_dask.definitions import BatchSystem

PROGRAMS = {
    BatchSystem.SLURM: "sbatch",
    BatchSystem.PBS: "qsub",
    BatchSystem.SGE: "qsub",
    BatchSystem.LSF: "bsub",
    BatchSystem.HTCONDOR: "condor_submit",
}
TAKEN = {
    BatchSystem.SLURM: ("Submitted batch job 77", "77;cluster", "77"),
    BatchSystem.PBS: ("77.pbs1.site.org", "77", "77.pbs-1"),
    BatchSystem.SGE: ('Your job 77 ("ziggy-7") has been submitted', "77"),
    BatchSystem.LSF: ("Job <77> is submitted to queue <normal>.",),
    BatchSystem.HTCONDOR: (
        "Submitting job(s).\n1 job(s) submitted to cluster 77.",
        "77.0 - 77.0",
    ),
}
NOTICES = (
    "2 nodes of partition 2026 go into maintenance on 2026-12-01 at 08:00",
    "NOTICE: 15 % of quota 4 left",
    "job 12 of user me was purged",
    "http://site.org/news/4711",
)
batches = pytest.mark.parametrize("batch", PROGRAMS, ids=lambda one: one.value)


class Programs:
    """Programs on the search path, each a shell script."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def put(self, name: str, text: str) -> None:
        """Write one."""
        (self.directory / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.directory / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Programs:
    made = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.directory}:{os.environ['PATH']}")
    made.put("lsid", "exit 1")
    return made


def hand_over(batch: BatchSystem) -> str | Reply:
    node = z.Architecture(name="node", cores=1, memory_bytes=10**9)
    place = z.Environment(name="lab", batch=batch, architectures=(node,))
    spec = JobSpec(
        environment=place,
        architecture=node,
        scheduler="tcp://127.0.0.1:8786",
        name="ziggy-7",
    )
    return submit(job_of(spec), batch)


def identity(batch: BatchSystem) -> str:
    return "77.0" if batch is BatchSystem.HTCONDOR else "77"


@batches
def test_the_number_is_read_from_the_line_that_says_it(batch, programs):
    for line in TAKEN[batch]:
        for before, after in ((), ()), (NOTICES, ()), ((), NOTICES), (NOTICES, NOTICES):
            text = "\n".join((*before, line, *after))
            programs.put(PROGRAMS[batch], f"cat <<'END'\n{text}\nEND")
            assert hand_over(batch) == identity(batch), text


@batches
def test_a_job_that_was_made_counts_whatever_its_command_says_else(batch, programs):
    for line in TAKEN[batch]:
        for more in (
            "echo 'this partition is deprecated' >&2; exit 1",
            r"printf '\xfcberlastet\n' >&2",
            r"printf '\xfc\n'; printf '\x00\n' >&2",
            "kill -9 $$",
        ):
            programs.put(PROGRAMS[batch], f"cat <<'END'\n{line}\nEND\n{more}")
            assert hand_over(batch) == identity(batch), more


@batches
def test_words_without_a_number_may_be_those_of_a_job(batch, programs):
    """Its name finds it, if it is there."""
    for text in ("", *NOTICES, "<html>503 of 12</html>", "\x07 7\x07"):
        programs.put(PROGRAMS[batch], f"cat <<'END'\n{text}\nEND")
        said = hand_over(batch)
        assert isinstance(said, Reply), text
        assert may_exist(said)
        assert said.meaning in (Meaning.UNKNOWN, Meaning.PASSING)
        assert "names no job" in said.words


@batches
def test_a_refusal_is_told_in_the_system_s_own_words(batch, programs):
    programs.put(PROGRAMS[batch], "echo 'The moon is full.' >&2; exit 255")
    said = hand_over(batch)
    assert isinstance(said, Reply)
    assert said.words == "The moon is full."
    assert not may_exist(said)


def test_lsf_is_given_the_script_and_its_refusals_are_permanent(programs):
    programs.put(
        "bsub", "grep -q 'BSUB -J ziggy-7' && echo 'no: No such queue.' >&2; exit 255"
    )
    said = hand_over(BatchSystem.LSF)
    assert isinstance(said, Reply)
    assert (said.meaning, said.words) == (Meaning.PERMANENT, "no: No such queue.")


@batches
def test_a_command_that_dies_or_hangs_may_have_made_a_job(
    batch, programs, monkeypatch, tmp_path
):
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.5)
    child = tmp_path / "child"
    for text in ("kill -9 $$", f"sleep 600 & echo $! > {child}; wait"):
        programs.put(PROGRAMS[batch], text)
        said = hand_over(batch)
        assert isinstance(said, Reply), text
        assert may_exist(said)
    with suppress(ProcessLookupError):  # it has gone already
        end = os.pidfd_open(int(child.read_text()))
        assert select.select([end], [], [], 60)[0], "what it had started goes on"
        os.close(end)


@batches
def test_a_command_that_is_not_there_is_told(batch, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = hand_over(batch)
    assert isinstance(said, Reply)
    assert said.meaning is Meaning.PERMANENT
    assert not may_exist(said)


QUERIES = {
    BatchSystem.SLURM: "squeue",
    BatchSystem.PBS: "qstat",
    BatchSystem.SGE: "qstat",
    BatchSystem.LSF: "bjobs",
}


@pytest.mark.parametrize("batch", QUERIES, ids=lambda one: one.value)
def test_nothing_printed_is_no_answer_about_jobs(batch, programs):
    query = COMMANDS[batch].query
    for text in ("", "echo", "printf ' \\n\\n'"):
        programs.put(QUERIES[batch], text)
        assert isinstance(ask(query, ["77"]), NoAnswer), text


def test_a_system_that_knows_none_of_the_jobs_says_so(programs):
    programs.put("qstat", "echo 'qstat: Unknown Job Id 77.pbs1' >&2; exit 153")
    assert ask(COMMANDS[BatchSystem.PBS].query, ["77"]) == {}
    programs.put("bjobs", "echo 'No unfinished job found' >&2; exit 255")
    assert ask(COMMANDS[BatchSystem.LSF].query, ["77"]) == {}
    programs.put("sacct", "")
    history = COMMANDS[BatchSystem.SLURM].history
    assert history is not None
    assert ask(history, ["77"]) == {}


ANSWERS = Path(__file__).parent / "batch" / "answers"
KNOWN = {
    "squeue.txt": COMMANDS[BatchSystem.SLURM].query,
    "sacct.txt": COMMANDS[BatchSystem.SLURM].history,
    "qstat_pbs.json": COMMANDS[BatchSystem.PBS].query,
    "qstat_sge.xml": COMMANDS[BatchSystem.SGE].query,
    "qacct.txt": COMMANDS[BatchSystem.SGE].history,
    "bjobs.json": COMMANDS[BatchSystem.LSF].query,
    "condor_q.json": COMMANDS[BatchSystem.HTCONDOR].query,
}
PARTS = (
    *("9" * 30, "-1", "1e400", "null", "[]", "{}", '"', "\x00", "\ud7ff", "<", "&x;"),
    *("|", "\n", "NaN", "[" * 5000, "true", '"\\ud800"', "1970-01-01T00:00:00"),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.parametrize("name", KNOWN)
@given(data=st.data())
def test_an_answer_with_anything_in_it_is_read_or_is_none(name, data, monkeypatch):
    """Whatever a wrapper or a broken disk makes of an answer, nothing is raised."""
    text = (ANSWERS / name).read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(begin + data.draw(st.integers(0, 30)), len(text))
        text = text[:begin] + data.draw(st.sampled_from(PARTS)) + text[end:]
    done = jobs._Said([], 0, text, "")
    monkeypatch.setattr(jobs, "_run", lambda *given: done)
    query = KNOWN[name]
    assert query is not None
    assert isinstance(ask(query, ["77"]), dict | NoAnswer)


def test_a_job_is_found_by_its_name_or_there_is_no_answer(programs):
    pbs = COMMANDS[BatchSystem.PBS]
    programs.put("qselect", "echo 76.pbs1; echo 77.pbs1")
    assert find(pbs, "ziggy-7") == "77"
    programs.put("qselect", "")
    assert find(pbs, "ziggy-7") == ""
    for text in ("echo '<html>503'", "echo Welcome; echo 77.pbs1", "exit 1"):
        programs.put("qselect", text)
        assert isinstance(find(pbs, "ziggy-7"), NoAnswer), text


def test_no_ctrl_c_reaches_what_cancels_jobs(programs, tmp_path):
    """A terminal sends it to its whole group of processes."""
    programs.put("scancel", f"ps -o sid= -p $$ > {tmp_path}/session")
    assert cancel(COMMANDS[BatchSystem.SLURM], ["77"]) == ""
    assert int((tmp_path / "session").read_text()) != os.getsid(0)
