"""A small mission with a past: deliveries that add and replace, edits, other values."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

import ziggy_dask as z
from tests.conftest import node
from ziggy_dask.definitions import parameter_from_value
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml

ALGORITHMS = """
    GAIN = {gain}

    def measure(raw, models, parameters):
        level = raw["pixels"].mean(("y", "x")) * GAIN * parameters["Calibration"]["bias"]
        return raw.drop_vars("pixels").assign(level=level)

    def tell(level, context):
        return {{f"page-{{context.instance}}.txt": b"told", "all.txt": b"all"}}

    def weigh(note):
        return {{"weight.txt": b"heavy"}}
"""


def definition(root: Path) -> z.Pipeline:
    """Return a pipeline of images, levels of them, and files that tell of those."""
    place = z.Location
    files = {"kind": z.ProductKind.FILE, "files": r".*\.txt"}
    return z.Pipeline(
        name="mission",
        placeholders=(z.Placeholder(name="night", pattern="night-[0-9]"),),
        data_types=(
            z.DataType(
                name="raw",
                location=place("{night}/raw"),
                files=r"(f[0-9]+)\.png",
                reader="image",
                subtask="item",
            ),
            z.DataType(name="level", location=place("{night}/levels"), subtask="item"),
            z.DataType(name="note", location=place("{night}/notes"), **files),
            z.DataType(name="weight", location=place("{night}/weights"), **files),
        ),
        model_types=(
            z.ModelType(name="flat", files=r"flat-([0-9]+)\.txt", version_group=1),
        ),
        parameter_sets=(
            z.ParameterSet(
                name="Calibration", parameters=(parameter_from_value("bias", 1.0),)
            ),
        ),
        nodes=(
            z.Node(name="receive", step=z.DataReceiptStep()),
            node(
                "measure",
                "measure",
                "raw",
                "level",
                models=("flat",),
                parameters=("Calibration",),
            ),
            node("tell", "tell", "level", "note", single_subtask=True),
            node("weigh", "weigh", "note", "weight", single_subtask=True),
        ),
        root=root,
    )


def deliver(cluster: z.Cluster, dataset_id: int, files: dict[str, str | int]) -> None:
    """Take in images of noise, given by a seed, and texts, by name."""
    inbox = cluster._site.cluster.receipt / f"sent-{dataset_id}"
    for name, content in files.items():
        path = inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            noise = np.random.default_rng(content).integers(0, 255, (40, 50))
            Image.fromarray(noise.astype("u1")).save(path)
        else:
            path.write_text(content)
    manifest = generate_manifest(inbox, dataset_id, ChecksumType.SHA1)
    (inbox / "x-manifest.xml").write_text(manifest_to_xml(manifest))
    instance = cluster.receive(inbox.parent)
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message


def edit(root: Path, gain: float) -> None:
    """Write the algorithms."""
    root.mkdir(exist_ok=True)
    text = textwrap.dedent(ALGORITHMS).format(gain=gain)
    (root / "algorithms.py").write_text(text)


def with_a_past(directory: Path, client) -> z.Cluster:
    """Return a cluster of which seven instances have run.

    1 brings f0 to f2 and the model 7, 2 runs; 3 brings f2 anew and f3, 4 runs with other
    code and another bias; 5 brings all frames anew and the model 8; 6 weighs alone, in
    between; 7 runs all.
    """
    file = directory / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\ncompute: {local: {workers: 2}}\n")
    cluster = create_cluster(file)
    root = directory / "code"
    edit(root, 2.0)
    cluster.register(definition(root))
    raw = "night-1/raw"
    first = {f"{raw}/f{n}.png": n for n in range(3)}
    deliver(cluster, 11, {**first, "models/flat-7.txt": "seven"})
    run(cluster, client, 2)
    deliver(cluster, 12, {f"{raw}/f2.png": 20, f"{raw}/f3.png": 3})
    edit(root, 3.0)
    run(cluster, client, 4, parameters={"Calibration": {"bias": 5.0}})
    every = {f"{raw}/f{n}.png": n + 1 for n in range(4)}
    deliver(cluster, 13, {**every, "models/flat-8.txt": "eight"})
    run(cluster, client, 6, start="weigh")
    run(cluster, client, 7)
    return cluster


def run(cluster: z.Cluster, client, number: int, **options) -> None:
    """Run the pipeline as an instance of this number."""
    instance = cluster.run("mission", client=client, **options)
    states = [one.message for one in instance.task_records if one.message]
    assert (instance.id, instance.state.value, states) == (number, "COMPLETED", [])
