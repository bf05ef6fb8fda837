"""Which files are the code of a pipeline, and what git says of them."""

import subprocess

import pytest

from ziggy_dask.definitions import check_out, read_code


@pytest.fixture
def root(tmp_path):
    """A directory of code, beside others that it may link to."""
    place = tmp_path / "code"
    place.mkdir()
    (place / "algorithms.py").write_text("import helpers\n")
    return place


def paths(root):
    return [one.path for one in read_code(root).files]


def git(place, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    allowed = ("-c", "protocol.file.allow=always")
    command = ["git", "-C", str(place), *who, *allowed, *words]
    subprocess.run(command, check=True, capture_output=True)


def committed(place):
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-qm", "x")
    git(place, "tag", "v1")


def said(root):
    return read_code(root).described


def test_modules_in_a_directory_that_is_linked_to_are_code(root, tmp_path):
    package = tmp_path / "shared" / "helpers"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("FACTOR = 1\n")
    (package / "inner" / "deep.py").write_text("")
    (root / "helpers").symlink_to(package)
    wanted = ["algorithms.py", "helpers/__init__.py", "helpers/inner/deep.py"]
    assert paths(root) == wanted
    before = read_code(root)
    (package / "__init__.py").write_text("FACTOR = 2\n")
    assert read_code(root).digest != before.digest
    place = check_out(before, tmp_path / "out", root)
    assert (place / "helpers" / "__init__.py").read_text() == "FACTOR = 1\n"


def test_links_to_data_and_in_circles_are_not_followed(root, tmp_path):
    data = tmp_path / "data" / "deep"
    data.mkdir(parents=True)
    (data / "script.py").write_text("")
    (root / "data").symlink_to(tmp_path / "data")
    (root / "again").symlink_to(root)
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("")
    (package / "around").symlink_to(package)
    (package / "back").symlink_to(root)
    (root / "package").symlink_to(package)
    assert paths(root) == ["algorithms.py", "package/module.py"]


def test_a_commit_is_named_only_for_what_is_in_it(root):
    committed(root)
    assert said(root) == "v1"
    (root / "notes.txt").write_text("no code")
    assert said(root) == "v1"
    (root / "late.py").write_text("")
    assert said(root) == "v1-dirty"
    (root / ".gitignore").write_text("late.py\n")
    assert said(root) == "v1-dirty"
    (root / "late.py").unlink()
    assert said(root) == "v1"
    (root / "algorithms.py").write_text("")
    assert said(root) == "v1-dirty"


def test_code_that_lies_below_a_repository_by_chance_is_of_no_commit(root):
    (root.parent / "other.py").write_text("")
    git(root.parent, "init", "-q")
    git(root.parent, "add", "other.py")
    git(root.parent, "commit", "-qm", "x")
    assert said(root) == ""


def test_submodules_belong_to_the_commit(root, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    (library / "module.py").write_text("")
    committed(library)
    committed(root)
    git(root, "submodule", "add", str(library), "library")
    git(root, "commit", "-qm", "with a library")
    git(root, "tag", "v2")
    assert said(root) == "v2"
    (root / "library" / "module.py").write_text("CHANGED = True\n")
    assert said(root) == "v2-dirty"


def test_variables_of_a_hook_of_git_lead_nowhere_else(root, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "algorithms.py").write_text("")
    committed(other)
    git(other, "tag", "of-another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert said(root) == ""
