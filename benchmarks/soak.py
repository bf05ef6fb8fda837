"""Months of operation in an hour: deliveries, poison, restarts, kills, readers, backups.

A supervisor in the background is sent one delivery after another. Some are damaged, some hold
an item that ends the worker that takes it first. Meanwhile the supervisor is stopped and killed
and started again, workers are killed, somebody reads all the time, and backups are made. At the
end all is counted, the last backup is restored and looked at, and a table shows what the
supervisor's process, the datastore and commands have come to cost.

Usage: python benchmarks/soak.py [DELIVERIES] [--seed N] [--pause SECONDS]

Ends with exit code 1 if anything was lost, made twice, or read in part.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import ziggy_dask as z
from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.cluster import Cluster
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
from ziggy_dask.records import InstanceState, alerts, deliveries, instances, triggers

PIPELINE = """
pipeline: soak
process: new
placeholders: {night: "night-[0-9]+"}
data_types:
  frames: {location: "{night}/frames", files: "(f[0-9]+).csv", reader: csv, subtask: frame,
           external: true}
  levels: {location: "{night}/levels", subtask: frame}
  scores: {location: "{night}/scores", subtask: frame}
nodes:
  receive: {step: data-receipt}
  measure: {function: "algorithms:measure", inputs: [frames], outputs: [levels],
            after: [receive]}
  score: {function: "algorithms:score", inputs: [levels], outputs: [scores]}
events:
  downlink: {directory: READY}
"""
ALGORITHMS = """
import os
from pathlib import Path

HERE = Path(__file__).parent


def measure(frames, context):
    with (HERE / "ran.txt").open("a") as file:
        file.write(f"{context.unit['night']} {context.labels[0]}\\n")
    for path in HERE.glob(f"poison-{context.unit['night']}-{context.labels[0]}"):
        path.unlink()
        os._exit(3)
    return frames * 2


def score(levels):
    return levels.rename(count="score")
"""
CLUSTER = "cluster: soak\nhome: ./home\ncompute: {local: {workers: 2}}\n"
FRAMES = 3
ROWS = 20
"""So many rows the file of a frame has; the first is the number of its night."""
END_S = 60.0
"""Longest time that a supervisor may take to end, in seconds."""
DRAIN_S = 1800.0
"""Longest time without any news before all is given up, in seconds."""
PARTS = 10
"""So often the costs are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What things have come to cost after some deliveries."""

    deliveries: int
    rss_mb: float
    """Memory of the supervisor's process."""
    files: int
    """Files that it has open."""
    threads: int
    datastore_kb: float
    database_kb: float
    status_ms: float
    history_ms: float
    plan_ms: float


@dataclass(slots=True)
class Soak:
    """A mission under way, and what its driver knows of it."""

    place: Path
    random: random.Random
    pid: int = 0
    good: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    backups: list[Path] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        """The cluster, opened anew."""
        return z.open(self.place / "cluster.yaml")

    def ziggy(self, *words: str, file: str = "cluster.yaml") -> str:
        """Run a command as its users do; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "ziggy_dask", "--cluster", file, *words],
            cwd=self.place,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            self.faults.append(f"ziggy {' '.join(words)}: {done.stderr.strip()[-500:]}")
        return done.stdout


def main() -> None:
    """Run a soak, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("deliveries", nargs="?", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ziggy-soak-") as place:
        soak = prepare(Path(place), given.seed)
        costs = run(soak, given.deliveries, given.pause)
    for line in table(costs):
        print(line)
    print(", ".join(f"{count} {what}" for what, count in sorted(soak.done.items())))
    print(f"{len(soak.good)} good and {len(soak.bad)} damaged deliveries")
    print(
        "\n".join(soak.faults) or "nothing lost, nothing made twice, nothing half read"
    )
    sys.exit(1 if soak.faults else 0)


def prepare(place: Path, seed: int) -> Soak:
    """Return a mission whose supervisor runs."""
    (place / "ready").mkdir()
    (place / "mission").mkdir()
    text = PIPELINE.replace("READY", str(place / "ready"))
    (place / "mission" / "pipeline.yaml").write_text(text)
    (place / "mission" / "algorithms.py").write_text(ALGORITHMS)
    (place / "cluster.yaml").write_text(CLUSTER)
    soak = Soak(place, random.Random(seed))
    soak.ziggy("cluster", "init", "cluster.yaml")
    soak.ziggy("import", "mission")
    start(soak)
    return soak


def run(soak: Soak, number: int, pause_s: float) -> list[Cost]:
    """Send deliveries and make trouble; count everything at the end."""
    costs = []
    part = max(1, number // PARTS)
    with reading(soak):
        for night in range(1, number + 1):
            deliver(soak, night)
            time.sleep(soak.random.uniform(0, 2 * pause_s))
            if soak.random.random() < 0.08:
                disturb(soak)
            if night % part == 0:
                drain(soak)
                costs.append(cost_of(soak, night))
                print(costs[-1], flush=True)
        drain(soak)
    soak.ziggy("cluster", "stop")
    count(soak)
    if soak.backups:
        restore(soak)
    return costs


def deliver(soak: Soak, night: int) -> None:
    """Send one delivery, now and then a damaged or a poisonous one."""
    name = f"d-{night}"
    place = soak.cluster._site.cluster.receipt / name
    frames = place / f"night-{night}" / "frames"
    frames.mkdir(parents=True)
    for frame in range(FRAMES):
        rows = "".join(f"{row},{night}\n" for row in range(ROWS))
        (frames / f"f{frame}.csv").write_text(f"time,count\n{rows}")
    manifest = generate_manifest(place, night, ChecksumType.SHA256)
    (place / f"{name}-manifest.xml").write_text(manifest_to_xml(manifest))
    if soak.random.random() < 0.05:
        (frames / "f1.csv").write_text("time,count\n0,broken\n")
        soak.bad.add(night)
    else:
        soak.good.add(night)
    if soak.random.random() < 0.05:
        (soak.place / "mission" / f"poison-night-{night}-f0").touch()
        soak.done["poison"] += 1
    (soak.place / "ready" / f"{name}.READY.{name}.1").touch()


def start(soak: Soak) -> None:
    """Start a supervisor in the background."""
    soak.ziggy("cluster", "start")
    holder = soak.cluster.supervisor
    soak.pid = holder.pid if holder else 0


def disturb(soak: Soak) -> None:
    """Do one of the things that happen in operations."""
    what: Callable[[Soak], None] = soak.random.choice(
        [stop_and_start, kill_supervisor, kill_worker, kill_worker, back_up, back_up]
    )
    what(soak)
    soak.done[what.__name__.replace("_", " ")] += 1


def stop_and_start(soak: Soak) -> None:
    """Restart the supervisor as for an update."""
    began = time.monotonic()
    soak.ziggy("cluster", "stop")
    if time.monotonic() - began > END_S:
        soak.faults.append(f"the supervisor took over {END_S:.0f} s to end")
    start(soak)


def kill_supervisor(soak: Soak) -> None:
    """Pull the plug of the supervisor, and of all that it started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(soak.pid)
        family = [process, *process.children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=30)
    start(soak)


def kill_worker(soak: Soak) -> None:
    """End a process below the supervisor."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(soak.pid).children(recursive=True)
        if below:
            os.kill(soak.random.choice(below).pid, signal.SIGKILL)


def back_up(soak: Soak) -> None:
    """Make a backup while all goes on."""
    file = soak.place / f"records-{len(soak.backups)}.zip"
    soak.ziggy("backup", str(file))
    soak.backups.append(file)


@contextmanager
def reading(soak: Soak) -> Iterator[None]:
    """Read products all the while; each is there whole, or not at all."""
    ended = threading.Event()

    def read() -> None:
        choose = random.Random(0)
        while not ended.wait(0.5):
            try:
                datastore = soak.cluster.datastore
                paths = [one for one in datastore if one.endswith("/levels")]
                for path in choose.sample(paths, min(3, len(paths))):
                    soak.faults += wrong(path, datastore[path].load())
                    soak.done["reads"] += 1
            except ZiggyError as error:
                soak.faults.append(f"a reader was told: {error}")

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wrong(path: str, levels: object) -> list[str]:
    """Return what is wrong with the levels of a night."""
    night = int(path.split("/")[0].split("-")[1])
    values = levels["count"].values  # type: ignore[index]
    if values.shape != (FRAMES, ROWS) or (values != 2 * night).any():
        return [f"{path} has {values.shape} values, from {values.min()}"]
    return []


def drain(soak: Soak) -> None:
    """Wait until every good delivery was taken, and every instance has ended."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < DRAIN_S:
        database = soak.cluster._site.database
        states = Counter(one.state.is_final for one in instances.instances(database))
        ready = {one.name.split(".")[0] for one in (soak.place / "ready").iterdir()}
        waiting = len(ready - {f"d-{night}" for night in soak.bad})
        if not waiting and not states[False]:
            return
        if states[True] != seen:
            seen, since = states[True], time.monotonic()
        time.sleep(1)
    soak.faults.append(
        f"{waiting} ready files and {states[False]} instances do not end"
    )


def cost_of(soak: Soak, night: int) -> Cost:
    """Measure what things cost now."""
    process = psutil.Process(soak.pid)
    site = soak.cluster._site
    home = soak.place / "home"
    return Cost(
        deliveries=night,
        rss_mb=process.memory_info().rss / 1e6,
        files=process.num_fds(),
        threads=process.num_threads(),
        datastore_kb=size_kb(home / "datastore"),
        database_kb=sum(one.stat().st_size for one in home.glob("*.db*")) / 1e3,
        status_ms=timed(lambda: z.open(site.cluster.path).supervisor),
        history_ms=timed(lambda: z.open(site.cluster.path).history("night-1/levels")),
        plan_ms=timed(lambda: z.open(site.cluster.path).plan("soak")),
    )


def timed(call: Callable[[], object]) -> float:
    """Return the time of a call, the shortest of three, in ms."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def size_kb(directory: Path) -> float:
    """Return the size of all files below a directory."""
    return (
        sum(one.stat().st_size for one in directory.rglob("*") if one.is_file()) / 1e3
    )


def count(soak: Soak) -> None:
    """Compare what was sent with what was received, acknowledged and made."""
    cluster = soak.cluster
    database = cluster._site.database
    received = Counter(one.dataset_id for one in deliveries.deliveries(database))
    expect(soak, "received", received, soak.good)
    kept = (soak.place / "home" / "log" / "manifests").glob("d-*-manifest-ack.xml")
    names = Counter(int(one.name.split("-")[1]) for one in kept)
    expect(soak, "acknowledged", names, soak.good)
    products = Counter(list(cluster.datastore))
    for kind in ("frames", "levels", "scores"):
        nights = Counter(
            int(path.split("/")[0].split("-")[1])
            for path in products
            if path.endswith(f"/{kind}")
        )
        expect(soak, kind, nights, soak.good)
    for night in soak.good:
        path = f"night-{night}/levels"
        if path in products:
            soak.faults += wrong(path, cluster.datastore[path].load())
            if len(cluster.history(path)) > 1:
                soak.faults.append(
                    f"{path} was made {len(cluster.history(path))} times"
                )
    states = Counter(one.state for one in instances.instances(database))
    for state, number in states.items():
        soak.done[f"instances {state.value}"] = number
    if not states.keys() <= {
        InstanceState.COMPLETED,
        InstanceState.TRANSITION_FAILED,
        InstanceState.ERRORS_STALLED,
    }:
        soak.faults.append(f"instances ended as {dict(states)}")
    soak.done["alerts"] = len(alerts.alerts(database))
    soak.done["events"] = len(triggers.events(database))
    found = soak.ziggy("doctor")
    if found:
        soak.done["lines of the doctor"] = len(found.splitlines())


def expect(soak: Soak, what: str, found: Counter[int | None], wanted: set[int]) -> None:
    """Note nights that are missing, too many, or there more than once."""
    if missing := wanted - found.keys():
        soak.faults.append(f"{what}: {len(missing)} missing, e.g. {min(missing)}")
    if extra := {one for one in found if one not in wanted}:
        soak.faults.append(
            f"{what}: {len(extra)} too many: {sorted(map(str, extra))[:5]}"
        )
    if twice := [one for one, number in found.items() if number > 1]:
        soak.faults.append(f"{what}: more than once: {twice[:5]}")


def restore(soak: Soak) -> None:
    """Restore the last backup beside the mission, and let the doctor look at it."""
    copy = soak.place / "copy"
    copy.mkdir()
    shutil.copytree(soak.place / "mission", copy / "mission")
    shutil.copytree(soak.place / "home" / "datastore", copy / "home" / "datastore")
    (copy / "cluster.yaml").write_text(CLUSTER)
    for words in (
        ["cluster", "init", "copy/cluster.yaml"],
        ["restore", str(soak.backups[-1])],
        ["doctor"],
    ):
        soak.ziggy(*words, file="copy/cluster.yaml")


def table(costs: list[Cost]) -> Iterator[str]:
    """Return the costs as a table, and what the last of them is to the first."""
    names = list(Cost.__dataclass_fields__)
    yield "  ".join(f"{name:>12}" for name in names)
    for cost in costs:
        yield "  ".join(f"{getattr(cost, name):>12.0f}" for name in names)
    first, last = costs[0], costs[-1]
    ratios = (getattr(last, name) / max(1e-9, getattr(first, name)) for name in names)
    yield "  ".join(f"{'×' + format(ratio, '.1f'):>12}" for ratio in ratios)


if __name__ == "__main__":
    main()
