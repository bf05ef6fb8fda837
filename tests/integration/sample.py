"""The sample pipeline, run from the command line, and all that came of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

import ziggy_dask as z
from tests.integration.killing import COMMAND
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records import instances, outcomes

SAMPLE = Path(__file__).parents[2] / "pipelines" / "sample"
LOCAL = "compute: {local: {workers: 2}}\n"


def new_cluster(directory, lines) -> z.Cluster:
    """Make a cluster in a directory; without a ``compute`` in `lines` it is at home."""
    directory.mkdir(exist_ok=True)
    file = directory / "cluster.yaml"
    compute = "" if "compute:" in lines else LOCAL
    file.write_text(f"cluster: mission\nhome: ./home\n{compute}{lines}")
    return create_cluster(file)


def run_sample(directory, lines, node: str = "", path: str = "") -> z.Cluster:
    """Run the sample, from delivery to averages, on a new cluster.

    Parameters
    ----------
    directory
        Where everything goes.
    lines
        Further lines of the cluster file.
    node
        Further lines of each node with a function.
    path
        Directories whose programs come first.
    """
    cluster = new_cluster(directory, lines)
    sample = directory / "sample"
    shutil.copytree(SAMPLE, sample, ignore=shutil.ignore_patterns("__py*"))
    definition = sample / "pipeline.yaml"
    text = definition.read_text()
    definition.write_text(text.replace("    function:", f"{node}    function:"))
    receipt = directory / "home" / "receipt"
    subprocess.run([sys.executable, SAMPLE / "draw.py", receipt], check=True)
    for arguments in (
        ["manifest", receipt, "--dataset-id", "1"],
        ["import", sample],
        ["run", "sample"],
    ):
        ended = subprocess.run(
            [*COMMAND, "--cluster", directory / "cluster.yaml", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", "PATH": path + os.environ["PATH"]},
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "a-secret" not in ended.stdout + ended.stderr
    return cluster


def check_same(found: z.Cluster, expected: z.Cluster) -> None:
    """Check that two clusters hold the same, bit for bit, and recorded the same."""
    here, there = _products(expected), _products(found)
    assert here.keys() == there.keys()
    for path, values in here.items():
        assert _bits(there[path]) == _bits(values), path
    assert _facts(found) == _facts(expected)


def _products(cluster) -> dict[str, np.ndarray]:
    """Return every array of the datastore, by path."""
    root = zarr.open_group(cluster._site.repository.reading().store, mode="r")
    return {
        path: array[...]
        for path, array in root.members(max_depth=None)
        if isinstance(array, zarr.Array)
    }


def _bits(array: np.ndarray) -> tuple:
    is_text = array.dtype.kind in "OT"
    content = array.tolist() if is_text else array.tobytes()
    return array.dtype, array.shape, content


def _facts(cluster) -> list[tuple]:
    """Return what is on record, but for times, snapshots and places."""
    database = cluster._site.database
    return [
        (
            task.id,
            task.node,
            task.unit,
            task.state,
            (task.total, task.complete, task.failed),
            sorted(task.inputs),
            [
                (one.number, one.state, one.cause, one.message, one.outputs)
                for one in outcomes.subtasks(database, task.id)
            ],
        )
        for instance in instances.instances(database)
        for task in instances.tasks(database, instance.id)
    ]
