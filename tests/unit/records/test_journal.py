"""The journal of databases that had none."""

from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config

from tests.conftest import new_instance
from ziggy_dask.records import TaskStep, create_database, instances, outcomes
from ziggy_dask.records import database as module
from ziggy_dask.records.engines import begin_writing, make_engine, to_write
from ziggy_dask.records.overview import scoreboard
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path):
    """The URL of a database that is not there yet, or has no tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ziggy.db"
    return request.getfixturevalue("postgres").new_database()


def go_back(url: str, version: str) -> None:
    """Make the tables those of an earlier version."""
    config = Config()
    config.set_main_option("script_location", str(module._MIGRATIONS))
    with make_engine(url).connect() as plain:
        connection = to_write(plain)
        begin_writing(connection)
        config.attributes["connection"] = connection
        command.downgrade(config, version)
        connection.commit()


def test_earlier_tasks_get_a_journal_of_what_is_known_of_them(url):
    database = create_database(url)
    new_instance(database)
    new = [
        instances.NewTask(position=n, node="flip", unit=f"[{n}]", plan={}, total=2)
        for n in range(4)
    ]
    instances.create_tasks(database, 1, new, base_snapshot="A")
    some = (Outcome(subtask=0, state=SubtaskState.COMPLETE),)
    outcomes.record(database, [(2, BatchResult(index=0, outcomes=some))])
    waiting = [TaskStep.WAITING_TO_RUN]
    instances.move_tasks(database, [2, 3, 4], TaskStep.EXECUTING, waiting)
    instances.fail_task(database, 3, None, "too bad")
    outcomes.publish(database, "B", {4: {}})
    made = instances.instance(database, 1).created
    was = scoreboard(database, 1)
    (score,) = was
    assert (score.tasks.waiting, score.tasks.processing) == (1, 1)
    assert (score.tasks.failed, score.tasks.complete, score.complete) == (1, 1, 1)
    database.close()

    go_back(url, "0008")
    database = create_database(url)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert scoreboard(database, 1) == scoreboard(database, 1, at=now) == was
    (first,) = scoreboard(database, 1, at=made + timedelta(milliseconds=1))
    assert first.tasks.waiting == first.tasks.total == 4
    assert (first.subtasks, first.complete) == (8, 0)
    database.close()
