"""What it costs to record how tasks stood at any moment, in parts of the run time.

The time that goes into the journal is measured while a run goes on; all of it is the
supervisor's, which the run does not always wait for. Usage: python benchmarks/replay.py
[--subtasks 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Client
from overhead import prepare, run_with_ziggy, two_workers

import ziggy_dask as z
from ziggy_dask.records import journal


class Clock:
    """A function, and the time that its calls take."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self.seconds = 0.0
        self.calls = 0

    def __call__(self, *args: object) -> object:
        """Call it."""
        began = time.perf_counter()
        try:
            return self._function(*args)
        finally:
            self.seconds += time.perf_counter() - began
            self.calls += 1


def measure(client: Client, count: int) -> None:
    """Print the share of the journal in a run of so many subtasks."""
    with tempfile.TemporaryDirectory(
        prefix="ziggy-bench-", ignore_cleanup_errors=True
    ) as directory:
        cluster = prepare(Path(directory), count, 0.0)
        note = journal._note
        clock = Clock(note)
        journal._note = clock
        began = time.perf_counter()
        try:
            run_with_ziggy(client, cluster)
        finally:
            journal._note = note
        took = time.perf_counter() - began
        print(
            f"{count:7d} subtasks  {took:6.1f} s  journal {clock.seconds:6.3f} s in "
            f"{clock.calls} notes  {100 * clock.seconds / took:5.2f} % of the run"
        )
        began = time.perf_counter()
        replayed = z.open(str(cluster._site.cluster.path)).instance(1).replay()
        print(
            f"{len(replayed):7d} moments   {time.perf_counter() - began:6.2f} s to replay"
        )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subtasks", type=int, default=10_000)
    chosen = parser.parse_args()
    with two_workers() as client:
        measure(client, chosen.subtasks)


if __name__ == "__main__":
    main()
