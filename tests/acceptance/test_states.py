"""Every state of instances and steps of tasks, and every move between them.

``docs/states.md`` lists them; each row is a test here, which plays what the row says and
looks whether the database notes the move. Restart modes and halts in all their forms are in
`test_operations`; requests and priorities in ``tests/integration/test_service.py``; crashes
in ``tests/integration/test_kill.py``.
"""

import textwrap
import threading
import time
from itertools import pairwise

import pytest

import ziggy_dask as z
from tests.acceptance.moves import (
    illegal_moves,
    note_moves,
    noted_clocks,
    noted_moves,
    noted_order,
    rows,
)
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.definitions import Retry
from ziggy_dask.engine.events import Progressed, TaskEnded
from ziggy_dask.engine.launch import Request, launch
from ziggy_dask.errors import DatastoreError, DefinitionError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records import (
    InstanceState,
    TaskStep,
    count_tasks,
    instances,
    outcomes,
)
from ziggy_dask.supervisor.crew import Crew
from ziggy_dask.supervisor.supervise import in_charge
from ziggy_dask.workers import SubtaskState

ALGORITHMS = """
    import time
    from pathlib import Path

    HERE = Path(__file__).parent

    def work(raw, context):
        unit, item = context.unit["dataset"], [*context.labels, "i0"][0]
        with (HERE / "runs.txt").open("a") as file:
            file.write(f"{unit}-{item}\\n")
        ran = (HERE / "runs.txt").read_text().split()
        print("try", ran.count(f"{unit}-{item}"))
        deadline = time.monotonic() + 60
        while (HERE / f"hold-{unit}").exists() and context.subtask == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if (HERE / f"broken-{unit}-{item}").exists():
            raise ValueError("clouds")
        return raw


    def follow(out):
        return out
"""


class Mission:
    """A cluster with a pipeline of two nodes, on two data sets of two images."""

    def __init__(self, root, client):
        self.root, self.client = root, client
        (root / "algorithms.py").write_text(textwrap.dedent(ALGORITHMS))
        (root / "cluster.yaml").write_text(
            "cluster: test\nhome: ./home\nsupervisor: {max_instances: 1}\n"
        )
        self.cluster = create_cluster(root / "cluster.yaml")
        self.database = self.cluster.home / "ziggy.db"
        note_moves(self.database)
        store(self.cluster, {f"set-{n}/L0": images(2, seed=n) for n in (1, 2)})
        self.define()

    def define(self, **options):
        """Register the pipeline, with options of its first node."""
        self.cluster.register(
            pipeline(
                self.root,
                data_type("raw", "L0"),
                data_type("out", "L1"),
                data_type("after", "L2"),
                node("work", "work", "raw", "out", **options),
                node("follow", "follow", "out", "after"),
            )
        )

    def set(self, *marks):
        """Let algorithms hold or fail: ``hold-set-1``, ``broken-set-1-i0``."""
        for mark in marks:
            (self.root / mark).touch()

    def unset(self):
        """Let algorithms go on, and well."""
        for pattern in ("hold-*", "broken-*"):
            for mark in self.root.glob(pattern):
                mark.unlink()

    def run(self, **options):
        """Run the pipeline."""
        return self.cluster.run("test", client=self.client, **options)

    def restart(self, *tasks, **options):
        """Restart tasks, by default all of the first instance that failed."""
        options = options if tasks else {"instance": 1} | options
        return self.cluster.restart(*tasks, client=self.client, **options)

    def run_meanwhile(self, do, **options):
        """Run the pipeline, and do something while a subtask of it is held."""
        self.set("hold-set-2")
        thread = threading.Thread(target=self.run, kwargs=options)
        thread.start()
        try:
            wait_until(lambda: "set-2-i0" in self.runs)
            do()
        finally:
            self.unset()
            thread.join(timeout=60)
        assert not thread.is_alive()

    def halt(self, task):
        """Halt a task, and wait until it is."""
        other = z.open(self.root / "cluster.yaml")
        other.halt(task)
        wait_until(lambda: other.task(task).record.is_error)

    @property
    def runs(self):
        """What ran, in order."""
        file = self.root / "runs.txt"
        return file.read_text().split() if file.exists() else []

    @property
    def recorded(self):
        """What is on record as complete, of the first node in the first instance."""
        database = self.cluster._site.database
        return [
            f"{task.unit.strip('[]')}-i{subtask.number}"
            for task in instances.tasks(database, 1)
            if task.node == "work"
            for subtask in outcomes.subtasks(database, task.id, SubtaskState.COMPLETE)
        ]

    def moves(self, what, number=1):
        """Return the states that a task or an instance came to, in order."""
        return noted_moves(self.database, what)[number]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


# -- what happens, by the words of the page --------------------------------------------


def all_goes_well(mission):
    mission.run()


def an_instance_waits_for_its_turn(mission):
    site = mission.cluster._site
    with in_charge(site):
        crew = Crew(site, mission.client)
        for _ in range(2):
            crew.take(launch(site, Request(pipeline="test")))
        crew.go_on()
        assert mission.cluster.instance(2).state.value == "INITIALIZED"
        wait_until(lambda: crew.go_on() or not crew.active)
    ended = [one.state.value for one in mission.cluster.instances.values()]
    assert ended == ["COMPLETED", "COMPLETED"]


def a_task_fails_while_another_one_runs(mission):
    mission.set("broken-set-1-i0", "hold-set-2")

    def let_go(event):
        if isinstance(event, TaskEnded) and event.is_error:
            (mission.root / "hold-set-2").unlink()

    mission.run(listen=let_go)


def the_only_task_that_runs_is_halted(mission):
    options = {"where": ["dataset=set-2"], "stop": "work"}
    mission.run_meanwhile(lambda: mission.halt(1), **options)


def the_only_task_that_runs_is_halted_and_restarted(mission):
    the_only_task_that_runs_is_halted(mission)
    mission.restart()


def there_is_nothing_to_process(mission):
    with pytest.raises(DefinitionError, match="no units of work"):
        mission.run(where=["dataset=set-3"])


def there_is_nothing_to_process_and_then_the_instance_is_restarted(mission):
    there_is_nothing_to_process(mission)
    with pytest.raises(DefinitionError, match="run the pipeline anew with --set"):
        mission.restart(parameters={"S": {"x": 1}})
    with pytest.raises(DefinitionError, match="no units of work"):
        mission.restart()
    store(mission.cluster, {"set-3/L0": images(2)})
    (done,) = mission.restart()
    assert (done.id, done.state.value) == (1, "COMPLETED")


def the_supervisor_dies_after_a_failure_and_another_one_resumes(mission):
    mission.set("broken-set-1-i0", "hold-set-2")

    def die(event):
        if isinstance(event, TaskEnded) and event.is_error:
            mission.unset()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mission.run(listen=die)
    mission.cluster.resume(1, client=mission.client)


def failures_are_restarted(mission):
    mission.set("broken-set-1-i0")
    mission.run()
    mission.unset()
    (done,) = mission.restart()
    assert done.state.value == "COMPLETED"


def what_was_stored_with_failures_is_restarted(mission):
    mission.define(max_failed_subtasks=1)
    failures_are_restarted(mission)


def the_successful_subtasks_of_a_failed_task_are_stored(mission):
    mission.set("broken-set-1-i0")
    mission.run()
    mission.restart(mode="resume-current-step")


def a_task_is_halted_before_its_inputs_are_there(mission):
    mission.define(single_subtask=True)  # so that what follows is planned later
    mission.run_meanwhile(lambda: mission.halt(4))


def a_task_is_halted_before_its_inputs_are_there_and_restarted(mission):
    a_task_is_halted_before_its_inputs_are_there(mission)
    mission.restart()


def a_task_is_halted_before_it_begins(mission):
    store(mission.cluster, {"set-2/L0": images(1)})
    mission.run_meanwhile(lambda: mission.halt(4))


def a_task_is_halted_before_it_begins_and_restarted(mission):
    a_task_is_halted_before_it_begins(mission)
    mission.restart()


def a_task_is_halted_before_the_next_one_begins(mission):
    store(mission.cluster, {"set-2/L0": images(1)})
    mission.run_meanwhile(lambda: mission.halt(2))


def the_datastore_can_not_be_written(mission):
    repository = mission.cluster._site.repository

    def fail(*_):
        raise DatastoreError("permission denied")

    repository.publish = fail
    with pytest.raises(DatastoreError, match="permission denied"):
        mission.run()
    del repository.publish
    record = mission.cluster.instance(1).record
    assert (record.state.value, record.message) == (
        "TRANSITION_FAILED",
        "permission denied",
    )
    (alert, *_) = mission.cluster.alerts
    assert "permission denied" in alert.message
    assert "ziggy restart --instance 1" in alert.message
    before = mission.recorded
    assert before
    mission.restart()
    assert mission.cluster.instance(1).state.value == "COMPLETED"
    assert {one: mission.runs.count(one) for one in before} == dict.fromkeys(before, 1)


def a_delivery_is_taken_in(mission, *, is_good=True):
    mission.cluster.register(
        pipeline(
            None,
            data_type(
                "raw", "L0", files="(r[0-9]+)\\.csv", reader="csv", external=False
            ),
            z.Node(name="receipt", step=z.DataReceiptStep()),
            name="taken",
        )
    )
    delivery = mission.root / "delivery" / "set-1" / "L0"
    delivery.mkdir(parents=True)
    (delivery / "r1.csv").write_bytes(b"a,b\n1,2\n" if is_good else b"\0\xff")
    mission.cluster.receive(mission.root / "delivery", needs_manifest=False)


def a_file_of_a_delivery_can_not_be_read(mission):
    a_delivery_is_taken_in(mission, is_good=False)


def a_file_of_a_delivery_can_not_be_read_and_then_it_is_restarted(mission):
    a_file_of_a_delivery_can_not_be_read(mission)
    mission.restart()


# -- the rows of the page --------------------------------------------------------------


@pytest.fixture
def mission(tmp_path, client):
    made = Mission(tmp_path, client)
    yield made
    made.cluster._site.database.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory, client):
    """Let something happen, once; return where it did."""
    known = {}

    def play(when):
        name = when.replace(",", "").replace("can't", "can not").replace(" ", "_")
        if name not in known:
            made = Mission(tmp_path_factory.mktemp("mission"), client)
            globals()[name](made)
            made.cluster._site.database.close()
            known[name] = made
        return known[name]

    return play


INSTANCE_MOVES, TASK_MOVES = rows("Moves of instances"), rows("Moves of tasks")
EVENTS = sorted({row[2] for row in (*INSTANCE_MOVES, *TASK_MOVES)})


def named(table):
    return [pytest.param(*row, id=f"{row[0]} to {row[1]}") for row in table]


@pytest.mark.parametrize(("one", "other", "when"), named(INSTANCE_MOVES))
def test_instance_moves_from(played, one, other, when):
    found = noted_moves(played(when).database, "instance").values()
    assert (one, other) in {pair for states in found for pair in pairwise(states)}


@pytest.mark.parametrize(("one", "other", "when"), named(TASK_MOVES))
def test_task_moves_from(played, one, other, when):
    found = noted_moves(played(when).database, "task").values()
    assert (one, other) in {pair for states in found for pair in pairwise(states)}


@pytest.mark.parametrize("when", EVENTS)
def test_nothing_moves_otherwise_when(played, when):
    assert illegal_moves(played(when).database) == []


@pytest.mark.parametrize(
    ("state", "clock", "meaning"),
    [pytest.param(*row, id=row[0]) for row in rows("States of instances")],
)
def test_instance_state(played, state, clock, meaning):
    clocks = {
        is_running
        for when in EVENTS
        for found, is_running in noted_clocks(played(when).database)
        if found == state
    }
    if meaning.startswith("not used"):
        assert clocks == set()
    else:
        assert clocks == {clock == "runs"}


@pytest.mark.parametrize(
    ("step", "counted", "meaning"),
    [pytest.param(*row, id=row[0]) for row in rows("Steps of tasks")],
)
def test_task_step(played, step, counted, meaning):
    assert getattr(count_tasks([(TaskStep(step), False)]), counted) == 1
    assert count_tasks([(TaskStep(step), True)]).failed == 1
    taken = {
        state
        for when in EVENTS
        for states in noted_moves(played(when).database, "task").values()
        for state in states
    }
    assert (step in taken) == (not meaning.startswith(("not used", "only with")))


def test_the_page_has_all_states_and_steps():
    assert [r[0] for r in rows("States of instances")] == [
        s.value for s in InstanceState
    ]
    assert [r[0] for r in rows("Steps of tasks")] == [s.value for s in TaskStep]


# -- what the original promises besides ------------------------------------------------


def test_the_step_after_each_step():
    steps = list(TaskStep)
    assert [one.following() for one in steps[:-1]] == steps[1:]
    with pytest.raises(ValueError, match="no step follows COMPLETE"):
        TaskStep.COMPLETE.following()


def counts_over_time(mission):
    """Return total, waiting, complete and failed tasks after each move of a task."""
    steps, found = {}, []
    for number, state in noted_order(mission.database):
        is_error = state.startswith("ERROR")
        steps[number] = (TaskStep(state.removeprefix("ERROR - ")), is_error)
        counts = count_tasks(steps.values())
        found.append((counts.total, counts.waiting, counts.complete, counts.failed))
    return found


def test_two_tasks_wait_then_run_then_are_complete(mission):
    mission.run(stop="work")
    counts = counts_over_time(mission)
    assert counts[1] == (2, 2, 0, 0)
    assert (2, 0, 0, 0) in counts
    assert counts[-1] == (2, 0, 2, 0)
    assert mission.moves("instance") == ["PROCESSING", "COMPLETED"]


@pytest.mark.parametrize("stop", ["work", None], ids=["one node", "a second node"])
def test_one_of_two_tasks_fails_and_the_other_one_completes(mission, stop):
    mission.set("broken-set-1-i0", "hold-set-2")
    seen = []

    def let_go(event):
        if isinstance(event, TaskEnded) and event.is_error:
            instance = mission.cluster.instance(1)
            seen.append((instance.record.finished, instance.tasks[0].record.finished))
            mission.unset()

    instance = mission.run(listen=let_go, stop=stop)
    ((instance_ended, task_ended),) = seen
    assert instance_ended is None
    assert task_ended is not None
    assert mission.moves("instance") == [
        "PROCESSING",
        "ERRORS_RUNNING",
        "ERRORS_STALLED",
    ]
    assert instance.record.finished is not None
    found = states(instance)
    assert found["work [set-1]"] == "ERROR - WAITING_TO_STORE"
    assert found["work [set-2]"] == "COMPLETE"


def test_what_can_not_go_on_waits_until_what_it_reads_is_restarted(mission):
    mission.set("broken-set-1-i0")
    instance = mission.run()
    assert instance.state is InstanceState.ERRORS_STALLED
    work, follow = (one.record for one in instance.tasks if "set-1" in one.record.unit)
    assert (work.is_error, work.complete, follow.complete) == (True, 1, 1)
    assert (follow.state, follow.started) == ("WAITING_TO_RUN", None)
    mission.unset()
    mission.restart()
    assert instance.state is InstanceState.COMPLETED
    assert mission.moves("task", follow.id)[-4:] == [
        "QUEUED",
        "EXECUTING",
        "STORING",
        "COMPLETE",
    ]


def test_a_task_goes_on_when_its_own_inputs_are_complete(mission):
    mission.run_meanwhile(lambda: wait_until(lambda: is_complete(mission, 3)))
    assert states(mission.cluster.instance(1))["follow [set-2]"] == "COMPLETE"


def is_complete(mission, task):
    return mission.cluster.task(task).record.step is TaskStep.COMPLETE


def test_a_task_without_subtasks_is_complete_and_nothing_runs_for_it(mission):
    mission.define(single_subtask=True, max_failed_subtasks=1)
    mission.set("broken-set-1-i0")
    instance = mission.run()
    (follow,) = [t for t in instance.tasks if t.record.node == "follow"][:1]
    assert (follow.record.state, follow.record.total) == ("COMPLETE", 0)
    assert mission.moves("task", follow.id) == ["WAITING_TO_RUN", "STORING", "COMPLETE"]


def test_counts_of_six_subtasks_as_they_end(mission):
    store(mission.cluster, {"set-1/L0": images(6)})
    mission.set(*(f"broken-set-1-i{n}" for n in (1, 2, 3)))
    told, ended = [(0, 0)], []

    def listen(event):
        if isinstance(event, Progressed):
            complete, failed = told[-1]
            told.append((complete + event.complete, failed + event.failed))
        if isinstance(event, TaskEnded):
            ended.append(event)

    mission.run(listen=listen, where=["dataset=set-1"], stop="work")
    assert told == sorted(told)
    assert told[-1] == (3, 3)
    assert [event.task for event in ended] == [1]


@pytest.mark.parametrize(
    ("allowed", "times", "broken", "state", "resubmits"),
    [
        (0, 0, [], "COMPLETE", 0),
        (1, 0, ["set-1-i0"], "COMPLETE", 0),
        (0, 0, ["set-1-i0"], "ERROR - WAITING_TO_STORE", 0),
        (0, 1, ["set-1-i0"], "ERROR - WAITING_TO_STORE", 1),
        (1, 1, ["set-1-i0", "set-1-i1"], "ERROR - WAITING_TO_STORE", 1),
        (2, 0, ["set-1-i0", "set-1-i1"], "COMPLETE", 0),
    ],
    ids=[
        "persist",
        "persist what is allowed",
        "fail",
        "resubmit",
        "resubmit, fail",
        "all failed, and may",
    ],
)
def test_disposition(mission, allowed, times, broken, state, resubmits):
    mission.define(max_failed_subtasks=allowed, retry=Retry(times=times))
    mission.set(*(f"broken-{one}" for one in broken))
    instance = mission.run()
    record = instance.tasks[0].record
    assert (record.state, record.resubmits) == (state, resubmits)
    assert record.failed == len(broken)
    is_stored = state == "COMPLETE" and len(broken) < 2
    assert ("set-1/L1" in mission.cluster.datastore) == is_stored


def test_subtasks_that_have_ended_well_or_badly_do_not_run_when_gone_on_with(mission):
    mission.set("broken-set-1-i0")
    mission.run()
    before = mission.runs
    done = mission.cluster.resume(1, client=mission.client)
    assert (done.state.value, mission.runs) == ("ERRORS_STALLED", before)


def test_counts_add_up_whatever_becomes_of_a_task(mission):
    mission.set("broken-set-1-i0", "broken-set-2-i0", "broken-set-2-i1")
    instance = mission.run()
    counts = [(t.record.complete, t.record.failed) for t in instance.tasks]
    assert counts[:2] == [(1, 1), (0, 2)]
    mission.restart()
    again = mission.cluster.instance(1)
    assert [(t.record.complete, t.record.failed) for t in again.tasks] == counts
    for task in [*instance.tasks, *again.tasks]:
        assert task.record.complete + task.record.failed <= task.record.total


def test_logs_are_known_by_task_and_subtask_and_a_restart_replaces_them(mission):
    mission.set("broken-set-1-i0")
    mission.run(where=["dataset=set-1"])
    before = {(log.task, log.number): log.log for log in logs(mission)}
    assert before == {(1, 0): "try 1\n", (1, 1): "try 1\n"}
    mission.restart()
    after = {(log.task, log.number): log.log for log in logs(mission)}
    assert after == {(1, 0): "try 2\n", (1, 1): "try 1\n"}


def logs(mission):
    return outcomes.logs(mission.cluster._site.database, 1)
