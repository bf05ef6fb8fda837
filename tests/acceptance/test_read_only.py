"""Users who may only look, and users who are nobody: they see all, and change nothing."""

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
LOOKS = [["instances"]]


@pytest.fixture
def mission(code):
    """A cluster in a place where everybody may look."""
    place = Path(tempfile.mkdtemp(prefix="ziggy-looked-at-"))
    place.chmod(0o755)
    (place / "cluster.yaml").write_text("cluster: test\nhome: ./home\n")
    cluster = create_cluster(place / "cluster.yaml")
    cluster.register(work_pipeline(code("def work(raw):\n    return raw\n")))
    store(cluster, {"set-1/L0": images(2)})
    cluster._site.database.close()
    yield place
    shutil.rmtree(place)


def ziggy(place: Path, user: int, *arguments: str) -> subprocess.CompletedProcess:
    program = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    program += [
        sys.executable,
        "-m",
        "ziggy_dask",
        "--cluster",
        f"{place}/cluster.yaml",
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    # What they run is not measured: they may not write where the figures go.
    ours = ("HOME", "USER", "LOGNAME", "COVERAGE_")
    environment = {k: v for k, v in environment.items() if not k.startswith(ours)}
    return subprocess.run(
        [*program, *arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("user", [NOBODY, UNKNOWN])
def test_who_may_only_look_may_look(mission, user):
    assert os.geteuid() == 0, "only root can be somebody else"
    before = {one: one.read_bytes() for one in mission.rglob("*") if one.is_file()}
    for words in LOOKS:
        done = ziggy(mission, user, *words)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stderr == ""
    after = {one: one.read_bytes() for one in mission.rglob("*") if one.is_file()}
    assert after == before


def test_a_home_directory_that_is_not_known_is_told(mission):
    (mission / "cluster.yaml").write_text("cluster: test\nhome: ~/home\n")
    done = ziggy(mission, UNKNOWN, "instances")
    assert done.returncode == 3
    assert "set $HOME" in done.stderr
    assert "Traceback" not in done.stderr
