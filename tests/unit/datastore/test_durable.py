"""What is on record is on the disk first."""

import re
import subprocess
import sys

import pytest

from ziggy_dask.datastore.durable import sync_file_system

PUBLISH = """
import sys
from ziggy_dask.datastore import create_repository
repository = create_repository(sys.argv[1])
import os, zarr
writing = repository.writing()
session = writing.newest().session
zarr.open_group(session.store, mode="a").create_array("x", data=__import__("numpy").ones(5000))
os.write(2, b"BEGIN\\n")
repository.finish_writing(writing, "x", {})
os.write(2, b"END\\n")
"""


def test_a_place_that_is_not_there_can_not_be_synced(tmp_path):
    sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "missing")


@pytest.mark.integration
def test_data_are_on_disk_before_main_names_them_and_main_before_the_record(tmp_path):
    trace = tmp_path / "trace"
    calls = "openat,rename,renameat,renameat2,link,linkat,syncfs,write"
    done = subprocess.run(
        [
            *("strace", "-f", "-e", calls, "-o", str(trace)),
            *(sys.executable, "-c", PUBLISH, str(tmp_path / "datastore")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = trace.read_text().split('"BEGIN\\n"')[1].split('"END\\n"')[0]
    order = [_what(line) for line in text.splitlines()]
    steps = [one for at, one in enumerate(order) if one and one != order[at - 1]]
    kinds = [one for at, one in enumerate(steps) if at == 0 or one != steps[at - 1]]
    assert kinds[-3:] == ["disk", "main", "disk"]
    assert "data" in kinds
    assert "data" not in kinds[kinds.index("disk") :]


def _what(line):
    """Return what a system call does of what matters here."""
    if "syncfs(" in line:
        return "disk"
    if not re.search(r"O_CREAT|rename|link", line):
        return ""
    if "branch.main" in line:
        return "main"
    return (
        "data"
        if re.search(r"/(chunks|manifests|snapshots|transactions)/", line)
        else ""
    )
