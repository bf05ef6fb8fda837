"""Supervisors that serve, databases that go away, and holders that sleep too long.

As in `test_kill`, a seed says when it happens; more seeds by hand (about 20 s each, and
100 s if a supervisor sleeps)::

    ZIGGY_KILL_SEEDS=0-9 pytest -m "integration or postgres" -n 0 tests/integration/test_takeover.py
"""

import psutil
import pytest

from tests.integration.mission import (
    check_result,
    seeds,
    wait_for_end,
    wait_until,
)
from ziggy_dask.records.lease import LEASE_S

pytestmark = pytest.mark.integration


def start_service(mission) -> psutil.Process:
    """Start a supervisor in the background, as operators do."""
    started = mission.ziggy("cluster", "start")
    output = wait_for_end(mission)
    assert started.returncode == 0, output
    return psutil.Process(mission.cluster.supervisor.pid)


def wait_for_more_runs(mission) -> None:
    """Wait until a few more subtasks ran, or all has ended."""
    count = mission.runs.total() + mission.dice.randint(1, 400)
    wait_until(lambda: mission.runs.total() >= count or has_ended(mission))


@pytest.mark.parametrize("seed", seeds((0,)))
def test_a_service_is_killed_twice_and_started_again(make_mission, seed):
    mission = make_mission(seed)
    service = start_service(mission)
    mission.ziggy("run", "test", "--detach")
    assert wait_for_end(mission) == "1\n"
    before = {}
    for _ in range(2):
        wait_for_more_runs(mission)
        before |= mission.recorded()
        service.kill()
        service.wait()
        service = start_service(mission)
    assert mission.cluster.follow(1).state.value == "COMPLETED"
    mission.cluster.end_supervisor()
    psutil.wait_procs(mission.family(), timeout=60)
    check_result(mission, before)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", seeds((0, 1)))
def test_a_database_server_starts_again_in_mid_run(make_mission, postgres, seed):
    """By even seeds it is killed, by odd ones it is shut down."""
    mission = make_mission(seed, postgres.new_database())
    mission.ziggy("run", "test")
    mission.wait_for_runs(mission.dice.randint(1, 1990))
    before = mission.recorded()
    (postgres.stop if seed % 2 else postgres.kill)()
    postgres.start()
    output = wait_for_end(mission)
    assert mission.supervisor.returncode == 0, output
    check_result(mission, before)


@pytest.mark.parametrize("seed", seeds((0,)))
def test_a_holder_that_wakes_up_too_late_publishes_nothing(make_mission, seed):
    """By even seeds it wakes up as the other one begins, by odd ones when that has ended."""
    mission = make_mission(seed)
    holder = mission.ziggy("run", "test")
    mission.wait_for_runs(mission.dice.randint(1, 1500))
    holder.suspend()
    before = mission.recorded()
    other = mission.ziggy("cluster", "serve", "--standby")
    wait_until(lambda: is_in_charge(mission, other), at_most_s=240 + LEASE_S)
    if seed % 2:
        mission.cluster.follow(1)
        tip = mission.cluster._site.repository.tip()
    holder.resume()
    output, _ = holder.communicate(timeout=240)
    assert holder.returncode == 5, output
    assert "this supervisor is no longer in charge" in output
    if seed % 2:
        assert mission.cluster._site.repository.tip() == tip
    wait_until(lambda: other.poll() is not None or has_ended(mission))
    mission.cluster.end_supervisor()
    output = wait_for_end(mission)
    assert other.returncode == 0, output
    check_result(mission, before)


def has_ended(mission) -> bool:
    """Tell whether nothing is left to do."""
    return mission.cluster.instance(1).state.is_final


def is_in_charge(mission, process) -> bool:
    """Tell whether a process supervises."""
    lease = mission.cluster.supervisor
    return lease is not None and lease.pid == process.pid
