"""What many tests start from: small clusters, small pipelines, a Dask client."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from hypothesis import settings

import ziggy_dask as z
from tests.servers import PostgresServer, S3Server
from ziggy_dask.datastore import Repository, Storage
from ziggy_dask.datastore.allocation import write_whole
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records import Database, instances, library

# How long an example takes depends on what else the machine does; no test is about that.
settings.register_profile("ziggy", deadline=None)
settings.load_profile("ziggy")


@pytest.fixture(scope="session")
def client():
    """A Dask client whose workers are threads of this process."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def logged(caplog):
    """What is logged, also while a Dask cluster of other tests keeps logs quiet."""
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.fixture
def cluster(tmp_path) -> z.Cluster:
    """A new cluster in a directory of its own."""
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\ncompute: {local: {workers: 2}}\n")
    return create_cluster(file)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; tests that use it are marked ``postgres``."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server; tests that use it are marked ``cloud``."""
    server = S3Server()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """That server, with credentials for it in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return s3_server


@pytest.fixture
def postgres_cluster(tmp_path, postgres) -> z.Cluster:
    """A new cluster whose records are on a PostgreSQL server."""
    url = postgres.new_database()
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: test\nhome: ./home\ncompute: {local: {workers: 2}}\n"
        f"database: {url}\n"
    )
    return create_cluster(file)


@pytest.fixture
def code(tmp_path):
    """Write a module of algorithms and return its directory."""

    def write(text: str, name: str = "algorithms.py") -> Path:
        root = tmp_path / "code"
        root.mkdir(exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
        return root

    return write


def data_type(name: str, place: str, **options) -> z.DataType:
    """Return a data type below ``{dataset}``, with items along ``item``."""
    values = {"subtask": "item", "external": True} | options
    return z.DataType(name=name, location=z.Location(f"{{dataset}}/{place}"), **values)


def node(name: str, function: str, inputs: str, outputs: str, **options) -> z.Node:
    """Return a node with a function step; names are separated by spaces."""
    return z.Node(
        name=name,
        step=z.FunctionStep(function=f"algorithms:{function}"),
        inputs=tuple(z.Input(data_type=one) for one in inputs.split()),
        outputs=tuple(outputs.split()),
        **options,
    )


def pipeline(root: Path | None, *parts, name: str = "test", **options) -> z.Pipeline:
    """Return a pipeline of data types and nodes."""
    return z.Pipeline(
        name=name,
        placeholders=(z.Placeholder(name="dataset", pattern="set-[0-9]+"),),
        data_types=tuple(one for one in parts if isinstance(one, z.DataType)),
        nodes=tuple(one for one in parts if isinstance(one, z.Node)),
        root=root,
        **options,
    )


def new_instance(database: Database) -> None:
    """Put an instance of an empty pipeline on record."""
    library.register(database, [z.Pipeline(name="small")])
    instances.create_instance(
        database,
        instances.NewInstance(
            name="",
            pipeline_id=library.pipeline(database, "small").id,
            code_version="",
            options={},
            parameters={},
            software={},
            base_snapshot="A",
        ),
    )


def work_pipeline(root: Path, **options) -> z.Pipeline:
    """Return a pipeline whose only node, ``work``, makes ``L1`` of ``L0``."""
    return pipeline(
        root,
        data_type("raw", "L0"),
        data_type("out", "L1"),
        node("work", "work", "raw", "out", **options),
    )


def images(count: int, seed: int = 0) -> xr.Dataset:
    """Return small images: ``pixels`` (item, y, x), float64, labels ``i0``, ``i1``, …"""
    values = np.random.default_rng(seed).random((count, 4, 5))
    labels = [f"i{number}" for number in range(count)]
    return xr.Dataset({"pixels": (("item", "y", "x"), values)}, coords={"item": labels})


def store(cluster: z.Cluster, products: dict[str, xr.Dataset], dimension: str = "item"):
    """Put array products into the datastore, as another program would."""
    repository: Repository = cluster._site.repository
    writing = repository.writing()
    session = writing.newest().session
    root = zarr.open_group(session.store, mode="a")
    for path, dataset in products.items():
        root.require_group(path.rpartition("/")[0])
        if path in root:
            del root[path]
        storage = Storage(dimension=dimension, chunk=1, chunks=(), compression="none")
        write_whole(session, path, dataset, storage)
        group = zarr.open_group(session.store, path=path, mode="a")
        group.attrs[ATTRIBUTE] = {"kind": "array", "dimension": dimension}
    repository.finish_writing(writing, "Seed", {})


def states(instance: z.Instance) -> dict[str, str]:
    """Return the states of an instance's tasks by node and unit of work."""
    records = [task.record for task in instance.tasks]
    return {f"{one.node} {one.unit}": one.state for one in records}
