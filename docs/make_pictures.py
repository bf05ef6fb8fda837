"""Make the pictures of README and docs by running the pipelines.

Usage: python docs/make_pictures.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait
from weasyprint import HTML

import ziggy_dask as z
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.commands.records import task_rows
from ziggy_dask.interface.picture import draw_plan
from ziggy_dask.interface.table import table

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
PIPELINES = ROOT / "pipelines"


def new_cluster(home: Path) -> z.Cluster:
    """Make a cluster in an empty directory."""
    home.mkdir()
    (home / "cluster.yaml").write_text("cluster: pictures\nhome: .\n")
    return create_cluster(home / "cluster.yaml")


def draw_sample(home: Path) -> None:
    """Draw the graph, the tasks and the products of the sample."""
    cluster = new_cluster(home)
    cluster.register(PIPELINES / "sample")
    draw = [sys.executable, str(PIPELINES / "sample" / "draw.py"), str(home / "images")]
    subprocess.run(draw, check=True)
    cluster.receive(home / "images", needs_manifest=False)
    draw_plan(cluster.plan("sample"), PICTURES / "sample-graph.svg")
    instance = cluster.run("sample")
    console = Console(record=True, width=84, file=(home / "out.txt").open("w"))
    console.print("[bold]$ ziggy tasks 2[/bold]")
    console.print(Text.from_ansi(table(task_rows(instance.task_records))))
    console.save_svg(str(PICTURES / "sample-tasks.svg"), title="ziggy-dask")
    draw_images(cluster.datastore)


def draw_images(datastore: z.Datastore) -> None:
    """Draw one image at each level."""
    figure = Figure(figsize=(8, 2), layout="constrained", dpi=90)
    levels = ("L0", "L1", "L2A", "L2B", "L3")
    titles = ("raw", "permuted", "left ↔ right", "up ↕ down", "average")
    for axes, level, title in zip(figure.subplots(1, 5), levels, titles, strict=True):
        pixels = datastore[f"set-1/{level}"]["pixels"]
        axes.imshow(
            np.asarray(pixels.isel(image=1) if "image" in pixels.dims else pixels)
        )
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    figure.savefig(PICTURES / "sample.png")


def draw_report(home: Path) -> None:
    """Draw the report on a run with failures, and what a notebook shows of it."""
    cluster = new_cluster(home)
    cluster.register(PIPELINES / "sample")
    draw = [sys.executable, str(PIPELINES / "sample" / "draw.py"), str(home / "images")]
    subprocess.run(draw, check=True)
    cluster.receive(home / "images", needs_manifest=False)
    changes = {"execution_pause_seconds": 0.2, "throw_exception_subtask_0": True}
    instance = cluster.run("sample", parameters={"Algorithm Parameters": changes})
    cluster.report(instance.id, home / "report.pdf")
    draw_page(home / "report.pdf", PICTURES / "report")
    page = "<style>@page {{ size: 190mm 96mm; margin: 6mm }}</style>{}"
    HTML(string=page.format(instance._repr_html_())).write_pdf(home / "card.pdf")
    draw_page(home / "card.pdf", PICTURES / "notebook-instance")
    draw_console(home / "cluster.yaml")


def draw_page(pdf: Path, picture: Path) -> None:
    """Draw the first page of a PDF file as PNG, by Debian's poppler-utils."""
    command = ["pdftoppm", "-png", "-r", "90", "-singlefile", str(pdf), str(picture)]
    subprocess.run(command, check=True)


def draw_console(file: Path) -> None:
    """Draw the top of the page, by Debian's chromium and chromium-driver."""
    options = Options()
    for one in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(one)
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file), "console"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        webdriver.Chrome(options, Service("/usr/bin/chromedriver")) as browser,
    ):
        assert server.stdout is not None
        browser.set_window_size(1280, 1500)
        browser.get(server.stdout.readline().strip().partition("?")[0])
        WebDriverWait(browser, 60).until(
            lambda _: "permuter" in browser.find_element("id", "timeline").text
        )
        browser.save_screenshot(str(PICTURES / "page.png"))
        server.terminate()


def draw_candidate(home: Path) -> None:
    """Draw the folded light curve of the best simulated planet."""
    cluster = new_cluster(home)
    cluster.register(PIPELINES / "transit_search")
    script = PIPELINES / "transit_search" / "simulate.py"
    command = [sys.executable, str(script), str(home / "stars"), "--stars", "4"]
    subprocess.run(command, check=True)
    cluster.receive(home / "stars", needs_manifest=False)
    cluster.run("transit_search")
    best = str(cluster.datastore["campaign-01/candidates"]["star"].values[0])
    plots = cluster.datastore["campaign-01/plots"]
    (PIPELINES / "transit_search" / "folded.png").write_bytes(plots[f"{best}.png"])


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        draw_sample(Path(directory) / "sample")
        draw_report(Path(directory) / "report")
        draw_candidate(Path(directory) / "transits")
