"""A cluster whose records are on a PostgreSQL server, used as its users do."""

import threading
from dataclasses import asdict

import pytest

from tests.conftest import data_type, images, node, pipeline, states, store
from tests.integration.killing import ziggy
from ziggy_dask.engine.events import unheard
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.records import instances, outcomes
from ziggy_dask.supervisor.supervise import in_charge, work_on

pytestmark = [pytest.mark.postgres, pytest.mark.integration]

ALGORITHMS = """
    from pathlib import Path

    FIXED = Path(__file__).parent / "fixed"


    def scale(raw):
        if raw["item"].values[0] == "i3" and not FIXED.exists():
            raise ValueError("not fixed yet")
        return raw * 2


    def mean(scaled):
        return scaled.mean("item")
"""


def prepare(cluster, root):
    store(cluster, {f"set-{n}/L0": images(6, seed=n) for n in (1, 2)})
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("scaled", "L1"),
            data_type("mean", "L2", subtask=""),
            node("scale", "scale", "raw", "scaled"),
            node("mean", "mean", "scaled", "mean", single_subtask=True),
        )
    )


def test_runs_fail_and_restart_and_nobody_sees_the_password(
    postgres_cluster, postgres, code, client
):
    cluster, root = postgres_cluster, code(ALGORITHMS)
    prepare(cluster, root)
    failed = cluster.run("test", client=client)
    assert states(failed)["scale [set-1]"] == "ERROR - WAITING_TO_STORE"
    (root / "fixed").touch()
    tasks = [one.record.id for one in failed.tasks]
    said = []
    for arguments in (
        ["restart", f"{tasks[0]}-{tasks[1]}"],
        ["tasks", "1"],
        ["cluster", "check", str(cluster._site.cluster.path)],
        ["failures", "1"],
    ):
        ended = ziggy(cluster, *arguments)
        said.append(ended.communicate(timeout=300)[0])
    record = instances.instance(cluster._site.database, 1)
    assert record.state.value == "COMPLETED", said
    assert cluster.datastore["set-2/L2"]["pixels"].shape == (4, 5)
    told = [*said, repr(cluster), repr(cluster._site), str(cluster._site.cluster)]
    assert not [text for text in told if postgres.password in text]


def test_a_server_that_is_killed_in_mid_run_costs_no_subtask(
    postgres_cluster, postgres, code, client
):
    cluster = postgres_cluster
    prepare(cluster, code(ALGORITHMS))
    (cluster._site.cluster.path.parent / "code" / "fixed").touch()
    killed = threading.Event()
    record = outcomes.record

    def killing(database, results, made):
        if not killed.is_set():
            killed.set()
            postgres.kill()
            threading.Timer(0.5, postgres.start).start()
        return record(database, results, made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "record", killing)
        instance = cluster.run("test", client=client)
    assert killed.is_set()
    assert set(states(instance).values()) == {"COMPLETE"}
    tasks = instances.tasks(cluster._site.database, 1)
    assert [asdict(one)["complete"] for one in tasks] == [one.total for one in tasks]


def test_a_server_that_is_gone_when_a_task_is_published_costs_nothing(
    postgres_cluster, postgres, code, client
):
    cluster = postgres_cluster
    prepare(cluster, code(ALGORITHMS))
    (cluster._site.cluster.path.parent / "code" / "fixed").touch()
    permit = cluster._site.database.require_lease
    asked = []

    def killing():
        asked.append(1)
        if len(asked) == 3:  # the scaffold was the first
            postgres.kill()
            threading.Timer(0.5, postgres.start).start()
        permit()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster._site.database, "require_lease", killing)
        instance = cluster.run("test", client=client)
    assert len(asked) > 3
    assert instance.state.value == "COMPLETED"


def test_a_server_that_is_gone_at_the_end_spoils_nothing(
    postgres_cluster, postgres, code, client
):
    cluster = postgres_cluster
    prepare(cluster, code(ALGORITHMS))
    (cluster._site.cluster.path.parent / "code" / "fixed").touch()

    site = cluster._site
    try:
        with in_charge(site):
            number = launch(site, Request(pipeline="test"))
            ended = work_on(site, number, client, unheard)
            postgres.kill()
    finally:
        postgres.start()
    assert ended.state.value == "COMPLETED"
    assert instances.instance(site.database, number).state.value == "COMPLETED"
