"""Datastore on S3 and database on PostgreSQL: the same results as on one machine."""

import signal

import pytest
import zarr

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from tests.integration.killing import (
    ALGORITHMS,
    COUNT,
    check_result,
    kill_at,
    recorded,
    run_counts,
    ziggy,
)
from tests.integration.sample import check_same, new_cluster, run_sample
from ziggy_dask.datastore import create_repository, open_repository
from ziggy_dask.definitions import read_cluster
from ziggy_dask.errors import DatastoreError, DefinitionError

pytestmark = [pytest.mark.cloud, pytest.mark.integration]


def test_of_two_committers_one_is_refused(s3):
    place = place_of(s3)
    one, two = create_repository(place), open_repository(place)
    writing = one.writing()
    session = writing.newest().session
    zarr.open_group(session.store, mode="a").attrs["by"] = "one"
    late_writing = two.writing()
    late = late_writing.newest().session
    zarr.open_group(late.store, mode="a").attrs["by"] = "two"
    one.finish_writing(writing, "first", {})
    with pytest.raises(Exception, match="conflict|expected parent"):
        two.finish_writing(late_writing, "second", {})
    with pytest.raises(Exception, match="conflict"):
        two._repo.reset_branch(
            "main", late_writing.tip, from_snapshot_id=late_writing.tip
        )
    assert zarr.open_group(two.reading().store, mode="r").attrs["by"] == "one"


def test_a_datastore_that_is_not_there_is_refused(s3):
    with pytest.raises(DatastoreError, match="there is none; make it with"):
        open_repository(place_of(s3))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("datastore: s3://key:word@bucket/p\n", "credentials and options do not go"),
        ("datastore: s3://bucket/p?access_key=word\n", "credentials and options do"),
        ("datastore: {url: 's3://b/p', secret_key: word}\n", "unknown key"),
        ("datastore: {url: 's3://b', endpoint: 'http://h'}\n", "'allow_http: true'"),
        ("datastore: {url: 'gs://b', endpoint: 'https://h'}\n", "unknown key"),
    ],
)
def test_what_does_not_belong_to_a_datastore_is_refused(tmp_path, lines, message):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\n" + lines)
    with pytest.raises(DefinitionError, match=message) as caught:
        read_cluster(file)
    assert "word" not in str(caught.value)


@pytest.mark.postgres
def test_the_sample_gives_the_same_on_disk_and_away(
    sample_at_home, tmp_path, s3, postgres
):
    away = run_sample(
        tmp_path / "away", s3.datastore() + f"database: {postgres.new_database()}\n"
    )
    check_same(away, sample_at_home)


def test_a_killed_supervisor_loses_and_repeats_nothing_on_s3(tmp_path, s3, code):
    cluster = new_cluster(tmp_path, s3.datastore())
    for number in (1, 2):
        store(cluster, {f"set-{number}/L0": images(COUNT, seed=number)})
    root = code(ALGORITHMS)
    runs = root / "runs.txt"
    cluster.register(flow(root))
    process = ziggy(cluster, "run", "test")
    before = kill_at(cluster, process, runs, COUNT)
    assert process.returncode == -signal.SIGKILL
    before, counts = recorded(cluster) | before, run_counts(runs)
    assert before
    follow = ziggy(cluster, "run", "--continue")
    output, _ = follow.communicate(timeout=300)
    assert follow.returncode == 0, output
    check_result(cluster, runs, before, counts)


def test_credentials_are_in_no_record_and_no_file(tmp_path, s3):
    run_sample(tmp_path / "sample", s3.datastore())
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert any(one.name == "ziggy.db" for one in files)
    secret = s3.secret_key.encode()
    assert [one for one in files if secret in one.read_bytes()] == []


# -- what these tests share ----------------------------------------------------------


def flow(root) -> z.Pipeline:
    return pipeline(
        root,
        data_type("raw", "L0"),
        data_type("scaled", "L1"),
        data_type("shifted", "L2"),
        data_type("mean", "L3", subtask=""),
        node("scale", "scale", "raw", "scaled"),
        node("shift", "shift", "scaled", "shifted"),
        node("mean", "mean", "shifted", "mean", single_subtask=True),
    )


def place_of(s3) -> str:
    return (
        f"s3://{s3.new_bucket()}/mission?endpoint={s3.endpoint}"
        "&region=us-east-1&allow_http=true&path_style=true"
    )
