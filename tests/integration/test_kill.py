"""Whatever is killed, stopped, full or locked: what is recorded is kept, and never runs again.

A run of 2,002 subtasks in three nodes is disturbed once, at a random moment, in a way that
`disturbances` lists; then it goes on or is restarted, and everything must be as if nothing
had happened. A seed says which disturbance comes when. More seeds by hand, one after the
other (about 15 s each, 45 s if something is stopped)::

    ZIGGY_KILL_SEEDS=0-99 pytest -m integration -n 0 -v tests/integration/test_kill.py -k disturbed

``ZIGGY_STOP_S`` changes for how long processes are stopped. As root, disks are file systems
of their own; else limits on the size of files stand in for them. Clocks are set by a small
library that all processes load first (``clock.c``).
"""

import signal

import pytest

from tests.integration.disturbances import ADDRESS, KINDS, drawn
from tests.integration.mission import check_result, seeds, wait_for_end

pytestmark = pytest.mark.integration

FEW = (0, 2, 3, 5, 6, 8, 10, 11, 14)
"""Seeds for every day: all disturbances, but of several alike one."""
SEEDS = seeds(FEW)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_disturbed_ends_as_if_nothing_had_happened(make_mission, seed):
    kind, moment = drawn(seed)
    mission = make_mission(seed)
    if kind in ADDRESS:
        mission.start_compute()
    mission.ziggy("run", "test")
    mission.wait_for_runs(moment)
    before = mission.recorded()
    with KINDS[kind](mission):
        pass
    said = []
    if kind == "scheduler killed":
        said.append(wait_for_end(mission))
        before |= mission.recorded()
        mission.end_compute()
        mission.start_compute()
    said.append(wait_for_end(mission))
    while command := mission.next_command():
        assert len(said) < 4, said
        before |= mission.recorded()
        mission.ziggy(*command)
        said.append(wait_for_end(mission))
    mission.end_compute()
    check_result(mission, before)


def test_every_disturbance_has_a_seed_among_the_few():
    """One of alike ones does: what is stopped takes too long for every day."""
    kinds = {drawn(seed)[0] for seed in FEW}
    alike = {"nanny stopped", "scheduler stopped", "worker stopped"}
    assert kinds | alike | {"supervisor of others' workers killed"} == set(KINDS)


def test_a_second_supervisor_is_refused_while_the_first_one_lives(make_mission):
    mission = make_mission(0)
    first = mission.ziggy("run", "test")
    mission.wait_for_runs(1)
    second = mission.ziggy("run", "test")
    output = wait_for_end(mission)
    assert second.returncode == 5
    holder = mission.cluster.supervisor
    assert (
        f"another supervisor is in charge: process {first.pid} on {holder.host}, since "
        f"{holder.since:%Y-%m-%d %H:%M:%S} UTC" in output
    )
    output, _ = first.communicate(timeout=240)
    assert first.returncode == 0, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_a_signal_ends_says_how_to_resume_it(make_mission, number):
    mission = make_mission(0)
    process = mission.ziggy("run", "test")
    mission.wait_for_runs(50)
    process.send_signal(number)
    output = wait_for_end(mission)
    assert process.returncode == 128 + number
    assert "resume with: ziggy run --continue" in output
    assert mission.family() == []
    before = mission.recorded()
    mission.ziggy("run", "--continue")
    output = wait_for_end(mission)
    assert mission.supervisor.returncode == 0, output
    check_result(mission, before)
