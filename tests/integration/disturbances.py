"""What can happen to a run: processes killed or stopped, disks full, clocks set.

Each disturbance is a context: it does harm when entered, and takes it back at the
end. `KINDS` lists them; `mission` is a `Mission`.
"""

import os
import random
import resource
import sqlite3
import subprocess
import time
from contextlib import contextmanager, suppress

import psutil

STOP_S = float(os.environ.get("ZIGGY_STOP_S", "30"))
"""So long processes are stopped."""
HARM_S = 3.0
"""So long disks stay full, datastores read-only and databases locked."""


def pause(mission, seconds):
    """Let harm last for a while, or until the supervisor has ended of it."""
    with suppress(psutil.TimeoutExpired):
        mission.supervisor.wait(timeout=seconds)


@contextmanager
def killed(mission, process):
    """Kill a process for good."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
    yield


@contextmanager
def stopped(mission, process):
    """Stop a process and let it go on."""
    with suppress(psutil.NoSuchProcess):
        process.suspend()
    try:
        pause(mission, STOP_S)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


@contextmanager
def full_disk(mission):
    """Leave no byte on the file system of the cluster's home."""
    if not mission.is_mounted:  # without the right to mount: files can't grow
        with limited_files(mission):
            pause(mission, HARM_S)
            yield
        return
    filler = mission.home / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass
    try:
        pause(mission, HARM_S)
        yield
    finally:
        filler.unlink()


@contextmanager
def limited_files(mission):
    """Let no process of the run write to any file."""
    before = {}
    for process in mission.family():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            _, hard = before[process.pid] = resource.prlimit(
                process.pid, resource.RLIMIT_FSIZE
            )
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def read_only_datastore(mission):
    """Let nobody write to the datastore."""
    place = str(mission.home / "datastore")
    if not mission.is_mounted:
        with limited_files(mission):
            pause(mission, HARM_S)
            yield
        return
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        # It is refused while a file is open for writing.
        while subprocess.run(
            ["mount", "-o", "remount,bind,ro", place], capture_output=True, check=False
        ).returncode:
            time.sleep(0.001)
        pause(mission, HARM_S)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def clock_jump(mission):
    """Set the clock of all processes of the run by hours, to and fro, again and again."""
    hours = mission.dice.choice([18_000, -18_000])
    for step in range(100):
        mission.set_clock(0 if step % 2 else hours)
        pause(mission, HARM_S / 100)
    yield


@contextmanager
def locked_database(mission):
    """Keep everyone else from writing to the database."""
    with sqlite3.connect(mission.database, isolation_level=None, timeout=60) as held:
        held.execute("BEGIN IMMEDIATE")
        try:
            pause(mission, HARM_S)
            yield
        finally:
            held.execute("ROLLBACK")
    held.close()


def _on(harm, whom):
    """Return a disturbance of one process, which the dice choose."""

    @contextmanager
    def disturbance(mission):
        some = whom(mission)
        if some:
            with harm(mission, mission.dice.choice(some)):
                yield
        else:
            yield

    return disturbance


def _supervisor(mission):
    return [psutil.Process(mission.supervisor.pid)]


def _workers(mission):
    return [one for one in mission.family() if "spawn_main" in _words(one)]


def _nannies(mission):
    return [
        one for one in mission.compute if one.is_running() and "worker" in _words(one)
    ]


def _schedulers(mission):
    return [one for one in mission.compute if "scheduler" in _words(one)]


def _words(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


LOCAL = {
    "supervisor killed": _on(killed, _supervisor),
    "supervisor stopped": _on(stopped, _supervisor),
    "worker killed": _on(killed, _workers),
    "worker stopped": _on(stopped, _workers),
    "full disk": full_disk,
    "read-only datastore": read_only_datastore,
    "clock jump": clock_jump,
    "locked database": locked_database,
}
"""Where scheduler and nannies live in the supervisor's process."""
ADDRESS = {
    "scheduler killed": _on(killed, _schedulers),
    "scheduler stopped": _on(stopped, _schedulers),
    "nanny killed": _on(killed, _nannies),
    "nanny stopped": _on(stopped, _nannies),
    "supervisor of others' workers killed": _on(killed, _supervisor),
}
"""Where they are processes of their own."""
KINDS = LOCAL | ADDRESS


def drawn(seed: int) -> tuple[str, int]:
    """Return the disturbance of a seed, and after how many runs of subtasks it comes."""
    names = sorted(KINDS)
    return names[seed % len(names)], random.Random(seed).randint(1, 1990)
