"""Removing, keeping and expiring: what stays is whole, what goes is told beforehand."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.acceptance.mission import definition, edit, run
from ziggy_dask.engine import expire as expire_module
from ziggy_dask.engine.expire import expire
from ziggy_dask.interface.cluster import create_cluster, open_cluster
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records import outcomes
from ziggy_dask.records.tags import set_tag

NO_MARGIN = timedelta(0)


def opened(place: Path, rules: str = "") -> z.Cluster:
    file = next(place.rglob("cluster.yaml"))
    text = file.read_text().partition("retention:")[0]
    file.write_text(text + (f"retention: {rules}\n" if rules else ""))
    return open_cluster(file)


def files(cluster) -> dict[str, int]:
    """Return the sizes of the files of the datastore that values and history lie in."""
    place = Path(cluster._site.repository.url)
    return {
        str(one.relative_to(place)): one.stat().st_size
        for directory in ("chunks", "manifests", "snapshots", "transactions")
        for one in (place / directory).iterdir()
    }


def told(cluster, *words, code=0):
    done = CliRunner().invoke(
        ziggy, ["--cluster", str(cluster._site.cluster.path), *words]
    )
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output if code == 0 else str(done.exception or done.output)


def contents(cluster, at=None):
    store = cluster.datastore if at is None else cluster.datastore.at(at)
    found = {}
    for path in store:
        one = store[path]
        found[path] = (
            one.load() if hasattr(one, "load") else {n: bytes(one[n]) for n in one}
        )
    return found


def same(one, other):
    return one.keys() == other.keys() and all(
        one[path].identical(other[path])
        if hasattr(one[path], "identical")
        else one[path] == other[path]
        for path in one
    )


def require_sound(cluster):
    assert [bad for one in cluster.verify() for bad in one.damages] == []
    assert cluster.verify_history().faults == ()
    assert all("is not what" not in one.what for one in cluster.doctor())


RULES = (
    "{raw: {keep: last 1}, level: {keep: last 2}, note: {keep: tagged}, "
    "weight: {keep: [last 1]}}"
)


def test_bytes_are_told_beforehand_and_what_stays_is_whole(place):
    rules = RULES.replace("last 2", "last 1")
    cluster = opened(place, rules)
    cluster.tag(2, "dr1")
    newest, tagged = contents(cluster), contents(cluster, "dr1")
    before = files(cluster)
    plan = cluster.expire(dry_run=True, margin=NO_MARGIN)
    assert files(cluster) == before
    assert plan.expired
    assert plan.later == 0
    assert {"raw", "history"} <= plan.bytes.keys()
    done = cluster.expire(margin=NO_MARGIN)
    gone = {name: size for name, size in before.items() if name not in files(cluster)}
    assert sum(gone.values()) == sum(plan.bytes.values()) == done.freed > 0
    chunks = sum(size for name, size in gone.items() if name.startswith("chunks"))
    assert chunks == done.freed - plan.bytes["history"]
    again = opened(place, rules)
    require_sound(again)
    assert same(contents(again), newest)
    assert same(contents(again, "dr1"), tagged)
    with pytest.raises(z.DatastoreError, match=r"as of .* expired on .* no rule"):
        again.datastore.at(plan.expired[-1].snapshot)
    assert again.expire(dry_run=True, margin=NO_MARGIN).expired == ()
    listed = {snapshot for snapshot, _, _ in again.datastore.history()}
    assert listed == {one.snapshot for one in plan.kept}
    for snapshot in listed:
        contents(again, snapshot)
    assert next(one.reason for one in again.history("night-1/levels")) == "new"
    assert "instance 7" in told(again, "why", "night-1/levels", "--where", "item=f0")


def test_a_version_that_a_rule_keeps_can_be_read_with_all_that_was_then(place):
    cluster = opened(place, RULES)
    *_, kept, _ = cluster.history("night-1/levels")
    before = contents(cluster, kept.snapshot)
    told(cluster, "expire", "--dry-run")
    assert cluster.expire(margin=NO_MARGIN).expired
    assert same(contents(cluster, kept.snapshot), before)
    require_sound(cluster)


def test_a_database_made_anew_knows_the_newest_state_and_gives_up_nothing_it_does_not_know(
    place,
):
    cluster = opened(place, RULES)
    cluster.tag(2, "dr1")
    tagged = cluster.tags["dr1"].snapshot
    newest, release = contents(cluster), contents(cluster, "dr1")
    cluster.expire(margin=NO_MARGIN)
    cluster._site.database.close()
    for file in place.rglob("ziggy.db*"):
        file.unlink()
    anew = create_cluster(cluster._site.cluster.path)
    assert same(contents(anew), newest)
    assert anew._site.repository.paths() == sorted(newest)
    anew.register(definition(place / "code"))
    anew.expire(margin=NO_MARGIN)
    assert same(contents(anew, tagged), release)
    assert same(contents(anew), newest)


def test_without_rules_only_what_was_removed_expires(place, client):
    cluster = opened(place)
    assert cluster.expire(dry_run=True, margin=NO_MARGIN).expired == ()
    text = told(cluster, "datastore", "rm", "night-1/weights", "--dry-run")
    assert "would be removed" in text
    assert "night-1/weights" in list(cluster.datastore)
    before = contents(cluster)
    told(cluster, "datastore", "rm", "night-1/weights")
    assert "night-1/weights" not in list(cluster.datastore)
    assert same(contents(cluster, 7), before)
    plan = cluster.expire(dry_run=True, margin=NO_MARGIN)
    assert set(plan.bytes) - {"history"} <= {"weight", "of nobody"}
    cluster.expire(margin=NO_MARGIN)
    require_sound(cluster)
    del before["night-1/weights"]
    assert same(contents(cluster), before)
    run(cluster, client, 8)
    require_sound(cluster)
    assert "night-1/weights" in list(cluster.datastore)


def test_a_product_that_is_not_there_is_refused(place):
    cluster = opened(place)
    before = files(cluster)
    with pytest.raises(z.DatastoreError, match="did you mean 'night-1/raw'"):
        cluster.remove("night-1/levels", "night-1/rav")
    assert files(cluster) == before


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("{levle: {keep: all}}", "did you mean 'level'"),
        ("{level: {keep: last 0}}", "'last 0' does not say"),
        ("{level: {keep: 3}}", "'3' does not say"),
        ("{level: {keep: [last 2, for ever]}}", "'for ever' does not say"),
        ("{level: {keep: }}", "say what is kept of 'level'"),
        ("{level: {kept: all}}", "unknown key 'kept'"),
        ("{level: last 3}", "expected a mapping of keys here"),
    ],
)
def test_rules_that_can_not_be_are_refused(place, rules, words):
    with pytest.raises(z.ZiggyError) as caught:
        opened(place, rules).expire(dry_run=True)
    assert words in str(caught.value)


KILLED = """
import os, signal, sys
from datetime import timedelta
from ziggy_dask.datastore import Repository
from ziggy_dask.interface.cluster import open_cluster
from ziggy_dask.records import expiry

owner = {"Repository": Repository, "records": expiry}[sys.argv[2]]
step = getattr(owner, sys.argv[3])

def last(*args, **kwargs):
    step(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, sys.argv[3], last)
open_cluster(sys.argv[1]).expire(margin=timedelta(0))
"""


@pytest.mark.parametrize(
    ("owner", "step"), [("records", "note_expired"), ("Repository", "expire")]
)
def test_one_that_is_killed_leaves_no_false_alarm_and_the_next_one_ends_it(
    place, owner, step
):
    cluster = opened(place, RULES)
    newest = contents(cluster)
    file = str(cluster._site.cluster.path)
    command = [sys.executable, "-c", KILLED, file, owner, step]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    require_sound(opened(place, RULES))
    cluster = opened(place, RULES)
    cluster.expire(margin=NO_MARGIN)
    require_sound(cluster)
    assert cluster.verify_history().undigested == 0
    assert same(contents(cluster), newest)


def test_a_tag_that_is_given_meanwhile_keeps_its_state(place, monkeypatch):
    cluster = opened(place, RULES)
    file = cluster._site.cluster.path
    before, old = files(cluster), cluster.expire(margin=NO_MARGIN, dry_run=True).expired
    undamaged = expire_module._undamaged

    def look(site, snapshots):
        monkeypatch.setattr(expire_module, "_undamaged", undamaged)
        open_cluster(file).tag(old[0].snapshot, "dr1")
        return undamaged(site, snapshots)

    monkeypatch.setattr(expire_module, "_undamaged", look)
    with pytest.raises(z.RecordsError, match="meanwhile the tag 'dr1' was given"):
        cluster.expire(margin=NO_MARGIN)
    assert before.keys() <= files(cluster).keys()
    assert contents(cluster, "dr1")
    expired = cluster.expire(margin=NO_MARGIN).expired
    assert [one.snapshot for one in expired] == [one.snapshot for one in old[1:]]
    assert contents(cluster, "dr1")
    late = replace(cluster.tags["dr1"], name="dr2", snapshot=old[1].snapshot)
    with pytest.raises(z.RecordsError, match=f"{old[1].snapshot} expired on"):
        set_tag(cluster._site.database, late)
    assert list(cluster.tags) == ["dr1"]


def test_results_that_wait_are_not_touched(place, client):
    """A task failed in part; what its other subtasks wrote is not published yet."""
    cluster = opened(place, RULES)
    root = next(place.rglob("algorithms.py")).parent
    edit(root, 4.0)
    code = (root / "algorithms.py").read_text()
    bad = code.replace(
        "def measure(raw, models, parameters):\n",
        "def measure(raw, models, parameters):\n"
        "    if raw['item'].item() == 'f1':\n        raise ValueError('not this one')\n",
    )
    assert bad != code
    (root / "algorithms.py").write_text(bad)
    instance = cluster.run("mission", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    [failed] = [one for one in instance.task_records if one.is_error]
    waiting = outcomes.change_sets(cluster._site.database, [failed.id])
    sets = waiting[failed.id, "night-1/levels"]
    assert sets
    for margin in (timedelta(0), timedelta(seconds=1), timedelta(hours=1)):
        cluster.expire(margin=margin)
        assert cluster._site.repository.why_unusable(sets) == ""
        require_sound(cluster)
    (root / "algorithms.py").write_text(code)
    cluster.restart(failed.id, client=client, code="new")
    assert cluster.instance(instance.id).state.value == "COMPLETED"
    require_sound(cluster)


def test_nothing_expires_while_what_stays_is_damaged(place):
    cluster = opened(place, RULES)
    tagged = cluster.tag(2, "dr1")[0].snapshot
    file = Path(cluster._site.repository.url) / "snapshots" / tagged
    whole = file.read_bytes()
    file.write_bytes(whole + b"\0")
    before = files(cluster)
    with pytest.raises(z.DatastoreError, match=tagged):
        cluster.expire(margin=NO_MARGIN)
    assert files(cluster) == before
    file.write_bytes(whole)
    cluster.untag("dr1")
    chunk = sorted((file.parents[1] / "chunks").iterdir())
    lost = 0
    for one in chunk:
        content = one.read_bytes()
        one.unlink()
        try:
            cluster.expire(dry_run=False, margin=timedelta(days=9999))
        except z.DatastoreError as error:
            lost += "are not there" in str(error)
        one.write_bytes(content)
    assert lost > 0
    require_sound(cluster)


def test_only_an_instance_that_stored_nothing_can_be_removed(place, client):
    cluster = opened(place)
    with pytest.raises(z.RecordsError, match="it stored publication"):
        cluster.remove_instance(2)
    with pytest.raises(z.RecordsError, match="it is the newest one"):
        cluster.remove_instance(7)
    root = next(place.rglob("algorithms.py")).parent
    code = (root / "algorithms.py").read_text()
    (root / "algorithms.py").write_text(code.replace("GAIN *", "GAIN + None *"))
    instance = cluster.run("mission", client=client)
    assert instance.state.value == "ERRORS_STALLED"
    (root / "algorithms.py").write_text(code)
    run(cluster, client, 9)
    told(cluster, "instances", "rm", "8", "--dry-run")
    assert 8 in cluster.instances
    told(cluster, "instances", "rm", "8")
    assert 8 not in cluster.instances
    listed = json.loads(told(cluster, "instances", "--json"))
    assert 8 not in {one.get("instance", one.get("id")) for one in listed}
    assert cluster.doctor() == []
    assert cluster.run("mission", client=client).id == 10


def test_expiry_while_an_instance_works_takes_nothing_that_it_needs(place, client):
    """At each of its steps, as the supervisor in the background might."""
    cluster = opened(place, RULES)
    edit(place / "code", 5.0)
    expired, faults = [], []

    def listen(event):
        try:
            expired.extend(expire(cluster._site, NO_MARGIN).expired)
        except Exception as error:  # noqa: BLE001 -- listeners are not heard
            faults.append(error)

    instance = cluster.run("mission", client=client, listen=listen)
    assert instance.state.value == "COMPLETED"
    assert faults == []
    assert expired
    require_sound(cluster)
    newest = contents(cluster)
    cluster.expire(margin=NO_MARGIN)
    assert same(contents(cluster), newest)
