"""The schema for editors: held against what the readers say, key by key."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml

import ziggy_dask as z
from tests.unit.definitions.test_text import FULL
from ziggy_dask.definitions import (
    parameters_to_yaml,
    pipeline_from_yaml,
    read_cluster,
    read_parameters,
)
from ziggy_dask.errors import DefinitionError

ROOT = Path(__file__).parents[3]

CLUSTER = """
cluster: full
home: ./home
access: group
datastore: {url: "s3://bucket/x", endpoint: "https://s3.example", region: eu, path_style: true}
database: {url: "postgresql://me@host/x", password_file: ./password}
receipt: ./receipt
compute: {local: {workers: 2, threads: 1, memory: 2GB}, host: localhost, dashboard: ":0"}
environments:
  slurm:
    batch: slurm
    architectures: {a: {cores: 8, memory: 16GB, cost: 1.5, directives: ["-C a"]}}
    queues: {q: {max_time: 2h, max_nodes: 3}, r: {reserved: true}}
    prologue: [module load python]
    options: {job_extra: {a: [1, 2]}}
    max_jobs: 3
programs: {environment: {A: b}, path: ./bin, inherit: [LANG], keep: failed, grace: 2}
alerts: {command: [mail, me], url: "https://x.example", headers: {A: b}, time_factor: 2}
supervisor: {max_instances: 3, no_worker: 5min, metrics: "localhost:9469"}
"""
ADDRESS = """
cluster: x
compute:
  address: tls://127.0.0.1:8786
  security: {ca_file: ca.pem, certificate: c.pem, key: k.pem}
"""
HOSTED = [
    "{ssh: {hosts: [a, b], threads: 2, memory: 1GB, workers: 2, options: {a: 1}}}",
    "{kubernetes: {image: x, namespace: n, worker_memory: 1GB, worker_cores: 2}}",
    "{gateway: {address: 'https://x', cluster_options: {a: 1}}}",
    "{cloud: {provider: fargate, workers: 2, options: {a: 1}}}",
    "{class: {name: 'module:Class', options: {a: 1}}}",
]


def texts():
    """Yield kinds of files, and contents that their readers take."""
    yield "pipeline", FULL
    for path in sorted(ROOT.glob("pipelines/*/pipeline.yaml")):
        yield "pipeline", path.read_text()
    yield "cluster", CLUSTER
    yield "cluster", ADDRESS
    for one in HOSTED:
        yield "cluster", f"cluster: x\ncompute: {one}\n"
    for path in sorted(ROOT.glob("clusters/*.yaml")):
        yield "cluster", path.read_text()
    yield "parameters", parameters_to_yaml(pipeline_from_yaml(FULL).parameter_sets)


def faults(kind, content, place):
    """Return what a reader says of a file."""
    text = yaml.safe_dump(content, sort_keys=False)
    file = place / f"{kind}.yaml"
    file.write_text(text)
    try:
        if kind == "pipeline":
            pipeline_from_yaml(text)
        else:
            {"cluster": read_cluster, "parameters": read_parameters}[kind](file)
    except DefinitionError as error:
        return str(error)
    return ""


def mappings(content):
    """Yield every mapping of a tree."""
    if isinstance(content, dict):
        yield content
        for one in content.values():
            yield from mappings(one)


def changed(content):
    """Yield the tree without each key, and with each key misspelled, and that word."""
    for number, mapping in enumerate(mappings(content)):
        for key in mapping:
            for new in (None, f"{key}x"):
                other = copy.deepcopy(content)
                below = list(mappings(other))[number]
                value = below.pop(key)
                if new:
                    below[new] = value
                yield other, new


@pytest.mark.parametrize(("kind", "text"), list(texts()))
def test_the_schema_takes_what_the_reader_takes_and_knows_its_keys(
    kind, text, tmp_path
):
    validator = jsonschema.Draft202012Validator(z.schema(kind))
    content = yaml.safe_load(text)
    assert faults(kind, content, tmp_path) == ""
    assert list(validator.iter_errors(content)) == []
    refused = 0
    for other, new in changed(content):
        said = faults(kind, other, tmp_path)
        if not said:
            assert list(validator.iter_errors(other)) == [], other
        elif f"unknown key {new!r}" in said:
            assert not validator.is_valid(other), (said, other)
            refused += 1
    assert refused > 0 or kind == "parameters"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("pipeline", {"pipeline": "x", "nodes": {"a": {"max_failed_subtasks": "few"}}}),
        ("pipeline", {"description": "a pipeline has a name"}),
        ("pipeline", {"pipeline": "x", "priority": "urgent"}),
        ("cluster", {"cluster": "x", "compute": {"local": {"workers": "all"}}}),
        ("cluster", {"cluster": "x", "environments": {"a": {"batch": "cron"}}}),
        ("parameters", {"Set": {"value": {"type": "short", "values": 3}}}),
    ],
)
def test_what_can_be_seen_while_typing_is_underlined(kind, content):
    assert not jsonschema.Draft202012Validator(z.schema(kind)).is_valid(content)


def test_another_kind_of_file_is_refused_by_name():
    with pytest.raises(
        DefinitionError, match="'pipelin' files.*did you mean 'pipeline'"
    ):
        z.schema("pipelin")
