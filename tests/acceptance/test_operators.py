"""Twenty operators give commands at once, from twenty processes, and all stays consistent.

A state machine of hypothesis draws what each of them types, and when the supervisor is
started, killed or told to stop. What must hold is looked at whenever all work has ended.
For longer by hand::

    ZIGGY_OPERATORS=50 pytest -n 0 tests/acceptance/test_operators.py
"""

import itertools
import json
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest
from distributed import LocalCluster
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

import ziggy_dask as z
from tests.acceptance.moves import illegal_moves, note_moves
from tests.acceptance.operators import (
    COUNT,
    PATIENCE_S,
    Operators,
    start_service,
    typed,
)
from tests.conftest import images, store
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.records import count_tasks, instance_state

EXAMPLES = int(os.environ.get("ZIGGY_OPERATORS", "2"))
BATCHES = 2
"""So often they type, in each example."""

ALGORITHMS = """
def work(raw, context, parameters):
    if int(context.labels[0][1:]) < parameters["S"]["broken"]:
        raise ValueError("clouds")
    return raw


def follow(out):
    return out
"""
DEFINITION = """
pipeline: test
placeholders: {{dataset: "set-[0-9]+"}}
parameter_sets:
  S: {{broken: 0, left: 0, right: 0}}
data_types:
  raw: {{location: "{{dataset}}/L0", subtask: item, external: true}}
  out: {{location: "{{dataset}}/L1", subtask: item}}
  after: {{location: "{{dataset}}/L2", subtask: item}}
events:
  leap: {{schedule: "0 0 29 2 *"}}
nodes:
  work:
    function: algorithms:work
    inputs: [raw]
    outputs: [out]
    parameters: [S]
    max_failed_subtasks: {allowed}
  follow: {{function: algorithms:follow, inputs: [out], outputs: [after]}}
"""

unique = itertools.count(1000)
"""Names and values that are given only once."""


TYPED = (
    "run test --detach --name n{unique} --set S.broken={few}",
    "run test --name n{unique} --set S.broken={few} --where dataset=set-{set}",
    "run test --name n{unique} --json",
    "restart --instance {one} --set S.broken=0",
    "restart {one}-{other} --mode resume-current-step",
    "halt --all",
    "halt {one}-{other}",
    "parameters test --set S.left={unique}",
    "parameters test --set S.right={unique}",
    "parameters test --set S.left={unique} --set S.nothing=1",
    "update {root}/allow-{few}.yaml",
    "alerts --acknowledge {one}-{other}",
    "alerts --clear",
    "event enable leap",
    "event disable leap",
    "event fire leap",
    "doctor --fix",
    "run test --detach --name n{unique} --set S.broken=oops",
    "restart --instance {one} --mode from-beginning",
    "restart --instance {one}",
    "halt --instance {one}",
    "run test --name n{unique} --start nowhere",
    "run --continue --instance {one}",
    "restart {one},{other} --set S.nothing=1",
    "restart --cause 12345678",
    "event fire leaps",
    "update {root}/wrong.yaml",
    "backup {root}/../backup-{unique}.db",
    "doctor",
    "status",
    "instances --json",
    "tasks {one}",
    "failures {one}",
    "cluster stop",
)
"""What operators type."""
NUMBERS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
BATCH = st.builds(
    lambda templates, numbers: list(zip(templates, numbers, strict=False)),
    st.permutations(2 * TYPED),
    st.lists(NUMBERS, min_size=COUNT, max_size=COUNT),
)
DEFAULTS = {"left": "0", "right": "0"}
"""Values of parameters in the definitions."""


def filled(drawn, root):
    """Return a command with its numbers, and with a value that comes only once."""
    template, (one, other, few) = drawn
    return tuple(
        word.format(
            unique=next(unique),
            one=one,
            other=one + other,
            few=few,
            set=1 + few % 2,
            root=root,
        )
        for word in template.split()
    )


class Cluster:
    """What is looked at of a cluster, and what has been typed so far."""

    def __init__(self, file):
        self.file = file
        self.opened = z.open(file)
        self.database = self.opened.home / "ziggy.db"
        self.answers = []

    def rows(self, query):
        """Return the rows of a query, as the database has them."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def named(self, code):
        """Return the names of instances that were asked for, with such an exit code."""
        for one in self.answers:
            if "--name" in one.command and code(one):
                yield one.command[one.command.index("--name") + 1]


def is_lost(answer):
    """Tell whether nobody knows what became of a command."""
    return "the supervisor has gone" in answer.errors


def has_run(answer):
    """Tell whether a command that runs something has been heeded."""
    return answer.code in (0, 1)


class Operations(RuleBasedStateMachine):
    """A cluster from its first command to its last."""

    def __init__(self, operators, cluster):
        super().__init__()
        self.operators, self.cluster, self.service = operators, cluster, None
        self.values = dict(DEFAULTS)

    @initialize(is_served=st.booleans())
    def one_run_has_failed(self, is_served):
        if is_served:
            self.ensure_supervisor()
        failing = ("run", "test", "--name", "first", "--set", "S.broken=1")
        self.cluster.answers.append(typed(str(self.cluster.file), failing))
        assert self.cluster.answers[-1].code == 1

    @rule(drawn=BATCH, supervisor=st.sampled_from(["starts", "is killed", "stays"]))
    def twenty_operators_type_at_once(self, drawn, supervisor):
        root = self.cluster.file.parent / "mission"
        commands = [filled(one, root) for one in drawn]
        if supervisor == "starts":
            self.ensure_supervisor()
        self.operators.type(self.cluster.file, commands)
        if supervisor == "is killed" and self.service is not None:
            self.service.kill()
            self.ensure_supervisor()
        answers = self.operators.answers()
        self.cluster.answers += answers
        for one in answers:
            said = f"{one}"
            assert "Traceback" not in said, one.errors
            assert "locked" not in one.errors, said
            assert one.code in (0, 1, 3, 4, 5), said
        check_parameters(self.cluster, self.values, answers)
        check_switch(self.cluster, answers)

    def ensure_supervisor(self):
        """Start a supervisor, unless there is one that nobody has ended."""
        while not is_served(self.cluster):
            if self.service is None or not self.service.is_alive():
                self.service = start_service(self.cluster.file)
            wait_until(lambda: is_served(self.cluster) or not self.service.is_alive())

    def teardown(self):
        """Let all work end, and see that all is well."""
        self.ensure_supervisor()
        wait_until(lambda: is_quiet(self.cluster))
        typed(str(self.cluster.file), ("cluster", "stop"))
        self.service.join(PATIENCE_S)
        assert self.service.exitcode == 0
        check_all(self.cluster)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def is_served(cluster):
    """Tell whether a supervisor takes requests."""
    holder = cluster.opened.supervisor
    return holder is not None and holder.takes_requests


def is_quiet(cluster):
    """Tell whether all that was asked for has been done."""
    ((open_,),) = cluster.rows(
        "SELECT (SELECT count(*) FROM requests WHERE state = 'waiting')"
        " + (SELECT count(*) FROM instances WHERE state IN"
        " ('PROCESSING', 'ERRORS_RUNNING')) + (SELECT sum(is_halting) FROM tasks)"
    )
    return not open_


def check_parameters(cluster, values, answers):
    """Check that no change of a parameter undid another one."""
    stored = cluster.opened.parameter_sets("test")["S"].content.values
    is_reset = any(one.command[0] == "update" and one.code == 0 for one in answers)
    for name in values:
        given = {
            word.partition("=")[2]
            for one in answers
            if one.command[0] == "parameters" and one.code == 0
            for word in one.command
            if word.startswith(f"S.{name}=")
        }
        possible = given | ({DEFAULTS[name]} if is_reset else set())
        assert str(stored[name]) in (possible or {values[name]}), (name, possible)
        values[name] = str(stored[name])


def check_switch(cluster, answers):
    """Check that a handler is as one of those said who switched it."""
    said = {a.command[1] for a in answers if a.command[0] == "event" and a.code == 0}
    said &= {"enable", "disable"}
    is_on = cluster.opened.handlers["test", "leap"].is_on(True)
    assert not said or ("enable" if is_on else "disable") in said


def check_all(cluster):
    """Check a cluster where nothing is going on."""
    assert illegal_moves(cluster.database) == []
    check_instances(cluster)
    check_counts(cluster)
    check_alerts(cluster)
    check_doctor(cluster)


def check_instances(cluster):
    """Check that what was heeded made one instance, and what was refused none."""
    names = Counter(name for (name,) in cluster.rows("SELECT name FROM instances"))
    made = set(cluster.named(has_run))
    lost = set(cluster.named(is_lost))
    fired = [a for a in cluster.answers if a.command[:2] == ("event", "fire")]
    assert made <= names.keys() <= {*made, *lost, ""}
    assert all(names[name] == 1 for name in made | lost & names.keys())
    least = sum(map(has_run, fired))
    assert least <= names[""] <= least + sum(map(is_lost, fired))
    assert names[""] == len(cluster.opened.events)
    numbers = {
        name: number for number, name in cluster.rows("SELECT id, name FROM instances")
    }
    assert sorted(one.id for one in cluster.opened.instances.values()) == list(
        range(1, names.total() + 1)
    )
    for one in cluster.answers:
        if "--detach" in one.command and one.code == 0:
            name = one.command[one.command.index("--name") + 1]
            assert numbers[name] == int(one.output)


def check_counts(cluster):
    """Check that states and counts say of tasks what the subtasks say."""
    query = "SELECT task_id, state, count(*) FROM subtasks GROUP BY 1, 2"
    counts = {(task, state): count for task, state, count in cluster.rows(query)}
    for instance in cluster.opened.instances.values():
        tasks = instance.task_records
        counted = count_tasks((one.step, one.is_error) for one in tasks)
        assert instance.state is instance_state(counted, can_go_on=False)
        for one in tasks:
            assert one.complete == counts.get((one.id, "COMPLETE"), 0)
            assert one.failed == counts.get((one.id, "FAILED"), 0)
            assert one.complete + one.failed <= one.total
            assert bool(one.message) >= one.is_error
            assert bool(one.snapshot) == (one.step.value == "COMPLETE")


def check_alerts(cluster):
    """Check that each alert was taken off the list by one operator."""
    told = [re.match("([0-9]+) cleared", one.output) for one in cluster.answers]
    query = "SELECT count(*) FROM alerts WHERE is_cleared"
    assert sum(int(one[1]) for one in told if one) == cluster.rows(query)[0][0]


def check_doctor(cluster):
    """Check that the doctor finds nothing, and versions are what instances say."""
    done = typed(str(cluster.file), ("doctor", "--json"))
    assert (done.code, json.loads(done.output)) == (0, []), done
    sets = {
        version: json.loads(content)
        for version, content in cluster.rows(
            "SELECT version, content FROM parameter_sets WHERE name = 'S'"
        )
    }
    for instance in cluster.opened.instance_records:
        used = instance.parameters["S"]
        if not used["changed"]:
            assert used["content"] == sets[used["version"]], instance.id


@pytest.fixture(scope="module")
def operators():
    found = Operators()
    yield found
    found.close()


@pytest.fixture
def template(tmp_path):
    """A directory of a cluster that nobody has worked on yet."""
    root = tmp_path / "template"
    mission = root / "mission"
    mission.mkdir(parents=True)
    (mission / "algorithms.py").write_text(ALGORITHMS)
    for few in range(3):
        text = DEFINITION.format(allowed=few)
        (mission / f"allow-{few}.yaml").write_text(text)
    wrong = DEFINITION.format(allowed=0).replace("L0", "{nothing}/L0")
    (mission / "wrong.yaml").write_text(wrong)
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as dask:
        (root / "cluster.yaml").write_text(
            "cluster: test\nhome: ./home\n"
            f"compute: {{address: '{dask.scheduler_address}'}}\n"
        )
        cluster = create_cluster(root / "cluster.yaml")
        store(cluster, {f"set-{n}/L0": images(2, seed=n) for n in (1, 2)})
        cluster._site.database.close()
        note_moves(cluster.home / "ziggy.db")
        yield root


def test_twenty_operators_leave_a_consistent_state(operators, template, tmp_path):
    begun = []

    def begin():
        root = tmp_path / f"cluster-{next(unique)}"
        begun.append(root)
        shutil.copytree(template, root)
        z.open(root / "cluster.yaml").register(root / "mission" / "allow-0.yaml")
        return Operations(operators, Cluster(root / "cluster.yaml"))

    run_state_machine_as_test(
        begin,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=BATCHES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(begun) >= EXAMPLES
