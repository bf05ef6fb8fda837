"""A supervisor that did not answer wakes up after another one has taken over."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.errors import LeaseError
from ziggy_dask.records.lease import LEASE_S, take_lease
from ziggy_dask.records.tables import LeaseRow
from ziggy_dask.supervisor import open_site
from ziggy_dask.supervisor.supervise import in_charge


@pytest.fixture
def take_over(cluster):
    """Let another supervisor take over, as if the first had not answered for long."""
    with ExitStack() as stack:

        def take() -> None:
            site = open_site(cluster._site.cluster)
            late = datetime.now(UTC) - timedelta(seconds=LEASE_S + 1)
            with site.database.writing() as connection:
                connection.execute(
                    update(LeaseRow).values(heartbeat=late, host="elsewhere")
                )
            stack.enter_context(in_charge(site))

        take.end = stack.close
        yield take


@pytest.fixture
def mission(cluster, code):
    root = code("""
        from pathlib import Path

        def copy(raw, context):
            with (Path(__file__).parent / "runs.txt").open("a") as file:
                file.write(f"{context.subtask}\\n")
            return raw
    """)
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("out", "L1"),
            node("copy", "copy", "raw", "out"),
        )
    )
    store(cluster, {"set-1/L0": images(3)})
    cluster.root = root
    return cluster


def published(site):
    """Return the tasks that commits name."""
    return [
        t for one in site.repository.history() for t in one.metadata.get("inputs", {})
    ]


@pytest.mark.parametrize("is_late", [False, True], ids=["just before", "just after"])
def test_one_that_wakes_up_publishes_nothing(
    mission, client, take_over, is_late, monkeypatch
):
    """Whether others take over just before it asks for its permit, or just after."""
    site = mission._site
    asked = []

    def require_lease() -> None:
        asked.append(1)
        first = len(asked) == 2  # after that of the scaffold: the publication
        if first and not is_late:
            take_over()
        type(site.database).require_lease(site.database)
        if first and is_late:
            take_over()

    monkeypatch.setattr(site.database, "require_lease", require_lease)
    with pytest.raises(LeaseError, match="no longer in charge"):
        mission.run("test", client=client)
    newest = next(site.repository.history())
    assert "takes over" in newest.message
    assert published(site) == []
    assert "set-1/L1" not in mission.datastore
    (task,) = mission.instance(1).tasks
    assert task.record.step.value == "STORING"


def test_one_that_takes_over_from_the_dead_leaves_history_alone(mission):
    before = mission._site.repository.tip()
    with in_charge(mission._site) as lease:
        assert not lease.follows_silent
    assert mission._site.repository.tip() == before


def test_the_next_one_publishes_what_was_left(mission, client, take_over, monkeypatch):
    site = mission._site
    publish = site.repository.publish

    def late(*arguments):
        take_over()
        return publish(*arguments)

    monkeypatch.setattr(site.repository, "publish", late)
    with pytest.raises(LeaseError, match="no longer in charge"):
        mission.run("test", client=client)
    take_over.end()
    after = z.open(site.cluster.path)
    assert after.resume(1, client=client).state.value == "COMPLETED"
    assert published(site) == ["1"]
    runs = (mission.root / "runs.txt").read_text().split()
    assert sorted(runs) == ["0", "1", "2"]


def test_what_is_left_of_a_supervisor_stays_bound_to_its_lease(mission, take_over):
    """It was told to stop, and hangs: who follows waits, and then it can write no more."""
    site = mission._site
    with in_charge(site):
        writing = site.repository.writing()
        site.is_hung.set()
    other = open_site(site.cluster)
    with pytest.raises(LeaseError, match="another supervisor is in charge"):
        take_lease(other.database)
    take_over()
    with pytest.raises((LeaseError, z.DatastoreError)):
        site.repository.finish_writing(writing, "late", {"instance": 1, "inputs": {}})
    with pytest.raises(LeaseError), site.database.writing() as connection:
        connection.execute(update(LeaseRow).values(host="here"))
    take_over.end()
