"""How many jobs the work asks for, and which of them nothing is left for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ziggy_dask as z
from ziggy_dask.compute.offers import Estimate
from ziggy_dask.compute.placing import Load
from ziggy_dask.definitions import JobCause, JobState
from ziggy_dask.engine.demand import (
    IDLE_S,
    QUIET_S,
    SOON_S,
    missing_jobs,
    surplus_jobs,
)
from ziggy_dask.records.jobs import JobRecord

NOW = 1000.0
NODE = z.Architecture(name="node", cores=4, memory_bytes=8_000_000_000)
LAB = z.Environment(name="lab", batch=z.BatchSystem.SLURM, architectures=(NODE,))


def found(nodes: int = 5, active: int = 4) -> Estimate:
    return Estimate(
        architecture="node",
        queue="",
        nodes=nodes,
        active_cores=active,
        subtasks_per_core=1.0,
        wall_s=900,
        cost=0.0,
        subtasks=100,
    )


def load(
    waiting: int = 0,
    running: int = 0,
    coming: int = 0,
    soon: int = 0,
    seconds: float = 20.0,
):
    return Load(
        soon=soon,
        claim=(1, "a", 0, 0),
        seconds=seconds,
        waiting=waiting,
        running=running,
        coming=coming,
    )


def job(number: int, state: JobState = JobState.RUNNING, **changes) -> JobRecord:
    one = JobRecord(
        id=number,
        name=f"ziggy-{number}",
        number=str(number),
        instance=1,
        environment="lab",
        architecture="node",
        queue="",
        wall_s=900.0,
        cost_per_hour=1.0,
        state=state,
        comment="",
        cause=JobCause.NONE,
        exit_code=None,
        submitted=datetime.now(UTC),
        started=None,
        ended=None,
    )
    return replace(one, **changes)


@pytest.mark.parametrize(
    ("work", "jobs", "missing"),
    [
        ({"waiting": 1}, 0, 1),
        ({"waiting": 9}, 0, 3),
        ({"waiting": 100}, 0, 5),
        ({"waiting": 100}, 5, 0),
        ({"waiting": 9, "running": 4}, 1, 3),
        ({"running": 20}, 0, 0),
        ({"coming": 20}, 0, 0),
    ],
)
def test_as_many_jobs_are_missing_as_the_work_keeps_busy(work, jobs, missing):
    open_ = [job(number) for number in range(jobs)]
    ends = {one.name: NOW + 500 for one in open_}
    assert missing_jobs(LAB, found(), load(**work), open_, ends, NOW) == missing


def test_jobs_that_end_too_soon_or_are_elsewhere_do_not_count():
    short, other, large = job(1), job(2, environment="b"), job(3, architecture="big")
    ends = {short.name: NOW + 19, other.name: NOW + 500, large.name: NOW + 500}
    work = load(waiting=4)
    assert missing_jobs(LAB, found(), work, [short, other, large], ends, NOW) == 1
    assert missing_jobs(LAB, found(), work, [job(4, JobState.QUEUED)], {}, NOW) == 0


def test_the_limit_of_an_environment_is_kept():
    lab = replace(LAB, max_jobs=3)
    open_ = [job(1, architecture="big"), job(2)]
    ends = {one.name: NOW + 500 for one in open_}
    assert missing_jobs(lab, found(), load(waiting=99), open_, ends, NOW) == 1


def surplus(left, mine, idle=(), busy=(), ends=None, quiet_s=0.0, spare_s=0.0):
    return [
        one.id
        for one in surplus_jobs(
            left, mine, dict(idle), set(busy), ends or {}, NOW, quiet_s, spare_s
        )
    ]


def test_without_work_jobs_end_after_a_while_but_none_that_is_busy():
    mine = [job(1), job(2), job(3, JobState.QUEUED)]
    given_ = {"idle": {"ziggy-1": 1.0}, "busy": {"ziggy-2"}}
    assert surplus([], mine, **given_, quiet_s=QUIET_S - 1) == []
    assert surplus([], mine, **given_, quiet_s=QUIET_S) == [1, 3]


def test_with_work_idle_jobs_end_that_have_no_time_for_it():
    mine = [job(1), job(2), job(3), job(4, JobState.QUEUED)]
    ends = {"ziggy-1": NOW + 19, "ziggy-2": NOW + 19, "ziggy-3": NOW + 21}
    left = [load(waiting=1), load(waiting=1, seconds=30)]
    idle = {"ziggy-1": 0.0, "ziggy-3": 0.0}
    assert surplus(left, mine, idle, {"ziggy-2"}, ends) == [1]


@pytest.mark.parametrize(
    ("work", "idle_s", "ends"),
    [
        ({"running": 1}, IDLE_S - 1, False),
        ({"running": 1}, IDLE_S, True),
        ({"running": 1, "coming": 5}, IDLE_S, True),
        ({"running": 1, "coming": 5, "soon": 5}, SOON_S - 1, False),
        ({"running": 1, "coming": 5, "soon": 5}, SOON_S, True),
        ({"running": 1, "waiting": 1}, QUIET_S - 1, False),
        ({"running": 1, "waiting": 1}, QUIET_S, True),
    ],
)
def test_a_job_ends_when_nothing_is_left_that_it_could_do(work, idle_s, ends):
    mine = [job(1), job(2)]
    found = surplus([load(**work)], mine, {"ziggy-1": idle_s}, {"ziggy-2"})
    assert found == ([1] if ends else [])


def test_jobs_in_the_queue_end_when_nothing_waits_for_them():
    mine = [job(1), job(2, JobState.QUEUED)]
    left = [load(running=1)]
    assert surplus(left, mine, busy={"ziggy-1"}, spare_s=SOON_S - 1) == []
    assert surplus(left, mine, busy={"ziggy-1"}, spare_s=SOON_S) == [2]


def test_a_job_that_is_told_to_end_does_not_count():
    ending = job(1, JobState.CANCELLING)
    assert missing_jobs(LAB, found(), load(waiting=1), [ending], {}, NOW) == 1


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=80),
    most=st.integers(1, 6),
    delay=st.integers(1, 15),
)
def test_jobs_never_oscillate(lengths, most, delay):
    """A pool on a virtual clock, one look per second; queues take some time."""
    left = list(lengths)
    running: dict[str, list[int]] = {}
    begins: dict[str, int] = {}
    open_: list[JobRecord] = []
    submitted, dropped = 0, 0
    had_work = had_spare = 0
    idle: dict[str, float] = {}
    for now in range(20 * len(lengths) + delay + 60):
        for name, ends in running.items():
            running[name] = [one for one in ends if one > now]
        for one in open_:
            if begins[one.name] == now:
                running[one.name] = []
        for ends in running.values():
            while left and len(ends) < 4:
                ends.append(now + left.pop())
        busy = {name for name, ends in running.items() if ends}
        work = load(waiting=len(left), running=sum(map(len, running.values())))
        has_work = bool(work.waiting or work.running)
        had_work = now if has_work else had_work
        had_spare = now if work.waiting else had_spare
        idle = {name: idle.get(name, 0.0) + 1 for name in set(running) - busy}
        until = {one.name: begins[one.name] + 900.0 for one in open_}
        for _ in range(missing_jobs(LAB, found(most), work, open_, until, now)):
            submitted += 1
            assert dropped == 0, "a job is submitted after others were ended"
            made = job(submitted)
            begins[made.name] = now + delay
            open_.append(made)
        over = surplus_jobs(
            [work] if has_work else [],
            open_,
            idle,
            busy,
            until,
            now,
            now - had_work,
            now - had_spare,
        )
        dropped += len(over)
        open_ = [one for one in open_ if one not in over]
        running = {
            name: ends
            for name, ends in running.items()
            if name in {one.name for one in open_}
        }
    assert left == []
    assert open_ == []
    assert submitted == dropped <= min(most, -(-len(lengths) // 4))
