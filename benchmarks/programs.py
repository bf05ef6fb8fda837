"""Overhead per subtask when the algorithm is a program.

Each subtask gets a file of 120 kB, runs a program that copies it, and stores the copy.
What the program takes by itself, started by hand in an empty directory, is subtracted.

Usage: python benchmarks/programs.py [--subtasks 2000] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from ziggy_dask.interface.cluster import Cluster, create_cluster

PROGRAM = '#!/bin/sh\nexec cp image-*.raw "$(echo image-*.raw | tr w s)"\n'
DEFINITION = """
pipeline: bench
placeholders: {dataset: "set-[0-9]"}
data_types:
  raw: {location: "{dataset}/L0", kind: file, files: "(image-[0-9]+)[.]raw", reader: bytes}
  made: {location: "{dataset}/L1", kind: file, files: "(image-[0-9]+)[.]ras"}
nodes:
  receipt: {step: data-receipt}
  copy: {program: copy, inputs: [raw], outputs: [made]}
"""


def prepare(home: Path, count: int, workers: int) -> Path:
    """Write a pipeline, its program, a delivery and a cluster file; return the last."""
    (home / "mission" / "bin").mkdir(parents=True)
    program = home / "mission" / "bin" / "copy"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (home / "mission" / "pipeline.yaml").write_text(DEFINITION)
    delivery = home / "delivery" / "set-1" / "L0"
    delivery.mkdir(parents=True)
    for number in range(count):
        (delivery / f"image-{number}.raw").write_bytes(os.urandom(120_000))
    file = home / "cluster.yaml"
    file.write_text(
        f"cluster: bench\nhome: ./home\ncompute: {{local: {{workers: {workers}}}}}\n"
    )
    return file


def by_hand(home: Path, count: int) -> float:
    """Return the seconds that the program takes when it is started by hand."""
    directory = home / "by-hand"
    directory.mkdir()
    (directory / "image-0.raw").write_bytes(os.urandom(120_000))
    began = time.perf_counter()
    for _ in range(count):
        subprocess.run([home / "mission" / "bin" / "copy"], cwd=directory, check=True)
    return (time.perf_counter() - began) / count


def seconds_each(cluster: Cluster, count: int, workers: int) -> float:
    """Run the pipeline; return the seconds of a worker that a subtask takes."""
    records = cluster.run("bench", start="copy").tasks[0].subtasks
    assert len(records) == len(cluster.datastore.items("set-1/L1")) == count
    first = min(one.started.timestamp() for one in records)
    last = max(one.started.timestamp() + one.wall_s for one in records)
    return (last - first) * workers / count


def main() -> None:
    """Run the benchmark and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subtasks", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        home = Path(name).resolve()
        cluster = create_cluster(prepare(home, options.subtasks, options.workers))
        cluster.register(home / "mission")
        cluster.receive(home / "delivery", needs_manifest=False)
        own = by_hand(home, 200)
        for known in ("nothing known of durations", "durations known"):
            each = seconds_each(cluster, options.subtasks, options.workers)
            print(
                f"{options.subtasks} programs  {each * 1e3:.1f} ms each  the program "
                f"itself {own * 1e3:.1f} ms  overhead {(each - own) * 1e3:.1f} ms  ({known})"
            )
        left = list((home / "home" / "work").iterdir())
    zombies = [one for one in psutil.Process().children() if one.status() == "zombie"]
    print(f"directories left {len(left)}  zombies {len(zombies)}")


if __name__ == "__main__":
    main()
