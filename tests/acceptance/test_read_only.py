"""Users who may only look, and users who are nobody: they see all, and change nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import images, store, work_pipeline
from ziggy_dask.interface.cluster import create_cluster

NOBODY = 65534
UNKNOWN = 54321
"""A user whom no list of users knows, as in containers."""
LOOKS = """
    status
    status --json
    status --check
    instances
    tasks 1
    subtasks 1
    subtasks 1 --item i1
    logs 1
    logs --instance 1 --errors
    failures 1
    stats 1 --breakdown
    alerts
    deliveries
    models
    pipelines
    parameters test
    events
    jobs
    code show 1
    plan test
    graph test -o OUT/graph.dot
    datastore ls
    datastore ls set-1/L1
    datastore show set-1/L1
    datastore history
    datastore export OUT/exported set-1/L1
    why set-1/L1
    export test
    report 1 -o OUT/report.html
    backup OUT/backup
    cluster status
    cluster check HERE/cluster.yaml
    doctor
    doctor --fix
"""
WRITES = """
    import HERE/code
    run test
    run test --detach
    run --continue
    restart --instance 1
    halt --all
    receive OUT --no-manifest
    alerts --acknowledge 1
    restore OUT/backup
    cluster init HERE/cluster.yaml
    cluster start
"""
ALGORITHMS = """
    def work(raw, context):
        print("working on", *context.labels)
        if context.labels == ["i1"]:
            raise ValueError("bad weather")
        return raw
"""
MANY = """
import contextlib, io, json, sys
from ziggy_dask.interface.main import exit_code

found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["ziggy", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = exit_code()
        except BaseException as error:
            code = repr(error)
    found.append([words, code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""


@pytest.fixture
def mission(code, client):
    """A cluster in a place where everybody may look, that has run once."""
    place = Path(tempfile.mkdtemp(prefix="ziggy-looked-at-"))
    place.chmod(0o755)
    (place / "cluster.yaml").write_text("cluster: test\nhome: ./home\n")
    cluster = create_cluster(place / "cluster.yaml")
    shutil.copytree(code(ALGORITHMS), place / "code")
    cluster.register(work_pipeline(place / "code", max_failed_subtasks=1))
    store(cluster, {"set-1/L0": images(2)})
    cluster.run("test", client=client)
    cluster._site.database.close()
    yield place
    shutil.rmtree(place)


def as_user(user: int, *words: str) -> subprocess.CompletedProcess:
    program = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    # What they run is not measured: they may not write where the figures go.
    ours = ("HOME", "USER", "LOGNAME", "COVERAGE_")
    environment = {k: v for k, v in environment.items() if not k.startswith(ours)}
    return subprocess.run(
        [*program, sys.executable, *words],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def commands(text: str, place: Path, out: Path) -> list[list[str]]:
    filled = text.replace("HERE", str(place)).replace("OUT", str(out))
    file = ["--cluster", f"{place}/cluster.yaml"]
    return [[*file, *line.split()] for line in filled.split("\n") if line.strip()]


def files(place: Path) -> dict[Path, bytes]:
    return {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}


def looked(words, code, out, err):
    return code == (2 if "--check" in words else 0) and not err


def refused(words, code, out, err):
    return isinstance(code, int) and code != 0 and len(err.splitlines()) == 1


@pytest.mark.parametrize("user", [NOBODY, UNKNOWN])
def test_who_may_only_look_may_look_and_is_told_where_not(mission, user):
    assert os.geteuid() == 0, "only root can be somebody else"
    before = files(mission)
    with tempfile.TemporaryDirectory(prefix="ziggy-looks-") as own:
        os.chown(own, user, user)
        looks = commands(LOOKS, mission, Path(own))
        writes = commands(WRITES, mission, Path(own))
        done = as_user(user, "-c", MANY, json.dumps([*looks, *writes]))
        assert done.returncode == 0, done.stderr
    wrong = [
        told
        for told in json.loads(done.stdout)
        if not (looked(*told) if told[0] in looks else refused(*told))
    ]
    assert not wrong, "\n".join(map(str, wrong))
    assert files(mission) == before


def test_a_home_directory_that_is_not_known_is_told(mission):
    (mission / "cluster.yaml").write_text("cluster: test\nhome: ~/home\n")
    file = f"{mission}/cluster.yaml"
    done = as_user(UNKNOWN, "-m", "ziggy_dask", "--cluster", file, "instances")
    assert done.returncode == 3
    assert "set $HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_and_page_want_a_home_directory_and_say_so(mission):
    file = f"{mission}/cluster.yaml"
    shutil.chown(mission, UNKNOWN)
    for one in mission.rglob("*"):
        shutil.chown(one, UNKNOWN)
    for words in ("run test --process all", "console"):
        line = ["-m", "ziggy_dask", "--cluster", file, *words.split()]
        done = as_user(UNKNOWN, *line)
        assert done.returncode == 4, words
        (said,) = done.stderr.splitlines()
        assert "home directory" in said
        assert "set $HOME" in said
