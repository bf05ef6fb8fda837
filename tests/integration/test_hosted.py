"""Compute environments with a scheduler of their own, started for real."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from distributed import Client, LocalCluster, Worker

from tests.conftest import (
    data_type,
    images,
    node,
    pipeline,
    states,
    store,
    work_pipeline,
)
from tests.integration.strangers import AS_NOBODY, browse
from tests.servers import WAIT_S, free_port
from ziggy_dask.compute import hosted, open_client
from ziggy_dask.compute.security import certificates
from ziggy_dask.definitions import (
    AddressCompute,
    ClassCompute,
    GatewayCompute,
    KubernetesCompute,
)
from ziggy_dask.definitions.compute import Options, Security
from ziggy_dask.engine.events import Planned
from ziggy_dask.engine.launch import Request
from ziggy_dask.errors import ClusterError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.pools import autoscaler
from ziggy_dask.supervisor.supervise import run

pytestmark = pytest.mark.integration

ALGORITHMS = """
    import os


    def scale(raw):
        return (raw * 2).assign_attrs(file=__file__, process=os.getpid())
"""


def run_on(tmp_path, root, compute: str):
    """Run a small pipeline on a compute environment; return its cluster."""
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: test\nhome: ./home\n{compute}")
    cluster = create_cluster(file)
    store(cluster, {"set-1/L0": images(4)})
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("scaled", "L1"),
            node("scale", "scale", "raw", "scaled"),
        )
    )
    instance = cluster.run("test")
    assert states(instance) == {"scale [set-1]": "COMPLETE"}
    product = cluster.datastore["set-1/L1"]
    assert (product["pixels"].values == images(4)["pixels"].values * 2).all()
    return cluster


class OwnCluster(LocalCluster):
    """A class of a mission's own, which notes how it is scaled."""

    scaled: ClassVar[list[int]] = []

    def scale(self, n=0, **resources):
        self.scaled.append(n)
        return super().scale(n, **resources)


def test_any_class_with_the_interface_of_dask_s_clusters(tmp_path, code):
    lines = (
        f"compute:\n  class:\n    name: {__name__}:OwnCluster\n    workers: 2\n"
        "    options:\n      n_workers: 0\n      threads_per_worker: 1\n"
        "      host: 127.0.0.1\n      dashboard_address: 127.0.0.1:0\n"
    )
    OwnCluster.scaled.clear()
    run_on(tmp_path, code(ALGORITHMS), lines)
    assert 2 in OwnCluster.scaled


class Crowded(LocalCluster):
    """One that has room for no worker now."""

    def scale(self, *args, **kwargs):
        """Keep the wish in mind."""


def test_workers_that_do_not_come_are_told_of_and_given_up(tmp_path, code, monkeypatch):
    monkeypatch.setattr(hosted, "PATIENCE_S", 1.5)
    monkeypatch.setattr(autoscaler, "_LONG_S", 0.5)
    lines = (
        f"compute:\n  class:\n    name: {__name__}:Crowded\n    workers: 1\n"
        "    options: {n_workers: 0, dashboard_address: '127.0.0.1:0'}\n"
    )
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: test\nhome: ./home\n{lines}")
    cluster = create_cluster(file)
    store(cluster, {"set-1/L0": images(2)})
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    heard = []
    with pytest.raises(
        ClusterError, match="'compute: class' has started, but no worker"
    ):
        run(cluster._site, Request(pipeline="test"), listen=heard.append)
    ended, told = cluster.alerts
    assert ended.message.startswith("instance 1 can't go on: 'compute: class' has")
    assert told.message.startswith("'compute: class' has started, but has no worker")
    warnings = [one.warnings for one in heard if isinstance(one, Planned)]
    assert (told.message,) in warnings
    assert cluster.instance(1).state.value == "TRANSITION_FAILED"


def test_a_scheduler_that_wants_certificates(tmp_path):
    with (
        certificates(tmp_path / "certificates") as security,
        LocalCluster(
            n_workers=1,
            processes=False,
            security=security,
            protocol="tls",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as running,
    ):
        files = Security(
            ca_file=Path(security.tls_ca_file),
            certificate=Path(security.tls_client_cert),
            key=Path(security.tls_client_key),
        )
        address = running.scheduler_address
        with open_client(
            AddressCompute(address=address, security=files), tmp_path
        ) as client:
            assert client.submit(sum, [1, 2]).result() == 3


@pytest.fixture
def ssh_host(tmp_path):
    """An SSH server on loopback, for this user and a key made here; its options."""
    keys = Path(f"{tmp_path}/ssh")
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name],
            check=True,
        )
    port = free_port()
    config = keys / "config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\n"
        f"AuthorizedKeysFile {keys}/user.pub\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n"
    )
    known = (keys / "host.pub").read_text()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    server = subprocess.Popen(
        [program, "-D", "-e", "-f", config], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + WAIT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield (
        f"        port: {port}\n        username: {getpass.getuser()}\n"
        f"        client_keys: ['{keys}/user']\n        known_hosts: {keys}/known_hosts\n"
    )
    server.terminate()
    server.wait()


def test_machines_that_are_reached_by_ssh(tmp_path, code, ssh_host):
    lines = (
        "compute:\n  ssh:\n    hosts: [127.0.0.1]\n    workers: 2\n    options:\n"
        f"      connect_options:\n{ssh_host}"
        f"      remote_python: {sys.executable}\n"
        "      scheduler_options: {host: 127.0.0.1}\n"
    )
    cluster = run_on(tmp_path, code(ALGORITHMS), lines)
    with open_client(cluster._site.cluster.compute, tmp_path / "scratch") as client:
        client.wait_for_workers(2)
        info = client.scheduler_info(n_workers=-1)
        addresses = [info["address"], *info["workers"]]
        assert {one.partition(":")[0] for one in addresses} == {"tls"}
        (key,) = {Path(one) for one in client.run(_key_of_worker).values()}
        assert stat.filemode(key.stat().st_mode) == "-rw-------"
        assert stat.filemode(key.parent.stat().st_mode) == "drwx------"
        lines_of_all = [one.info["cmdline"] for one in psutil.process_iter(["cmdline"])]
        assert any(str(key) in " ".join(one or ()) for one in lines_of_all)
        assert not any("PRIVATE KEY" in " ".join(one or ()) for one in lines_of_all)
        dashboard = f"http://127.0.0.1:{info['services']['dashboard']}/health"
        assert browse(dashboard) == "answered: 200\n"
        assert browse(dashboard, AS_NOBODY).startswith("refused:")
        for address in addresses:
            with pytest.raises(OSError, match="TLS|timed out|closed|expected"):
                Client(address.replace("tls", "tcp"), timeout="1s")
    assert not key.parent.exists()


def _key_of_worker(dask_worker: Worker) -> str:
    return dask_worker.security.tls_worker_key


def test_the_spec_for_kubernetes_is_as_the_operator_wants_it():
    import jsonschema
    import yaml
    from dask_kubernetes.operator.kubecluster.kubecluster import make_cluster_spec
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    from ziggy_dask.compute.hosted import call_of, check_call

    compute = KubernetesCompute(
        image="registry/mission:1", workers=10, worker_memory_bytes=2**33
    )
    assert check_call(compute) == ""
    arguments = call_of(compute).arguments
    del arguments["namespace"], arguments["quiet"]  # what is no part of the spec
    spec = make_cluster_spec("mission", **arguments)

    def retrieve(uri):
        """Return the operator's own schemata; those of Kubernetes are not at hand."""
        package, _, rest = uri.removeprefix("python://").partition("/")
        if package != "dask_kubernetes":
            names = ("PodSpec", "ServiceSpec")
            known = {f"io.k8s.api.core.v1.{name}": {"type": "object"} for name in names}
            return Resource(contents={"definitions": known}, specification=DRAFT202012)
        text = (resources.files(package) / rest).read_text()
        return Resource(contents=yaml.safe_load(text), specification=DRAFT202012)

    place = resources.files("dask_kubernetes") / "operator" / "customresources"
    definition = yaml.safe_load((place / "daskcluster.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    validator = jsonschema.Draft202012Validator(
        schema, registry=Registry(retrieve=retrieve)
    )
    validator.validate(spec)
    wrong = make_cluster_spec("mission", **arguments | {"n_workers": "10"})
    with pytest.raises(jsonschema.ValidationError, match="'10' is not of type"):
        validator.validate(wrong)
    worker = spec["spec"]["worker"]
    assert worker["replicas"] == 10
    (container,) = worker["spec"]["containers"]
    assert container["image"] == "registry/mission:1"
    assert container["resources"]["limits"] == {"cpu": "1", "memory": str(2**33)}


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (ClassCompute(name="nowhere:Cluster"), "nowhere:Cluster can't be imported"),
        (ClassCompute(name="distributed:Nothing"), "has no 'Nothing'"),
        (
            GatewayCompute(
                address="http://h", options=Options.of({"auth": {"from_file": "/no"}})
            ),
            "/no: can't be read",
        ),
        (
            ClassCompute(
                name="distributed:LocalCluster",
                options=Options.of({"name": {"from_environment": "NOT_SET"}}),
            ),
            "variable 'NOT_SET' is not set",
        ),
        (
            ClassCompute(
                name="distributed:LocalCluster", options=Options.of({"n_workers": "x"})
            ),
            "'compute: class' can't be started",
        ),
    ],
)
def test_what_can_not_be_started_is_refused_with_a_message(tmp_path, compute, message):
    with (
        pytest.raises(ClusterError, match=message),
        open_client(compute, tmp_path),
    ):
        pass
