import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, select, text, update

import ziggy_dask as z
from ziggy_dask.datastore import create_repository
from ziggy_dask.datastore.catalogue import Commit
from ziggy_dask.errors import ConnectionLostError, LeaseError, RecordsError
from ziggy_dask.records import (
    TaskStep,
    create_database,
    engines,
    instances,
    library,
    open_database,
    outcomes,
)
from ziggy_dask.records import database as records_database
from ziggy_dask.records.backup import require_empty, write_backup
from ziggy_dask.records.lease import (
    LEASE_S,
    current_lease,
    give_back_lease,
    refresh_lease,
    take_lease,
)
from ziggy_dask.records.restore import checked_backup, take_over
from ziggy_dask.records.tables import LeaseRow, Table, TaskRow
from ziggy_dask.workers import BatchResult, Cause, Outcome, SubtaskState


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path):
    """The URL of a new database: all that is said here holds for both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ziggy.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def database(url):
    database = create_database(url)
    yield database
    database.close()


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A database that another program has locked, whole, also to readers."""
    monkeypatch.setattr(engines, "BUSY_MS", 20)
    with closing(create_database(f"sqlite:///{tmp_path}/ziggy.db")) as database:
        take_lease(database)
        database._engine.dispose()
        other = sqlite3.connect(tmp_path / "ziggy.db", isolation_level=None)
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield database, other
        other.close()


@pytest.mark.parametrize("act", ["read", "write"])
def test_a_supervisor_waits_as_long_as_somebody_locks_the_database(locked, act, logged):
    database, other = locked
    told = threading.Event()
    logged.handler.emit = lambda record: told.set()
    done = []

    def work():
        if act == "write":
            outcomes.drop_superfluous_change_sets(database)
        done.append(current_lease(database))

    thread = threading.Thread(target=work)
    thread.start()
    assert told.wait(60)
    assert not done
    with pytest.raises(RecordsError, match="locked"):  # it is tried again soon
        refresh_lease(database, current_of(database))
    other.close()
    thread.join(60)
    assert done[0].token == database.lease_token


def test_who_is_not_in_charge_or_ends_is_told_at_once_that_a_database_is_locked(locked):
    database, _ = locked
    database.is_closing.set()
    with pytest.raises(RecordsError, match="database is locked"):
        outcomes.drop_superfluous_change_sets(database)
    database.is_closing.clear()
    database.lease_token = None
    with pytest.raises(RecordsError, match="database is locked"):
        current_lease(database)


def current_of(database):
    return SimpleNamespace(token=database.lease_token)


def small_pipeline(value=1):
    from ziggy_dask.definitions import parameter_from_value

    return z.Pipeline(
        name="small",
        parameter_sets=(
            z.ParameterSet(name="S", parameters=(parameter_from_value("a", value),)),
        ),
    )


def new_instance(database, **tasks):
    """Make an instance with tasks, given as name and number of subtasks."""
    library.register(database, [small_pipeline()])
    stored, _ = library.lock_newest(database, "small")
    number = instances.create_instance(
        database,
        instances.NewInstance(
            name="",
            pipeline_id=stored.id,
            code_version="",
            options={},
            parameters={},
            software={},
            base_snapshot="",
        ),
    )
    new = [
        instances.NewTask(position=n, node=name, unit="[x]", plan={"n": n}, total=count)
        for n, (name, count) in enumerate(tasks.items())
    ]
    return number, instances.create_tasks(database, number, new, base_snapshot="A")


def result(*numbers, state=SubtaskState.COMPLETE, data=b"fork"):
    cause = Cause.EXCEPTION if state is SubtaskState.FAILED else Cause.NONE
    made = tuple(
        Outcome(subtask=n, state=state, cause=cause, outputs=("p",), log=f"log {n}")
        for n in numbers
    )
    return BatchResult(
        index=0, outcomes=made, change_sets={"p": data}, host="h", worker="w"
    )


def test_migrations_make_exactly_the_tables_that_the_code_uses(database):
    with database.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Table.metadata) == []


def test_creating_twice_keeps_what_is_there(database, url):
    number, _ = new_instance(database, work=1)
    again = create_database(url)
    assert instances.instance(again, number).id == number
    again.close()


def test_a_database_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        RecordsError, match="there is none; make it with: ziggy cluster init"
    ):
        open_database(f"sqlite:///{tmp_path}/nothing.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_what_is_no_file_is_not_taken_for_an_empty_one(tmp_path, end):
    url = f"sqlite:///{tmp_path}/ziggy.db"
    create_database(url).close()
    file = tmp_path / f"ziggy.db{end}"
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    for opened in (open_database, create_database):
        with pytest.raises(RecordsError, match=f"{file} is not a regular file"):
            opened(url)


def test_a_home_that_is_no_directory_is_told(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(RecordsError, match=f"{tmp_path}/home is not a directory"):
        open_database(f"sqlite:///{tmp_path}/home/ziggy.db")


@pytest.mark.parametrize(
    ("version", "fix"),
    [("9999", "install a newer ziggy-dask"), ("0001", "upgrade with: ziggy cluster")],
)
def test_a_database_of_another_version_is_refused(database, url, version, fix):
    change = text("UPDATE alembic_version SET version_num = :version")
    with database.writing() as connection:
        connection.execute(change, {"version": version})
    words = f"of version {version}, but this program wants .*; {fix}"
    with pytest.raises(RecordsError, match=words):
        open_database(url)


def test_what_fails_half_way_changes_nothing(database):
    number, _ = new_instance(database, work=1)

    def interrupted():
        with database.writing() as connection:
            connection.execute(text("UPDATE instances SET name = 'half'"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        interrupted()
    assert instances.instance(database, number).name == ""


def test_a_password_is_never_shown():
    with pytest.raises(RecordsError) as caught:
        open_database(
            "postgresql+psycopg://me:secret@127.0.0.1:1/none?connect_timeout=1"
        )
    assert "secret" not in str(caught.value)


# -- versions and locks ----------------------------------------------------------


def test_a_set_changes_in_place_until_it_is_locked(database):
    library.register(database, [small_pipeline(1)])
    library.register(database, [small_pipeline(100)])
    stored = library.parameter_sets(database, "small")["S"]
    assert (stored.version, stored.is_locked, stored.content.values) == (
        0,
        False,
        {"a": 100},
    )


def test_a_change_after_locking_makes_a_new_version(database):
    new_instance(database)
    assert library.parameter_sets(database, "small")["S"].is_locked
    library.register(database, [small_pipeline(100)])
    stored = library.parameter_sets(database, "small")["S"]
    assert (stored.version, stored.is_locked, stored.content.values) == (
        1,
        False,
        {"a": 100},
    )


def test_a_locked_set_that_does_not_change_stays_as_it_is(database):
    new_instance(database)
    done = library.register(database, [small_pipeline(1)])
    assert [(one.change.value, one.version) for one in done] == [
        ("SAME", 0),
        ("SAME", 0),
    ]
    assert library.parameter_sets(database, "small")["S"].is_locked


# -- outcomes ---------------------------------------------------------------------


def test_outcomes_are_kept_with_their_data_until_published(database):
    _, (task,) = new_instance(database, work=3)
    outcomes.record(database, [(task, result(0, 2)), (task, result(1, data=b"other"))])
    parts = outcomes.recorded_parts(database, task)
    assert sorted(sorted(o.subtask for o in p.outcomes) for p in parts.values()) == [
        [0, 2],
        [1],
    ]
    (kept,) = outcomes.change_sets(database, [task]).items()
    assert (kept[0], sorted(kept[1])) == ((task, "p"), [b"fork", b"other"])
    assert outcomes.subtasks_with_output(database, [task]) == {task: {"p": {0, 1, 2}}}
    outcomes.publish(database, "SNAP", {task: {"in": "A"}})
    assert outcomes.change_sets(database, [task]) == {}
    record = instances.task(database, task)
    assert (record.state, record.snapshot, record.inputs) == (
        "COMPLETE",
        "SNAP",
        {"in": "A"},
    )


def test_counts_follow_outcomes_also_when_a_failure_is_replaced(database):
    _, (task,) = new_instance(database, work=4)
    outcomes.record(database, [(task, result(0)), (task, result(1, 2, state=FAILED))])
    record = instances.task(database, task)
    assert (record.complete, record.failed) == (1, 2)
    outcomes.record(database, [(task, result(2))])
    record = instances.task(database, task)
    assert (record.complete, record.failed) == (2, 1)
    assert [one.number for one in outcomes.subtasks(database, task, FAILED)] == [1]


def test_a_halt_that_comes_too_late_is_forgotten(database):
    number, (early, late) = new_instance(database, work=1, more=1)
    assert instances.ask_to_halt(database, [early, late]) == 2
    outcomes.publish(database, "B", {late: {}})
    assert instances.halting(database, number) == {early}
    instances.fail_task(database, early, None, "halted")
    assert instances.halting_instances(database) == set()


def test_halts_are_found_without_looking_at_all_tasks(tmp_path):
    database = create_database(f"sqlite:///{tmp_path}/ziggy.db")
    asked = []
    event.listen(database._engine, "before_cursor_execute", lambda *a: asked.append(a))
    instances.halting_instances(database)
    instances.halting(database, 1)
    with database.reading() as connection:
        for statement, values in {one[2:4] for one in asked if "FROM tasks" in one[2]}:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            assert "ix_tasks_halting" in str(plan.all()), statement
    database.close()


def test_blocked_subtasks_are_not_on_record(database):
    _, (task,) = new_instance(database, work=2)
    outcomes.record(database, [(task, result(0, state=SubtaskState.BLOCKED))])
    assert outcomes.subtasks(database, task) == []


FAILED = SubtaskState.FAILED


def test_as_many_tasks_as_there_are_move_and_end_at_once(database):
    number, tasks = new_instance(database, **{f"n{n}": 1 for n in range(1201)})
    steps = [TaskStep.WAITING_TO_RUN]
    assert instances.move_tasks(database, tasks, TaskStep.EXECUTING, steps) == 1201
    outcomes.record(database, [(task, result(0)) for task in tasks])
    outcomes.publish(database, "S", {task: {} for task in tasks})
    ended = instances.tasks(database, number)
    assert {(one.step, one.complete) for one in ended} == {(TaskStep.COMPLETE, 1)}
    (part,) = outcomes.recorded_parts(database, tasks[1200]).values()
    assert part.change_sets == {}


def statements_of(database, do) -> int:
    """Return how many statements something sends to a database."""
    sent = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(database._engine, "before_cursor_execute", note)
    try:
        do()
    finally:
        event.remove(database._engine, "before_cursor_execute", note)
    return len(sent)


def test_no_step_of_tasks_takes_a_statement_for_each(database):
    made = {}

    def make(count):
        made[count] = new_instance(database, **{f"n{n}": 1 for n in range(count)})[1]

    make(1)  # registers the pipeline
    assert statements_of(database, lambda: make(3)) == statements_of(
        database, lambda: make(90)
    )
    few, many = made[3], made[90]
    queued, waiting = TaskStep.QUEUED, [TaskStep.WAITING_TO_RUN]
    steps = {
        "queued": lambda some: instances.move_tasks(database, some, queued, waiting),
        "recorded": lambda some: outcomes.record(
            database, [(task, result(0)) for task in some]
        ),
        "storing": lambda some: instances.begin_storing(database, some),
        "read": lambda some: outcomes.change_sets(database, some),
        "published": lambda some: outcomes.publish(
            database, "S", {task: {"a": "S"} for task in some}
        ),
    }
    for name, step in steps.items():
        counts = [statements_of(database, partial(step, some)) for some in (few, many)]
        assert counts[0] == counts[1], name
    ended = [instances.task(database, task) for task in many]
    assert {(one.step, one.complete, one.snapshot) for one in ended} == {
        (TaskStep.COMPLETE, 1, "S")
    }


def test_missing_things_are_named(database):
    with pytest.raises(
        RecordsError, match="there is no instance 3; none has been run yet"
    ):
        instances.instance(database, 3)
    _, (task,) = new_instance(database, work=1)
    with pytest.raises(RecordsError, match=f"no task 99; the last one is {task}"):
        instances.task(database, 99)


# -- the lease ---------------------------------------------------------------------


def test_a_second_supervisor_is_refused_with_who_holds_the_lease(database, url):
    lease = take_lease(database)
    other = open_database(url)
    with pytest.raises(LeaseError, match=f"process {os.getpid()} on .*, since 2"):
        take_lease(other)
    give_back_lease(database, lease)
    give_back_lease(other, take_lease(other))
    other.close()


def test_the_lease_of_a_dead_process_is_free_at_once(database, url):
    code = (
        "from ziggy_dask.records import open_database\n"
        "from ziggy_dask.records.lease import take_lease\n"
        f"take_lease(open_database({url!r}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert current_lease(database) is None
    give_back_lease(database, take_lease(database))


@pytest.mark.parametrize(
    "place", ["7c0f-9d/pid:[4026531836]", "{boot}/pid:[1]", "{boot}"]
)
def test_a_process_that_can_not_be_seen_from_here_is_not_taken_for_dead(
    database, url, place
):
    """Of another machine or container of this name, or an earlier version's."""
    lease = take_lease(database)
    boot = lease.process_started.partition("/")[0]
    with database.writing() as connection:
        connection.execute(
            update(LeaseRow).values(process_started=f"{place.format(boot=boot)} 55")
        )
    other = open_database(url)
    with pytest.raises(LeaseError, match="another supervisor is in charge"):
        take_lease(other)
    late = datetime.now(UTC) - timedelta(seconds=LEASE_S + 1)
    with database.writing() as connection:
        connection.execute(update(LeaseRow).values(heartbeat=late))
    assert take_lease(other).follows_silent
    other.close()


def test_setting_the_clock_does_not_end_the_lease_of_a_living_process(database):
    """Its age counts from the start of the machine, which setting the clock moves."""
    take_lease(database)
    set_on = psutil.boot_time() + 3600
    with patch("psutil._pslinux.boot_time", return_value=set_on):
        assert psutil.Process().create_time() > set_on
        assert current_lease(database) is not None


def test_a_lease_that_is_not_refreshed_runs_out(database, url):
    lease = take_lease(database)
    other = open_database(url)
    late = datetime.now(UTC) - timedelta(seconds=LEASE_S + 1)
    with other.writing() as connection:
        connection.execute(update(LeaseRow).values(heartbeat=late, host="elsewhere"))
    taken = take_lease(other)
    with pytest.raises(LeaseError, match="no longer in charge"):
        refresh_lease(database, lease)
    with pytest.raises(LeaseError, match="no longer in charge"):
        outcomes.record(database, [(1, result(0))])
    with other.reading() as connection:
        assert connection.execute(select(LeaseRow.token)).scalar_one() == taken.token
    other.close()


def test_refreshing_keeps_the_lease(database):
    lease = take_lease(database)
    late = datetime.now(UTC) - timedelta(seconds=LEASE_S + 1)
    with database.writing() as connection:
        connection.execute(update(LeaseRow).values(heartbeat=late))
    refresh_lease(database, lease)
    found = current_lease(database)
    assert found is not None
    assert found.token == lease.token


# -- what is different between databases, and must not be --------------------------


def test_text_that_a_database_does_not_take_is_kept_readable(database):
    _, (task,) = new_instance(database, work=1)
    said = Outcome(
        subtask=0, state=SubtaskState.COMPLETE, outputs=("p",), log="a\0b \udcff é"
    )
    batch = BatchResult(index=0, outcomes=(said,), change_sets={}, host="h", worker="w")
    outcomes.record(database, [(task, batch)])
    (log,) = outcomes.logs(database, task)
    assert log.log == "a␀b ? é"


def test_of_two_processes_that_want_the_lease_at_once_one_gets_it(url, database):
    code = (
        "import sys, time\n"
        "from ziggy_dask.errors import LeaseError\n"
        "from ziggy_dask.records import open_database\n"
        "from ziggy_dask.records.lease import take_lease\n"
        f"database = open_database({url!r})\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    take_lease(database)\n"
        "    print('mine', flush=True)\n"
        "except LeaseError:\n"
        "    print('refused', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    assert [one.stdout.readline() for one in both] == ["ready\n", "ready\n"]
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert sorted(one.stdout.readline() for one in both) == ["mine\n", "refused\n"]
    for one in both:
        one.communicate("end\n")


def test_a_backup_of_any_database_fills_a_new_one(url, database, tmp_path, request):
    number, (task, _) = new_instance(database, work=3, other=1)
    repository = create_repository(str(tmp_path / "datastore"))
    data = repository.adopt(repository.scaffold("s", ["p"]))
    made = [(task, result(0, 2, data=data)), (task, result(1, state=FAILED, data=data))]
    outcomes.record(database, made)
    with database.writing() as connection:
        connection.execute(TaskRow.__table__.update().values(plan={}))
    file = tmp_path / "records.backup"
    commit = Commit(snapshot="SNAP", time=datetime.now(UTC), message="", metadata={})
    write_backup(database, file, cluster="test", history=lambda: [commit])
    if url.startswith("sqlite"):
        other = create_database(f"sqlite:///{tmp_path}/other.db")
    else:
        other = create_database(request.getfixturevalue("postgres").new_database())
    with checked_backup(file) as (said, records):
        assert (said.cluster, said.snapshot) == ("test", "SNAP")
        take_over(records, other, lambda: lambda: None)
    assert instances.tasks(other, number) == instances.tasks(database, number)
    assert outcomes.subtasks(other, task) == outcomes.subtasks(database, task)
    assert new_instance(other, more=1)[0] == number + 1
    with pytest.raises(RecordsError, match="has instances, which would be lost"):
        require_empty(other)
    other.close()


@pytest.mark.postgres
def test_a_supervisor_waits_for_a_server_that_was_killed(postgres):
    database = create_database(postgres.new_database())
    _, (task,) = new_instance(database, work=2)
    lease = take_lease(database)
    outcomes.record(database, [(task, result(0))])
    postgres.kill()
    back = threading.Timer(1.0, postgres.start)
    back.start()
    outcomes.record(database, [(task, result(1))])
    back.join()
    assert instances.task(database, task).complete == 2
    give_back_lease(database, lease)
    database.close()


@pytest.mark.postgres
def test_others_are_told_at_once_that_the_server_is_gone(postgres):
    database = create_database(postgres.new_database())
    postgres.kill()
    try:
        with pytest.raises(ConnectionLostError) as caught:
            instances.instances(database)
    finally:
        postgres.start()
    assert postgres.password not in str(caught.value)
    assert instances.instances(database) == []
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_done_twice(
    postgres, is_kept
):
    database = create_database(postgres.new_database())
    lease = take_lease(database)
    engine = database._engine
    cuts = []

    @event.listens_for(engine, "commit")
    def cut(connection):
        if not cuts:  # the line is cut right after, or right before, the commit
            cuts.append(True)
            raw = connection.connection.dbapi_connection
            if is_kept:
                raw.commit()
            raw.close()

    _, (task,) = new_instance(database, work=1)
    assert cuts
    outcomes.record(database, [(task, result(0))])
    assert len(instances.instances(database)) == 1
    assert instances.task(database, task).complete == 1
    give_back_lease(database, lease)
    database.close()


@pytest.mark.postgres
def test_a_password_comes_from_a_file_that_only_its_owner_may_read(postgres, tmp_path):
    url = postgres.new_database()
    bare = url.replace(f":{postgres.password}", "")
    file = tmp_path / "password"
    file.write_text(f"{postgres.password}\n")
    file.chmod(0o644)
    with pytest.raises(RecordsError, match=r"others may read .* chmod 600"):
        create_database(bare, file)
    file.chmod(0o600)
    database = create_database(bare, file)
    assert instances.instances(database) == []
    assert postgres.password not in database.url
    database.close()


def test_migrations_are_one_line_that_ends_where_the_program_does():
    directory = Path(records_database.__file__).parent / "migrations"
    config = Config()
    config.set_main_option("script_location", str(directory))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [records_database.SCHEMA_VERSION]
