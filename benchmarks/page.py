"""How long the page takes to look at an instance of a million subtasks.

Usage: python benchmarks/page.py [--tasks 10000] [--subtasks 100]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, update

import ziggy_dask as z
from ziggy_dask.interface.page.panels import panels
from ziggy_dask.interface.page.view import View
from ziggy_dask.records import Database, create_database, instances, library, outcomes
from ziggy_dask.records.overview import Order, TaskQuery, scoreboard, task_page
from ziggy_dask.records.tables import PartRow, SubtaskRow, TaskRow

NODES = 10
LABELS = {"labels": [f"item-{number}" for number in range(100)]}


def fill(database: Database, tasks: int, subtasks: int) -> None:
    """Record an instance; one subtask in a thousand failed."""
    library.register(database, [z.Pipeline(name="large")])
    made = instances.NewInstance(
        name="",
        pipeline_id=library.pipeline(database, "large").id,
        code_version="",
        options={},
        parameters={},
        software={},
        base_snapshot="A",
    )
    number = instances.create_instance(database, made)
    new = [
        instances.NewTask(
            position=n,
            node=f"node-{n % NODES}",
            unit=f"[set-{n}]",
            plan=LABELS,
            total=subtasks,
        )
        for n in range(tasks)
    ]
    ids = instances.create_tasks(database, number, new, base_snapshot="A")
    with database.writing() as connection:
        for task in ids:
            connection.execute(insert(PartRow).values(id=task, task_id=task))
            rows = [row(task, n) for n in range(subtasks)]
            connection.execute(insert(SubtaskRow), rows)
        connection.execute(
            update(TaskRow).values(complete=subtasks, started=datetime.now(UTC))
        )


def row(task: int, number: int) -> dict[str, object]:
    """Return the row of a subtask."""
    is_bad = (task * 7 + number) % 1000 == 0
    return {
        "task_id": task,
        "number": number,
        "part_id": task,
        "state": "FAILED" if is_bad else "COMPLETE",
        "cause": "exception" if is_bad else "",
        "message": "ValueError: too dark" if is_bad else "",
        "outputs": ["set-1/out"],
        "host": "machine",
        "worker": "0",
        "started_s": 1e9 + number,
        "wall_s": 1.0,
        "cpu_s": 1.0,
        "peak_memory_bytes": 10**8,
        "fingerprint": "abc" if is_bad else "",
    }


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--subtasks", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ziggy-bench-") as directory:
        database = create_database(f"sqlite:///{Path(directory)}/ziggy.db")
        fill(database, chosen.tasks, chosen.subtasks)
        by_unit = TaskQuery(instance=1, order=Order.UNIT, text="99")
        looks = {
            "scoreboard": lambda: scoreboard(database, 1),
            "scoreboard of the past": lambda: scoreboard(
                database, 1, at=datetime.now(UTC)
            ),
            "page of tasks, filtered and sorted": lambda: task_page(database, by_unit),
            "all tasks, as for 'ziggy tasks'": lambda: instances.tasks(database, 1),
            "failures by cause": lambda: outcomes.failures(database, 1),
            "all panels, as for an update": lambda: panels(
                database, View(), may_act=True
            ),
        }
        for name, look in looks.items():
            began = time.perf_counter()
            look()
            print(f"{name:36s} {1e3 * (time.perf_counter() - began):8.1f} ms")
        database.close()


if __name__ == "__main__":
    main()
