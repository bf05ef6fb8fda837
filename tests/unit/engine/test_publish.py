"""Publishing finished tasks, and completing records that a crash left behind commits."""

import pickle
import time

import numpy as np
import pytest
import zarr

from tests.conftest import images, store, work_pipeline
from ziggy_dask.datastore import Labels, Storage, allocate, read_layout, write_slice
from ziggy_dask.datastore.tree import ATTRIBUTE
from ziggy_dask.engine import publish as publishing
from ziggy_dask.engine.context import load_context, make_scaffold
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.engine.publish import Finished, publish, reconcile
from ziggy_dask.engine.restart import Restart, RestartMode, plan_restart
from ziggy_dask.planning import Feed, Span, Target, TaskPlan, Unit, task_to_json
from ziggy_dask.records import TaskStep, instances, outcomes
from ziggy_dask.records.catalogue import current_places
from ziggy_dask.records.restarts import reset_tasks
from ziggy_dask.workers import BatchResult, Outcome, SubtaskState

RAW, OUT = "set-1/L0", "set-1/L1"
DATA = images(4)
LABELS = Labels.of(list(DATA["item"].values))
STORAGE = Storage(dimension="item", chunk=1, chunks=(), compression="none")


@pytest.fixture
def site(cluster, code):
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {RAW: DATA})
    return cluster._site


def made(site, given=range(4), attempt=0):
    """Return a task of a new instance whose subtasks have ended and wait to be stored.

    Those that are not `given` have returned nothing.
    """
    number = launch(site, Request(pipeline="test"))
    feed = Feed(data_type="raw", path=RAW, span=Span.SLICE, labels=LABELS, task=None)
    plan = TaskPlan(
        index=0,
        node="work",
        unit=Unit(name="[set-1]", values=(("dataset", "set-1"),)),
        feeds=(feed,),
        targets=(Target(data_type="out", path=OUT),),
        labels=LABELS,
        chunk=1,
    )
    new = instances.NewTask(
        position=0, node="work", unit="[set-1]", plan=task_to_json(plan), total=4
    )
    tip = site.repository.tip()
    (task,) = instances.create_tasks(site.database, number, [new], base_snapshot=tip)
    for _ in range(attempt):
        restart(site, task)
    fork = pickle.loads(make_scaffold(site, number, [plan]))
    if given:
        allocate(fork, OUT, DATA.isel(item=[0]), STORAGE, LABELS)
        layout = read_layout(fork, OUT, "item")
        for place in given:
            write_slice(layout, fork, number + DATA.isel(item=[place]), place)
    ended = tuple(
        Outcome(
            subtask=n,
            state=SubtaskState.COMPLETE,
            outputs=(OUT,) if n in given else (),
            started_s=time.time(),
        )
        for n in range(4)
    )
    changes = {OUT: pickle.dumps(fork)} if given else {}
    result = BatchResult(index=0, outcomes=ended, change_sets=changes)
    outcomes.record(site.database, [(task, result)])
    instances.move_tasks(
        site.database, [task], TaskStep.STORING, [TaskStep.WAITING_TO_RUN]
    )
    record = instances.instance(site.database, number)
    return record, Finished(number=task, plan=plan, attempt=attempt, inputs={RAW: tip})


def restart(site, task):
    """Restart a task as if it had failed."""
    instances.fail_task(site.database, task, None, "as an operator saw it")
    asked = Restart(tasks=(task,), mode=RestartMode.FROM_BEGINNING)
    for reset in plan_restart(site.database, asked):
        reset_tasks(site.database, reset)


def stored(site, record, *finished):
    context = load_context(site, record)
    return publish(site.repository, site.database, context, finished)


def step(site, finished):
    return instances.task(site.database, finished.number).step


def pixels(cluster):
    return cluster.datastore[OUT]["pixels"].values


def origin(site):
    """Return what the product says of where it comes from."""
    store = site.repository.reading().store
    return zarr.open_group(store, path=OUT, mode="r").attrs[ATTRIBUTE]


def test_a_finished_task_is_stored_catalogued_and_put_on_record(cluster, site):
    record, task = made(site)
    snapshot = stored(site, record, task)
    np.testing.assert_array_equal(pixels(cluster), record.id + DATA["pixels"].values)
    row = instances.task(site.database, task.number)
    assert (row.step, row.snapshot, row.inputs) == (
        TaskStep.COMPLETE,
        snapshot,
        dict(task.inputs),
    )
    said = origin(site)
    assert (said["instance"], said["task"], said["node"]) == (
        record.id,
        task.number,
        "work",
    )
    assert "missing" not in said
    _, places = current_places(site.database, site.repository.tip())
    assert OUT in {place.path for place in places}
    assert reconcile(site.repository, site.database, record) == []


def test_items_that_nothing_came_of_are_named(site):
    record, task = made(site, given=[0, 3])
    stored(site, record, task)
    said = origin(site)
    assert Labels.from_json(said["missing"]).values.tolist() == ["i1", "i2"]


def test_a_task_of_which_nothing_came_leaves_the_product_of_another(cluster, site):
    first, task = made(site)
    stored(site, first, task)
    second, other = made(site, given=[])
    stored(site, second, other)
    assert step(site, other) is TaskStep.COMPLETE
    assert origin(site)["task"] == task.number
    np.testing.assert_array_equal(pixels(cluster), first.id + DATA["pixels"].values)


def killed(site, monkeypatch, record, task, *, before):
    """Publish, and be killed before a step."""
    with monkeypatch.context() as patch:
        home, name = before
        patch.setattr(home, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stored(site, record, task)


@pytest.mark.parametrize(
    "before", [(publishing, "catch_up"), (outcomes, "publish")], ids=["after", "later"]
)
@pytest.mark.parametrize("attempt", [0, 2])
def test_records_are_completed_of_tasks_that_a_commit_names(
    site, monkeypatch, before, attempt
):
    record, task = made(site, attempt=attempt)
    killed(site, monkeypatch, record, task, before=before)
    assert step(site, task) is TaskStep.STORING
    assert reconcile(site.repository, site.database, record) == [task.number]
    row = instances.task(site.database, task.number)
    assert row.step is TaskStep.COMPLETE
    assert row.snapshot == site.repository.tip()
    assert row.inputs == dict(task.inputs)
    assert reconcile(site.repository, site.database, record) == []


def test_before_the_commit_nothing_is_complete(cluster, site, monkeypatch):
    record, task = made(site)
    killed(site, monkeypatch, record, task, before=(site.repository, "publish"))
    assert reconcile(site.repository, site.database, record) == []
    assert step(site, task) is TaskStep.STORING
    assert OUT not in cluster.datastore


def test_a_commit_of_an_earlier_attempt_completes_no_later_one(site, monkeypatch):
    record, task = made(site)
    killed(site, monkeypatch, record, task, before=(outcomes, "publish"))
    restart(site, task.number)
    assert instances.task(site.database, task.number).attempt == 1
    assert reconcile(site.repository, site.database, record) == []
    assert step(site, task) is not TaskStep.COMPLETE


def test_only_tasks_of_the_instance_are_completed(site, monkeypatch):
    first, one = made(site)
    killed(site, monkeypatch, first, one, before=(outcomes, "publish"))
    second, other = made(site)
    assert reconcile(site.repository, site.database, second) == []
    assert step(site, other) is TaskStep.STORING
    assert reconcile(site.repository, site.database, first) == [one.number]


def test_several_tasks_are_one_commit(site):
    record, task = made(site)
    before = len(list(site.repository.history()))
    snapshot = stored(site, record, task)
    commits = list(site.repository.history())
    assert commits[0].snapshot == snapshot
    assert commits[0].message == f"test {record.id}: work [set-1] (task {task.number})"
    assert len(commits) > before
