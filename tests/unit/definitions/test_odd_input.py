"""Definition and cluster files that nobody would write: one message each, and no hang."""

import os

import pytest

from ziggy_dask.definitions import read_cluster, read_pipeline
from ziggy_dask.definitions.problem import compiles, pattern_problems
from ziggy_dask.errors import DefinitionError

BOMB = "\n".join(
    [
        "a0: &a0 {x: 1}",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)),
    ]
)
LONG = "9" * 5000
CLUSTER = "cluster: c\nenvironments: {e: {batch: slurm, architectures: {n: {cores: 1, "
CLUSTER += "memory: 1GB}}, options: {x: %s}}}\n"
HOSTILE = {
    "alias bomb": f"{BOMB}\ncluster: c\nenvironments: {{e: {{options: {{b: *a9}}}}}}",
    "alias of itself": "cluster: c\nenvironments: &e {e: *e}",
    "deep lists": "cluster: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "cluster: " + "{a: " * 3000 + "1" + "}" * 3000,
    "long number": f"cluster: c\ncompute: {{local: {{workers: {LONG}}}}}",
    "long number in options": CLUSTER % LONG,
    "long hexadecimal in options": CLUSTER % ("0x" + "f" * 20_000),
    "no day in options": CLUSTER % "2026-02-31",
    "long size": f"cluster: c\nprograms: {{disk_quota: {LONG}GiB}}",
    "long time": f"cluster: c\nsupervisor: {{no_worker: {LONG}d}}",
    "large time": "cluster: c\nsupervisor: {no_worker: 1e999}",
    "long clock": f"cluster: c\nsupervisor: {{no_worker: '{LONG}:00:00'}}",
    "bytes": "cluster: c\n\0",
    "unknown tag": "cluster: !!python/object/apply:os.system [id]",
    "unknown tag in options": CLUSTER % "!!python/name:os.system",
    "binary that is none": CLUSTER % "!!binary '=='",
    "two documents": "cluster: c\n---\ncluster: d",
    "unknown anchor": "cluster: *nobody",
    "merge key": "cluster: c\n<<: {home: /}",
    "surrogates": 'cluster: "\\ud800"',
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [read_cluster, read_pipeline])
def test_odd_yaml_is_refused_in_short_words(name, read, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(HOSTILE[name], encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert all(len(line) < 1000 for line in str(caught.value).splitlines())


def test_aliases_that_stand_for_little_are_followed(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: c\n"
        "environments:\n"
        "  a: &a {batch: slurm, architectures: {n: {cores: 1, memory: 1GB}}}\n"
        "  b: *a\n"
    )
    assert [one.name for one in read_cluster(file).environments] == ["a", "b"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", [read_cluster, read_pipeline])
def test_pipes_and_devices_are_refused_as_files(read, tmp_path):
    pipe = tmp_path / "file.yaml"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero", "/dev/tty"):
        with pytest.raises(DefinitionError, match="is not a regular file"):
            read(type(pipe)(path))


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://key:SECRET@host",
        "http://SECRET@host",
        "https://host?password=SECRET",
        "https://host#SECRET",
        "https://key%40SECRET@host",
    ],
)
def test_no_password_stands_in_a_datastore_or_is_shown(endpoint, tmp_path):
    file = tmp_path / "cluster.yaml"
    for text in (
        f"datastore: {{url: 's3://bucket/place', endpoint: '{endpoint}'}}",
        f"datastore: 's3://{endpoint.partition('//')[2]}/bucket'",
    ):
        file.write_text(f"cluster: c\n{text}\n")
        with pytest.raises(DefinitionError, match="credentials") as caught:
            read_cluster(file)
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        "password=SECRET",
        "sslpassword=SECRET",
        "PassWord=SECRET",
        "pass%77ord=SECRET",
        "oauth_client_secret=SECRET",
        "scram_client_key=SECRET",
        "sslmode=require&sslpassword=SECRET",
    ],
)
def test_no_secret_stands_in_the_options_of_a_database_or_is_shown(option, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: c\ndatabase: 'postgresql://u@host/name?{option}'\n")
    with pytest.raises(DefinitionError, match="does not go after") as caught:
        read_cluster(file)
    assert "SECRET" not in str(caught.value)
    file.write_text("cluster: c\ndatabase: 'postgresql://u@host/n?sslkey=/k.pem'\n")
    assert read_cluster(file).database.url.endswith("sslkey=/k.pem")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir ['MARK']", "!own {a: 1}", "!own text"]
)
def test_tags_that_mean_nothing_are_refused_and_run_nothing(tag, tmp_path):
    mark = tmp_path / "mark"
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: c\nhome: {tag.replace('MARK', str(mark))}\n")
    with pytest.raises(
        DefinitionError, match=r":2: has the tag '.*', which means noth"
    ):
        read_cluster(file)
    assert not mark.exists()


@pytest.mark.parametrize("pattern", ["(" * 5000 + ")" * 5000, "(" * 900 + ")" * 900])
def test_an_expression_of_endless_groups_is_refused(pattern):
    (problem,) = pattern_problems(("files",), pattern)
    assert "is too much for a regular expression" in problem.message
    assert len(problem.message) < 300
    assert not compiles(pattern)
