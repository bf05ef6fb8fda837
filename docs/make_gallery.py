"""Make the pictures of the gallery by running the sample; the build of the docs does it.

Usage: python docs/make_gallery.py DIRECTORY
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from rich.console import Console
from rich.text import Text

import ziggy_dask as z
from ziggy_dask.interface.commands.records import task_rows
from ziggy_dask.interface.commands.statistics import statistics_rows
from ziggy_dask.interface.picture import draw_plan
from ziggy_dask.interface.table import table

SAMPLE = Path(__file__).parents[1] / "pipelines" / "sample"
COLUMNS = 84


def make_gallery(place: Path) -> None:
    """Run the sample, once with a failure, and draw all there is to see of it."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ziggy-gallery-") as directory:
        cluster = _prepared(Path(directory))
        made = cluster.plan("sample")
        draw_plan(made, place / "graph.svg")
        instance = cluster.run("sample")
        changes = {"throw_exception_subtask_0": True}
        failed = cluster.run("sample", parameters={"Algorithm Parameters": changes})
        for name in ("timeline", "durations", "lineage"):
            getattr(instance.plot, name)()
            _save(place / f"{name}.svg")
        cluster.datastore.product("set-1/L1").plot(item=2)
        _save(place / "product.png")
        cards = {
            "cluster": cluster,
            "pipeline": cluster.pipelines["sample"],
            "plan": made,
            "instance": failed,
            "task": failed.tasks[0],
            "product": cluster.datastore.product("set-1/L1"),
        }
        for name, shown in cards.items():
            (place / f"{name}.html").write_text(shown._repr_html_(), encoding="utf-8")
        number = instance.id
        _type(
            place / "tasks.svg",
            f"ziggy tasks {number}",
            table(task_rows(instance.task_records), COLUMNS),
        )
        _type(
            place / "stats.svg",
            f"ziggy stats {number}",
            table(statistics_rows(instance.statistics), COLUMNS),
        )


def _prepared(home: Path) -> z.Cluster:
    """Return a cluster that has the sample and its images."""
    (home / "cluster.yaml").write_text("cluster: gallery\nhome: ./home\n")
    cluster: z.Cluster = z.create(home / "cluster.yaml")
    cluster.register(SAMPLE)
    draw = [sys.executable, str(SAMPLE / "draw.py"), str(home / "images")]
    subprocess.run(draw, check=True)
    cluster.receive(home / "images", needs_manifest=False)
    return cluster


def _save(file: Path) -> None:
    plt.savefig(file, dpi=110)
    plt.close("all")


def _type(file: Path, command: str, printed: str) -> None:
    """Draw a terminal with a command and what it printed."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(f"[bold]$ {command}[/bold]")
    console.print(Text.from_ansi(printed))
    console.save_svg(str(file), title="ziggy-dask")


if __name__ == "__main__":
    mpl.use("Agg")
    make_gallery(Path(sys.argv[1]))
