"""Any signal to any process of a run, at any moment: nothing is lost, done twice, or left.

A seed draws the signal, the process, the moment, and where workers are. Then the run goes
on or is restarted, and everything must be as if nothing had happened. More seeds by hand,
one after the other (about 20 s each)::

    ZIGGY_KILL_SEEDS=0-99 pytest -m integration -n 0 -v tests/integration/test_any_signal.py
"""

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest

from tests.integration.killing import ALGORITHMS as PLAIN
from tests.integration.mission import Mission, check_result, seeds, wait_until
from ziggy_dask.records import InstanceState

pytestmark = pytest.mark.integration

ALGORITHMS = PLAIN.replace(
    "return raw * 2",
    """
        import subprocess
        subprocess.run(["sleep", "0.03"], check=True)
        return raw * 2
    """.strip(),
)

FEW = (15, 16, 22, 23)
"""Seeds for every day: SIGTERM and SIGINT to the supervisor, others to nanny and worker."""
COUNT = 50
"""Items per data set; so 202 subtasks, 100 of which start a child."""
SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT", "SIGKILL", "SIGSTOP")

ROLES: dict[str, Callable[[str], bool]] = {
    "supervisor": lambda words: "ziggy_dask" in words and "--cluster" in words,
    "scheduler": lambda words: "dask scheduler" in words,
    "nanny": lambda words: "dask worker" in words,
    "worker": lambda words: "spawn_main" in words,
    "child": lambda words: words.startswith("sleep "),
    "other": lambda words: True,
}
"""What processes of a run are, by their command lines; the first that fits."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a seed means."""

    name: str
    role: str
    is_away: bool
    """Whether scheduler and nannies are processes of their own."""
    after_runs: int
    """After how many runs of subtasks it comes; 0: of the processes, as soon as one is there."""
    pause_s: float
    """How long after that."""
    stopped_s: float
    """For how long a process is stopped."""


def drawn(seed: int) -> Drawn:
    """Return what a seed means."""
    dice = random.Random(seed)
    is_away = dice.random() < 0.4
    roles = [one for one in ROLES if is_away or one not in ("scheduler", "nanny")]
    return Drawn(
        name=dice.choice(SIGNALS),
        role=dice.choice(roles),
        is_away=is_away,
        after_runs=dice.choice([0, *(dice.randint(1, 4 * COUNT) for _ in range(3))]),
        pause_s=dice.uniform(0, 3) if dice.random() < 0.3 else 0.0,
        stopped_s=dice.choice([0.1, 1.0, 5.0, 10.0]),
    )


def found(mission: Mission, role: str) -> list[psutil.Process]:
    """Return the processes of a run that have a role."""
    some = []
    for process in mission.family():
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if (
                words
                and next(one for one, fits in ROLES.items() if fits(words)) == role
            ):
                some.append(process)
    return some


def send(mission: Mission, what: Drawn, dice: random.Random) -> str:
    """Send a signal to a process, once there is one; return to which."""
    told: list[str] = []

    def is_over() -> bool:
        if mission.supervisor.poll() is not None:
            return True
        some = found(mission, what.role)
        if some:
            process = dice.choice(some)
            with suppress(psutil.NoSuchProcess):
                told.append(f"{process.pid} {' '.join(process.cmdline())}")
                process.send_signal(getattr(signal, what.name))
                if what.name == "SIGSTOP":
                    with suppress(psutil.TimeoutExpired):
                        mission.supervisor.wait(timeout=what.stopped_s)
                    process.send_signal(signal.SIGCONT)
        return bool(some)

    wait_until(is_over)
    return told[0] if told else "nobody"


@pytest.mark.parametrize("seed", seeds(FEW))
def test_any_signal_to_any_process(make_mission, seed):
    what = drawn(seed)
    mission = make_mission(seed, count=COUNT, algorithms=ALGORITHMS)
    if what.is_away:
        mission.start_compute()
    mission.ziggy("run", "test")
    mission.wait_for_runs(what.after_runs)
    with suppress(psutil.TimeoutExpired):
        mission.supervisor.wait(timeout=what.pause_s)
    to = send(mission, what, random.Random(seed))
    print(what, "to", to)
    said = []
    if what.is_away and what.role == "scheduler":
        said.append(ended(mission, what))
        mission.end_compute()
        mission.start_compute()
    else:
        said.append(ended(mission, what))
    before = mission.recorded()
    while command := mission.next_command():
        assert len(said) < 4, said
        before |= mission.recorded()
        mission.ziggy(*command)
        said.append(ended(mission, None))
    mission.end_compute()
    check_result(mission, before)
    check_nothing_left(mission, what)


def ended(mission: Mission, what: Drawn | None) -> str:
    """Wait for the end of the supervisor; check its exit code, and what it said and left."""
    output, _ = mission.supervisor.communicate(timeout=240)
    print(output)
    code = mission.supervisor.returncode
    states = [one.state for one in mission.cluster.instances.values()]
    about = f"{code}, {states}, {what}: {output}"
    if (
        what is None or what.role != "other"
    ):  # Python's own trackers of resources tell of it
        assert "Traceback" not in output, about
    assert "Exception ignored" not in output, about
    was_told = what is not None and what.role == "supervisor"
    if code == 0:
        assert states == [InstanceState.COMPLETED], about
    elif code == 1:
        assert states in (
            [InstanceState.ERRORS_STALLED],
            [InstanceState.TRANSITION_FAILED],
        ), about
    elif code in (4, 5):
        assert what is None or what.role == "scheduler", about
    elif code < 0:  # at once, or before it had begun
        assert (was_told, -code) == (True, getattr(signal, what.name)), about
        assert code == -signal.SIGKILL or states == [], about
    else:
        assert (was_told, code - 128) == (True, getattr(signal, what.name)), about
        assert "resume with: ziggy run --continue" in output, about
        assert not any(one.is_final for one in states), about
    compute = {one.pid for one in mission.compute}
    compute |= {
        child.pid
        for one in mission.compute
        if one.is_running()
        for child in one.children(recursive=True)
    }
    wait_until(lambda: all(one.pid in compute for one in mission.family()), 60)
    return output


def check_nothing_left(mission: Mission, what: Drawn) -> None:
    """Check that no file is left but those that are to be kept."""
    scratch = set(mission.home.glob("scratch/**/*"))
    if not what.is_away:  # elsewhere it is Dask's, whose nannies were killed
        scratch |= set(mission.temporary.rglob("*"))
    left = {one.name for one in scratch}
    assert left <= {"dask-scratch-space", "global.lock", "purge.lock"}
    kept = {"code", "datastore", "logs", "receipt", "scratch"}
    kept |= {"ziggy.db", "ziggy.db-shm", "ziggy.db-wal"}
    assert {one.name for one in mission.home.iterdir()} <= kept
