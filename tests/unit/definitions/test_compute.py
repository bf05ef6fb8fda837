from dataclasses import replace
from pathlib import Path

import pytest

import ziggy_dask as z
from ziggy_dask.definitions import (
    check_compute,
    compute_to_yaml,
    environments_from_yaml,
    environments_to_yaml,
    pipeline_from_yaml,
    pipeline_to_yaml,
    read_cluster,
)
from ziggy_dask.errors import DefinitionError

FULL = """\
cluster: mission
environments:
  hecc:
    batch: pbs
    description: NASA HECC
    cost_unit: SBU
    account: s1234
    directives: [-j oe]
    prologue: [module load python]
    options: {shebang: /bin/sh, worker_extra_args: [--no-dashboard, --lifetime, 1h]}
    scheduler_host: pfe21
    max_jobs: 200
    architectures:
      rom_ait: {description: Rome, cores: 128, memory: 512GB, cost: 4.06, gpus: 1}
      bro_ele: {cores: 28, memory: 128GB, bandwidth: 56, directives: ["-l x=1"]}
    queues:
      low: {max_time: 4h, max_nodes: 10}
      debug: {max_time: "2:00:00", automatic: false}
      reserved: {reserved: true}
"""

HECC = z.Environment(
    name="hecc",
    batch=z.BatchSystem.PBS,
    description="NASA HECC",
    cost_unit="SBU",
    account="s1234",
    directives=("-j oe",),
    prologue=("module load python",),
    options=z.Options.of(
        {
            "shebang": "/bin/sh",
            "worker_extra_args": ["--no-dashboard", "--lifetime", "1h"],
        }
    ),
    scheduler_host="pfe21",
    max_jobs=200,
    architectures=(
        z.Architecture(
            name="rom_ait",
            description="Rome",
            cores=128,
            memory_bytes=512_000_000_000,
            cost=4.06,
            gpus=1,
        ),
        z.Architecture(
            name="bro_ele",
            cores=28,
            memory_bytes=128_000_000_000,
            bandwidth=56,
            directives=("-l x=1",),
        ),
    ),
    queues=(
        z.Queue(name="low", max_time_s=14400, max_nodes=10),
        z.Queue(name="debug", max_time_s=7200, is_automatic=False),
        z.Queue(name="reserved", is_reserved=True, is_automatic=False),
    ),
)

COMPUTE = {
    "local: {workers: 2, memory: 8GB}\n  interface: ib0": z.LocalCompute(
        workers=2, memory_bytes=8_000_000_000, interface="ib0"
    ),
    "address: tls://host:8786\n  security: {ca_file: /c/ca, certificate: /c/me, key: /c/key}": (
        z.AddressCompute(
            address="tls://host:8786",
            security=z.Security(
                ca_file=Path("/c/ca"), certificate=Path("/c/me"), key=Path("/c/key")
            ),
        )
    ),
    "ssh: {hosts: [a, b], workers: 2}": z.SshCompute(hosts=("a", "b"), workers=2),
    "kubernetes: {image: daskdev/dask, workers: 10, worker_memory: 4GB}": (
        z.KubernetesCompute(
            image="daskdev/dask", workers=10, worker_memory_bytes=4_000_000_000
        )
    ),
    "gateway: {address: 'https://g', cluster_options: {size: {cpu: 2}}}": (
        z.GatewayCompute(
            address="https://g", cluster_options=z.Options.of({"size": {"cpu": 2}})
        )
    ),
    "cloud: {provider: hetzner, options: {api_token: {from_environment: HT}}}": (
        z.CloudCompute(
            provider=z.Provider.HETZNER,
            options=z.Options((("api_token", z.Secret(from_environment="HT")),)),
        )
    ),
    "class: {name: 'my.place:Cluster', options: {n: 1.5, on: null}, workers: 4}": (
        z.ClassCompute(
            name="my.place:Cluster",
            options=z.Options.of({"n": 1.5, "on": None}),
            workers=4,
        )
    ),
}


def read(tmp_path, text: str):
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    return read_cluster(file)


def test_an_environment_read_equals_the_one_built_in_python(tmp_path):
    cluster = read(tmp_path, FULL)
    assert cluster.environments == (HECC,)
    assert hash(cluster.environments) == hash((HECC,))
    assert check_compute(z.LocalCompute(), (HECC,)) == ()
    assert cluster.environment("hecc").architecture("rom_ait").cores == 128
    assert HECC.queue("low").max_nodes == 10
    with pytest.raises(z.DefinitionError, match="no environment 'hec'; did you mean"):
        cluster.environment("hec")


def test_environments_written_are_read_again_as_they_were():
    text = environments_to_yaml((HECC,))
    assert environments_from_yaml(text) == (HECC,)
    assert environments_to_yaml(environments_from_yaml(text)) == text


@pytest.mark.parametrize("text", COMPUTE)
def test_every_kind_of_compute_is_read_and_written(tmp_path, text):
    compute = read(tmp_path, f"cluster: a\ncompute:\n  {text}\n").compute
    assert compute == COMPUTE[text]
    again = read(tmp_path, f"cluster: a\n{compute_to_yaml(compute)}").compute
    assert again == compute


@pytest.mark.parametrize("kind", ["ssh", "kubernetes", "gateway", "cloud", "class"])
def test_what_names_a_secret_does_not_hold_it(kind, tmp_path):
    needs = {
        "ssh": "hosts: [a]",
        "kubernetes": "image: x",
        "gateway": "address: 'https://g'",
        "cloud": "provider: ec2",
        "class": "name: 'm:C'",
    }[kind]
    start = f"cluster: a\ncompute: {{{kind}: {{{needs}, options: {{password: "
    with pytest.raises(z.DefinitionError, match="'password' looks like a secret"):
        read(tmp_path, f"{start}abc}}}}}}")
    with pytest.raises(z.DefinitionError, match="begin with '/' or '~'"):
        read(tmp_path, f"{start}{{from_file: x}}}}}}}}")
    found = read(tmp_path, f"{start}{{from_file: ~/.x}}}}}}}}").compute.options
    assert found.items == (("password", z.Secret(from_file="~/.x")),)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ()}, "has no architectures"),
        ({"architectures": HECC.architectures * 2}, "2 architectures are called"),
        ({"queues": HECC.queues * 2}, "2 queues are called 'low'"),
        ({"directives": ("a\nb",)}, "is more than one line"),
        ({"max_jobs": -1}, "'max_jobs' is -1"),
        ({"name": "a/b"}, "can't name an environment"),
        ({"interface": "ib0"}, "both tell the scheduler's address"),
    ],
    ids=lambda one: "" if isinstance(one, dict) else one,
)
def test_environments_built_in_python_are_checked_alike(change, words):
    problems = check_compute(z.LocalCompute(), (replace(HECC, **change),))
    assert any(words in one.message for one in problems), problems


def test_a_node_says_where_it_runs_and_what_it_needs():
    text = """
pipeline: small
placeholders: {dataset: 'set-[0-9]'}
data_types:
  raw: {location: '{dataset}/raw', external: true, subtask: item}
  out: {location: '{dataset}/out', subtask: item}
nodes:
  work:
    function: m:f
    inputs: [raw]
    outputs: [out]
    memory: 10GB
    cores: 2
    gpu: 1
    time: {typical: 9min, limit: 0.5h}
    remote: {environment: hecc, optimizer: QUEUE_DEPTH, max_nodes: 20}
"""
    pipeline = pipeline_from_yaml(text)
    node = pipeline.by_name["work"]
    assert (node.cores, node.gpu, node.typical_s, node.limit_s) == (2, 1, 540, 1800)
    assert node.remote == z.Remote(
        environment="hecc", optimizer=z.Optimizer.QUEUE_DEPTH, max_nodes=20
    )
    assert pipeline_from_yaml(pipeline_to_yaml(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", None), ("0min", None), ('"0:00:00"', None), ('"00:00"', None)),
        *(('"0:30:00"', 1800), ("0.5h", 1800), ('"00:00:01"', 1), ("10min", 600)),
    ],
)
def test_no_time_is_not_taken_for_a_time_that_is_not_given(text, seconds, tmp_path):
    lines = FULL.replace("max_time: 4h", f"max_time: {text}")
    file = tmp_path / "cluster.yaml"
    file.write_text(lines)
    if seconds is None:
        with pytest.raises(DefinitionError, match="'max_time' is 0; write at least 1"):
            read_cluster(file)
    else:
        (environment,) = read_cluster(file).environments
        assert environment.queues[0].max_time_s == seconds
