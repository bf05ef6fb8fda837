"""Every file of the corpus is refused with its message, and nothing is changed."""

import dataclasses
import hashlib
import re
import sqlite3
from pathlib import Path

import click
import pytest

import ziggy_dask as z
from tests.conftest import images, store, work_pipeline
from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.main import ziggy

CORPUS = Path(__file__).parents[1] / "corpus"


def files(kind: str, ending: str) -> list:
    found = sorted((CORPUS / kind).glob(f"*{ending}"))
    return [pytest.param(path, id=path.stem) for path in found]


def expected(path: Path) -> list[str]:
    found = re.findall(r"^(?:#|<!--) expect: (.*?)(?: -->)?$", path.read_text(), re.M)
    assert found, f"{path} says nothing of what it expects"
    return found


def fingerprint(cluster) -> str:
    """Return a digest of all that is on record, and the newest snapshot."""
    path = cluster._site.cluster.home / "ziggy.db"
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    return hashlib.sha256(dump.encode()).hexdigest() + cluster.datastore.snapshot


def refusal(*arguments: object) -> ZiggyError:
    with pytest.raises(ZiggyError) as caught:
        ziggy.main([str(one) for one in arguments], standalone_mode=False)
    return caught.value


@pytest.mark.parametrize("path", files("pipelines", ".yaml"))
def test_a_bad_definition_is_refused(cluster, path):
    before = fingerprint(cluster)
    error = refusal("--cluster", cluster._site.cluster.path, "import", path)
    for words in expected(path):
        assert words in str(error)
    assert str(path) in str(error)
    assert error.exit_code == 3
    assert fingerprint(cluster) == before


@pytest.mark.parametrize("path", files("clusters", ".yaml"))
def test_a_bad_cluster_file_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refusal("cluster", "init", path)
    for words in expected(path):
        assert words in str(error)
    assert f"{path}:" in str(error)
    assert error.exit_code == 3
    assert list(tmp_path.iterdir()) == []
    assert not (path.parents[1] / ".ziggy").exists()


@pytest.mark.parametrize("path", files("manifests", ".xml"))
def test_a_bad_manifest_is_refused(cluster, path, tmp_path):
    sample = Path(__file__).parents[2] / "pipelines" / "sample"
    cluster.register(sample)
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    (delivery / "x-manifest.xml").write_bytes(path.read_bytes())
    (delivery / "a.png").write_bytes(b"abc")
    snapshot = cluster.datastore.snapshot
    instance = cluster.receive(delivery)
    message = instance.tasks[0].record.message
    for words in expected(path):
        assert words in message
    assert instance.state.value == "ERRORS_STALLED"
    assert cluster.datastore.snapshot == snapshot
    assert cluster.deliveries == []
    assert (delivery / "a.png").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "smaple"], "no pipeline is called 'smaple'; did you mean 'sample'"),
        (["run", "sample", "--set", "pause=1"], "write 'Set.parameter=value'"),
        (
            ["run", "sample", "--set", "Algorithm Parameter.x=1"],
            "did you mean 'Algorithm P",
        ),
        (
            ["run", "sample", "--set", "Algorithm Parameters.execution_pause_second=1"],
            "did you mean 'execution_pause_seconds'",
        ),
        (
            [
                "run",
                "sample",
                "--set",
                "Algorithm Parameters.execution_pause_seconds=x",
            ],
            "'x' is not a number",
        ),
        (
            [
                "run",
                "sample",
                "--set",
                "Algorithm Parameters.throw_exception_subtask_0=x",
            ],
            "neither 'true' nor 'false'",
        ),
        (["run", "sample", "--start", "flipp"], "no node 'flipp'; did you mean 'flip'"),
        (["plan", "sample", "--stop", "x"], "no node 'x'"),
        (["plan", "sample", "--where", "datast=1"], "write 'name=expression'"),
        (
            ["plan", "sample", "--where", "dataset=["],
            "is not a valid regular expression",
        ),
        (["graph", "sample", "-o", "x.bmp"], "use one of: .svg, .png, .pdf, .dot"),
        (["graph", "sample", "-o", "x.svg"], "there is nothing to draw"),
        (["tasks", "7"], "there is no instance 7"),
        (["subtasks", "7"], "there is no task 7"),
        (["run", "--continue"], "no instance is left to resume"),
        (["datastore", "show", "set-1/L9"], "no product at 'set-1/L9'"),
        (["halt", "7"], "there is no task 7"),
        (["halt", "--instance", "0"], "there is no instance 0"),
        (["alerts", "--acknowledge", "7"], "there is no alert 7"),
        (["jobs", "7"], "there is no instance 7"),
        (["receive", str(CORPUS)], "has no manifest, nor has a directory in it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_bad_request_is_refused(cluster, arguments, words):
    cluster.register(Path(__file__).parents[2] / "pipelines" / "sample")
    before = fingerprint(cluster)
    error = refusal("--cluster", cluster._site.cluster.path, *arguments)
    assert words in str(error)
    assert error.exit_code in (3, 4)
    assert fingerprint(cluster) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "sample", "--continue"], "give either PIPELINE or --continue"),
        (["run", "--continue", "--set", "Set.x=1"], "takes no options but --instance"),
        (["run", "--continue", "--detach"], "takes no options but --instance"),
        (["run", "sample", "--instance", "1"], "--instance goes with --continue"),
        (["restart", "three"], "'three' is not a number; write e.g. 3,4,7-10"),
        (["halt", "--all", "--instance", "1"], "give TASKS, --instance or --all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_options_that_make_no_sense_together_are_refused(arguments, words):
    with pytest.raises(click.UsageError) as caught:
        ziggy.main(arguments, standalone_mode=False)
    assert words in caught.value.message
    assert caught.value.exit_code == 2


def test_to_go_on_with_what_has_ended_changes_nothing(cluster, code, client):
    root = code("def work(raw):\n    return raw\n")
    cluster.register(work_pipeline(root))
    store(cluster, {"set-1/L0": images(1)})
    instance = cluster.run("test", client=client)
    before = instance.record, instance.task_records
    again = cluster.resume(instance.id, client=client)
    assert (again.record, again.task_records) == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda c: c.run("test", process="newest"),
            "process can't be 'newest'; did you",
        ),
        (lambda c: c.restart(1, mode="resub"), "mode can't be 'resub'; did you mean"),
        (lambda c: c.plan("test", where="dataset=set-1"), "write a list, as in ['data"),
        (lambda c: c.run("test", parameters={"Set": 3}), "3 names no parameter"),
        (
            lambda c: product(c).plot("pixel"),
            "no variable 'pixel'; did you mean 'pixels'",
        ),
        (lambda c: product(c).plot(item=2), "no item 2; it has 2, numbered from 0"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(cluster, code, call, words):
    parameters = (z.parameter_from_value("x", 1),)
    sets = (z.ParameterSet(name="Set", parameters=parameters),)
    root = code("def work(raw):\n    return raw\n")
    cluster.register(dataclasses.replace(work_pipeline(root), parameter_sets=sets))
    store(cluster, {"set-1/L0": images(2)})
    before = fingerprint(cluster)
    with pytest.raises(ZiggyError, match=re.escape(words)):
        call(cluster)
    assert fingerprint(cluster) == before


def product(cluster):
    return cluster.datastore.product("set-1/L0")
