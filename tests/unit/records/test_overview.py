from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from tests.conftest import new_instance
from ziggy_dask.records import (
    TaskStep,
    count_tasks,
    create_database,
    deliveries,
    instances,
    library,
    outcomes,
)
from ziggy_dask.records.overview import (
    Doing,
    Order,
    TaskLine,
    TaskQuery,
    scoreboard,
    task_lines,
    task_page,
)
from ziggy_dask.records.restarts import Reset, reset_tasks
from ziggy_dask.records.states import InstanceState
from ziggy_dask.records.tables import EarlierSubtaskRow
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState


@pytest.fixture
def database(tmp_path):
    """Records of an instance whose tasks do all that tasks can do."""
    database = create_database(f"sqlite:///{tmp_path}/ziggy.db")
    new_instance(database)
    new = [
        instances.NewTask(
            position=n, node=node, unit=f"[{unit}]", plan={"n": n}, total=2
        )
        for n, (node, unit) in enumerate(
            [("flip", "b"), ("flip", "a"), ("flip", "50%"), ("average", "c")]
        )
    ]
    instances.create_tasks(database, 1, new, base_snapshot="A")
    results = (
        Outcome(subtask=0, state=SubtaskState.COMPLETE),
        Outcome(subtask=1, state=SubtaskState.FAILED, cause=Cause.EXCEPTION),
    )
    outcomes.record(database, [(2, BatchResult(index=1, outcomes=results))])
    instances.move_tasks(
        database, [1, 2], TaskStep.EXECUTING, [TaskStep.WAITING_TO_RUN]
    )
    instances.fail_task(database, 2, None, "too bad")
    outcomes.publish(database, "B", {3: {}})
    yield database
    database.close()


def test_a_scoreboard_is_what_counting_the_tasks_gives(database):
    tasks = instances.tasks(database, 1)
    scores = scoreboard(database, 1)
    assert [one.node for one in scores] == ["flip", "average"]
    for one in scores:
        mine = [task for task in tasks if task.node == one.node]
        assert one.tasks == count_tasks((task.step, task.is_error) for task in mine)
        assert one.subtasks == sum(task.total for task in mine)
        assert one.complete == sum(task.complete for task in mine)
        assert one.failed == sum(task.failed for task in mine)
    assert scores[0].tasks.failed == scores[0].tasks.complete == 1


def test_the_line_of_a_task_says_what_its_record_says(database):
    lines, tasks = task_lines(database, 1), instances.tasks(database, 1)
    assert {one.state for one in tasks} >= {"ERROR - EXECUTING", "COMPLETE"}
    assert len(lines) == len(tasks)
    for line, task in zip(lines, tasks, strict=True):
        assert line.state == task.state
        said = {name: getattr(task, name) for name in TaskLine._fields}
        assert line._asdict() == said | {"step": task.step.value}


def test_a_scoreboard_of_the_past_ends_as_the_one_of_now(database):
    assert scoreboard(database, 1, at=datetime.now(UTC)) == scoreboard(database, 1)
    assert scoreboard(database, 1, at=datetime(2000, 1, 1, tzinfo=UTC)) == ()


def test_scoreboard_and_tasks_of_the_past_are_what_they_were(database):
    def seen(at=None):
        pages = [
            task_page(database, TaskQuery(instance=1, at=at, **query))
            for query in (
                {"order": Order.STATE},
                {"order": Order.FAILED, "is_descending": True},
                {"doing": Doing.FAILED},
                {"doing": Doing.PROCESSING},
            )
        ]
        tasks = [
            (one.id, one.state, one.total, one.complete, one.failed, one.has_ended)
            for page in pages
            for one in page.tasks
        ]
        return scoreboard(database, 1, at=at), [page.total for page in pages], tasks

    def run_again(*states):
        outcome = Outcome(subtask=1, state=states[0], cause=Cause.EXCEPTION)
        outcomes.record(database, [(2, BatchResult(index=1, outcomes=(outcome,)))])

    steps = [
        lambda: reset_tasks(database, Reset(instance=1, failed=[2])),
        lambda: run_again(SubtaskState.FAILED),
        lambda: run_again(SubtaskState.COMPLETE),
        lambda: outcomes.publish(database, "C", {2: {}}),
        lambda: reset_tasks(database, Reset(instance=1, afresh=[2])),
        lambda: instances.settle_task(database, 1, {}, 7),
    ]
    was = [(datetime.now(UTC), seen())]
    for step in steps:
        step()
        was.append((datetime.now(UTC), seen()))
    assert len({str(one) for _, one in was}) == len(was)
    assert [seen(at) for at, _ in was] == [one for _, one in was]
    # What ran before it ran again is there in the timeline, but for what never ran.
    with database.reading() as connection:
        kept = connection.execute(select(EarlierSubtaskRow.__table__)).all()
    assert sorted((one.number, one.state) for one in kept) == [
        (0, "COMPLETE"),
        (1, "COMPLETE"),
        (1, "FAILED"),
        (1, "FAILED"),
    ]


def test_the_database_sorts_filters_and_counts_tasks(database):
    def units(**query):
        page = task_page(database, TaskQuery(instance=1, **query))
        return page.total, [one.unit for one in page.tasks]

    assert units(order=Order.UNIT, limit=2) == (4, ["[50%]", "[a]"])
    assert units(order=Order.UNIT, offset=2) == (4, ["[b]", "[c]"])
    assert units(order=Order.STATE, limit=1) == (4, ["[a]"])
    assert units(order=Order.FAILED, is_descending=True, limit=1) == (4, ["[a]"])
    assert units(node="average") == (1, ["[c]"])
    assert units(doing=Doing.COMPLETE) == (1, ["[50%]"])
    assert units(text="A]") == (1, ["[a]"])
    assert units(text="%") == (1, ["[50%]"])
    assert units(node="none") == (0, [])


def test_instances_come_page_by_page_newest_first(database):
    first = instances.instance(database, 1)
    stored = library.pipeline(database, "small")
    for _ in range(4):
        instances.create_instance(
            database,
            instances.NewInstance(
                name="",
                pipeline_id=stored.id,
                code_version="",
                options={},
                parameters={},
                software={},
                base_snapshot="A",
            ),
        )
    for number in (2, 3, 5):
        instances.set_instance_state(database, number, InstanceState.COMPLETED)
    total, some = instances.instance_page(database, 1, 3)
    assert (total, [one.id for one in some]) == (5, [4, 3, 2])
    assert instances.instance_page(database, 4, 3) == (5, [first])
    current = instances.current_instances(database)
    assert [one.id for one in current] == [1, 4, 5]


def test_deliveries_come_page_by_page_newest_first(database):
    made = [
        deliveries.DeliveryRecord(
            dataset_id=n,
            name=f"delivery-{n}",
            task=1,
            files=n,
            bytes=n,
            manifest="",
            received=datetime(2026, 1, 1 + n, tzinfo=UTC),
        )
        for n in range(5)
    ]
    for one in made:
        deliveries.record_delivery(database, one)
    assert deliveries.delivery_page(database, 1, 2) == (5, [made[3], made[2]])
    assert deliveries.deliveries(database) == made
