"""Files are for whom the cluster file says, whatever the umask of a shell says."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ziggy_dask.definitions import check_out, read_cluster, read_code
from ziggy_dask.definitions.access import Access, is_trusted, too_open
from ziggy_dask.interface.cluster import create_cluster, open_cluster
from ziggy_dask.interface.main import ziggy

NOBODY = 65534
MAKE = """
import os, sys
from ziggy_dask.interface.cluster import create_cluster
for file in sys.argv[2:]:
    os.umask(int(sys.argv[1], 8))
    create_cluster(file)
"""


@pytest.fixture(autouse=True)
def umask():
    """What tests set is set back."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def cluster_file(place: Path, access: str = "") -> Path:
    place.mkdir(exist_ok=True)
    file = place / "cluster.yaml"
    said = f"access: {access}\n" if access else ""
    file.write_text(f"cluster: test\nhome: ./home\n{said}")
    return file


def modes(home: Path) -> dict[str, int]:
    """Return the rights of others than the owner, of all below a directory."""
    return {
        str(one.relative_to(home.parent)): stat.S_IMODE(one.stat().st_mode) & 0o077
        for one in (home, *home.rglob("*"))
    }


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_a_cluster_is_made_for_whom_its_file_says(umask, tmp_path):
    wanted = {"owner": (0o077, 0), "group": (0o007, 0o060), "": (0o002, 0)}
    files = [cluster_file(tmp_path / f"for-{one}", one) for one in wanted]
    subprocess.run([sys.executable, "-c", MAKE, umask, *files], check=True)
    for file, (forbidden, needed) in zip(files, wanted.values(), strict=True):
        found = modes(file.parent / "home")
        assert "home/ziggy.db" in found
        wrong = {name: oct(mode) for name, mode in found.items() if mode & forbidden}
        assert wrong == {}
        lacking = {name: oct(mode) for name, mode in found.items() if ~mode & needed}
        assert lacking == {}


def test_what_others_may_do_is_a_finding_with_its_mend(tmp_path):
    file = cluster_file(tmp_path / "mission", "owner")
    cluster = create_cluster(file)
    assert cluster.doctor() == []
    (cluster.home / "ziggy.db").chmod(0o666)
    cluster.home.chmod(0o755)
    found = {one.what: one.fix for one in cluster.doctor()}
    assert found == {
        f"{cluster.home}: others may read (mode 755)": f"chmod -R go= {cluster.home}",
        f"{cluster.home}/ziggy.db: others may write (mode 666)": (
            f"chmod -R go= {cluster.home}/ziggy.db"
        ),
    }


def test_by_default_nobody_is_warned_of_readers_but_of_writers(tmp_path):
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    assert list(too_open(Access.UMASK, [place, tmp_path / "nowhere"])) == []
    place.chmod(0o757)
    assert "others may write (mode 757)" in next(too_open(Access.UMASK, [place]))
    place.chmod(0o1777)  # as /tmp, where nobody can replace what others made
    assert list(too_open(Access.UMASK, [place])) == []


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "trusted"),
    [
        (os.geteuid(), os.getegid(), 0o700, {Access.UMASK, Access.GROUP, Access.OWNER}),
        (os.geteuid(), os.getegid(), 0o777, set()),
        (NOBODY, os.getegid(), 0o770, {Access.GROUP}),
        (NOBODY, NOBODY, 0o700, set()),
        (NOBODY, NOBODY, 0o777, set()),
    ],
)
def test_who_is_trusted_with_a_directory(uid, gid, mode, trusted, tmp_path):
    assert os.geteuid() == 0, "only root can give files away"
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, uid, gid)
    place.chmod(mode)
    assert {one for one in Access if is_trusted(one, place.lstat())} == trusted
    link = tmp_path / "link"
    link.symlink_to(place)
    assert not any(is_trusted(one, link.lstat()) for one in Access)


def test_an_unknown_access_is_refused(tmp_path):
    with pytest.raises(Exception, match="'access' can't be 'everyone'"):
        read_cluster(cluster_file(tmp_path / "mission", "everyone"))


def test_the_cluster_of_another_user_above_is_not_obeyed(tmp_path, monkeypatch, capsys):
    place = tmp_path / "shared"
    file = cluster_file(place)
    create_cluster(file)
    (place / ".ziggy").mkdir()
    pointer = place / ".ziggy" / "cluster"
    pointer.write_text("cluster.yaml\n")
    below = place / "work"
    below.mkdir()
    monkeypatch.chdir(below)
    ziggy.main(["instances"], standalone_mode=False)
    for changed in (pointer, pointer.parent):
        os.chown(changed, NOBODY, NOBODY)
        with pytest.raises(Exception, match="belongs to nobody, not to you"):
            ziggy.main(["instances"], standalone_mode=False)
        ziggy.main(["--cluster", str(file), "instances"], standalone_mode=False)
        monkeypatch.setenv("SUDO_UID", str(NOBODY))
        ziggy.main(["instances"], standalone_mode=False)
        monkeypatch.delenv("SUDO_UID")
        os.chown(changed, 0, 0)
    assert open_cluster(file).name == "test"


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (0o002, {0o775, 0o555, 0o444}),
        (0o022, {0o755, 0o555, 0o444}),
        (0o007, {0o770, 0o550, 0o440}),
        (0o077, {0o700, 0o500, 0o400}),
    ],
)
def test_copies_of_code_are_for_whom_the_cluster_is(mask, expected, tmp_path):
    root = tmp_path / "code"
    (root / "bin").mkdir(parents=True)
    (root / "algorithms.py").write_text("")
    (root / "bin" / "fit").write_text("#!/bin/sh\n")
    (root / "bin" / "fit").chmod(0o755)
    os.umask(mask)
    place = check_out(read_code(root), tmp_path / "copies" / "1", root)
    made = [place, *place.rglob("*")]
    assert {stat.S_IMODE(one.stat().st_mode) for one in made} == expected
