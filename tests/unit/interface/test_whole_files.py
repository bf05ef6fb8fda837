"""Files that somebody asked for by name are written whole, or stay as they are."""

import os
import stat
import threading
from pathlib import Path

import pytest

from ziggy_dask.interface.whole_files import file_written, write_file


def test_an_old_file_stays_as_it_is_if_a_new_one_fails(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("old")
    with pytest.raises(OSError, match="No space left") as caught, file_written(file):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_followed_and_a_mode_stays(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file.name)
    write_file(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, "new")
    reader.join()
    assert read == [b"new"]
    assert pipe.is_fifo()


def test_no_directory_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(Path(tmp_path / "none" / "file"), "new")
    assert list(tmp_path.iterdir()) == []
