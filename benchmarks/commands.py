"""How long whole commands take with a million subtasks on record, start included.

Usage: python benchmarks/commands.py [--tasks 10000] [--subtasks 100] [--home DIRECTORY]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import fill

import ziggy_dask as z
from ziggy_dask.records import open_database

COMMANDS = (
    ("--help",),
    ("status",),
    ("instances",),
    ("tasks", "1"),
    ("tasks", "1", "--json"),
    ("subtasks", "1"),
    ("logs", "1"),
    ("failures", "1"),
    ("alerts",),
    ("stats", "1"),
    ("stats", "1", "--breakdown"),
)
TRIES = 3


def times(file: Path, command: tuple[str, ...]) -> tuple[float, float]:
    """Return the least times, of the clock and of the processor, in seconds."""
    whole = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file), *command]
    tries = []
    for _ in range(TRIES):
        began, used = time.perf_counter(), os.times()
        subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
        clock, now = time.perf_counter() - began, os.times()
        processor = now.children_user + now.children_system
        processor -= used.children_user + used.children_system
        tries.append((clock, processor))
    clocks, processors = zip(*tries, strict=True)
    return min(clocks), min(processors)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--subtasks", type=int, default=100)
    parser.add_argument("--home", type=Path, help="Where the cluster is made and kept.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ziggy-bench-") as directory:
        home = chosen.home or Path(directory)
        home.mkdir(exist_ok=True)
        file = home / "cluster.yaml"
        if not file.exists():
            file.write_text("cluster: large\nhome: .\n", encoding="utf-8")
            z.create(file)
            url = f"sqlite:///{home / 'ziggy.db'}"
            fill(open_database(url), chosen.tasks, chosen.subtasks)
        for command in COMMANDS:
            clock, processor = times(file, command)
            shown = f"ziggy {' '.join(command)}"
            print(f"{shown:28s} {clock:6.2f} s, of which processor {processor:6.2f} s")


if __name__ == "__main__":
    main()
