"""How long the page takes with an instance of a million subtasks, here and in Chromium.

*open*: from the navigation until the scoreboard shows its numbers. *update*: from a change
in the database until the scoreboard shows it, less the second between two looks; the worst
and the median of several. The rest are single queries and what one look takes in all.

Usage: python benchmarks/page.py [--tasks 10000] [--subtasks 100] [--no-browser]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select, update

import ziggy_dask as z
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.page.drawings import material
from ziggy_dask.interface.page.panels import panels
from ziggy_dask.interface.page.view import View
from ziggy_dask.records import Database, instances, library, outcomes
from ziggy_dask.records.overview import (
    Order,
    TaskQuery,
    scoreboard,
    task_lines,
    task_page,
)
from ziggy_dask.records.tables import JournalRow, PartRow, SubtaskRow, TaskRow

NODES = 10
LABELS = {"labels": [f"item-{number}" for number in range(100)]}
WORKERS = 8
STEPS = 10
"""So many notes of the journal per task."""
LOOK_S = 1.0
"""Time between two looks of the page."""
UPDATES = 12
SEEN = """
window.seen = {};
new MutationObserver(() => {
  const text = document.querySelector("#scoreboard tbody")?.textContent;
  if (!text) return;
  window.openedMs ??= performance.now();
  window.seen[text] ??= Date.now();
}).observe(document, {childList: true, subtree: true, characterData: true});
"""


def chain() -> z.Pipeline:
    """Return a pipeline of nodes that follow each other."""
    kinds = [
        z.DataType(
            name=f"kind-{n}",
            location=z.Location(f"{{dataset}}/kind-{n}"),
            external=n == 0,
            subtask="item",
        )
        for n in range(NODES + 1)
    ]
    nodes = [
        z.Node(
            name=f"node-{n}",
            step=z.FunctionStep(function="algorithms:work"),
            inputs=(z.Input(data_type=f"kind-{n}"),),
            outputs=(f"kind-{n + 1}",),
        )
        for n in range(NODES)
    ]
    return z.Pipeline(
        name="large",
        placeholders=(z.Placeholder(name="dataset", pattern="set-[0-9]+"),),
        data_types=tuple(kinds),
        nodes=tuple(nodes),
    )


def fill(database: Database, tasks: int, subtasks: int) -> None:
    """Record an instance; one subtask in a thousand failed."""
    library.register(database, [chain()])
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
            rows = [row(task, n, subtasks) for n in range(subtasks)]
            connection.execute(insert(SubtaskRow), rows)
            bad = sum(one["state"] == "FAILED" for one in rows)
            connection.execute(insert(JournalRow), notes(task, subtasks, bad))
            connection.execute(
                update(TaskRow)
                .where(TaskRow.id == task)
                .values(
                    complete=subtasks - bad,
                    failed=bad,
                    step="EXECUTING",
                    worker=f"machine:{task % WORKERS}",
                    started=datetime.now(UTC),
                )
            )


def notes(task: int, subtasks: int, bad: int) -> list[dict[str, object]]:
    """Return what the journal says of a task."""
    began = time.time()
    return [
        {
            "task_id": task,
            "time_s": began + n,
            "step": "EXECUTING",
            "is_error": False,
            "total": subtasks,
            "complete": (subtasks - bad) * n // STEPS,
            "failed": bad * n // STEPS,
        }
        for n in range(1, STEPS + 1)
    ]


def row(task: int, number: int, subtasks: int) -> dict[str, object]:
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
        "worker": str(task % WORKERS),
        "started_s": 1.7e9 + (task // WORKERS * subtasks + number) * 1.1,
        "wall_s": 1.0 + (number % 7) / 100,
        "cpu_s": 1.0,
        "peak_memory_bytes": 10**8 + number * 10**6,
        "fingerprint": "abc" if is_bad else "",
    }


def look(database: Database) -> None:
    """Print how long queries and whole looks take in this process."""
    by_unit = TaskQuery(instance=1, order=Order.UNIT, text="99")
    now = datetime.now(UTC)
    looks = {
        "scoreboard": lambda: scoreboard(database, 1),
        "scoreboard of the past": lambda: scoreboard(database, 1, at=now),
        "page of tasks, filtered and sorted": lambda: task_page(database, by_unit),
        "all tasks, as for 'ziggy tasks'": lambda: task_lines(database, 1),
        "failures by cause": lambda: outcomes.failures(database, 1),
        "all panels, as for an update": lambda: panels(database, View(), may_act=True),
        "what pictures are made of": lambda: material(database, 1),
    }
    for name, query in looks.items():
        began = time.perf_counter()
        query()
        print(f"{name:36s} {1e3 * (time.perf_counter() - began):8.1f} ms", flush=True)


def browse(cluster: z.Cluster, directory: Path) -> None:
    """Print how long a browser takes to open the page, and to show a change."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService
    from selenium.webdriver.support.ui import WebDriverWait

    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={directory}/chromium")
    file = str(cluster._site.cluster.path)
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", file, "console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        browser = Chrome(
            options=options, service=ChromeService("/usr/bin/chromedriver")
        )
        try:
            address = server.stdout.readline().strip()
            browser.execute_cdp_cmd(
                "Page.addScriptToEvaluateOnNewDocument", {"source": SEEN}
            )
            opened = "return window.openedMs"
            wait = WebDriverWait(browser, 120)
            for which in ("first", "second", "third"):
                browser.get(address)
                took = wait.until(lambda one: one.execute_script(opened))
                print(f"open, {which:30s} {took:8.1f} ms", flush=True)
            late = [change(cluster._site.database, wait, n) for n in range(UPDATES)]
            print(f"update, median {1e3 * statistics.median(late):29.1f} ms")
            print(f"update, worst {1e3 * max(late):30.1f} ms")
        finally:
            browser.quit()
            server.terminate()


def change(database: Database, wait: object, number: int) -> float:
    """Change a count and return when it is shown, less the time between looks."""
    time.sleep(0.37 * number % LOOK_S)  # at any time between two looks
    with database.writing() as connection:
        connection.execute(
            update(TaskRow)
            .where(TaskRow.id == number + 1)
            .values(complete=TaskRow.complete - 1)
        )
    changed = time.time()
    with database.reading() as connection:
        counts = select(TaskRow.node, TaskRow.complete).where(TaskRow.id == number + 1)
        node = connection.execute(counts).one().node
    (score,) = (one for one in scoreboard(database, 1) if one.node == node)
    words = f"{score.complete}/{score.subtasks}"
    script = f"""
      for (const [text, at] of Object.entries(window.seen))
        if (text.includes("{words}")) return at;
    """
    shown = wait.until(lambda one: one.execute_script(script))
    return max(shown / 1e3 - changed - LOOK_S, 0.0)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--subtasks", type=int, default=100)
    parser.add_argument("--no-browser", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(
        prefix="ziggy-bench-", ignore_cleanup_errors=True
    ) as name:
        directory = Path(name)
        (directory / "cluster.yaml").write_text("cluster: bench\nhome: ./home\n")
        cluster = create_cluster(directory / "cluster.yaml")
        fill(cluster._site.database, chosen.tasks, chosen.subtasks)
        look(cluster._site.database)
        if not chosen.no_browser:
            browse(cluster, directory)


if __name__ == "__main__":
    main()
