"""What quick start and tutorial show is run as it is shown, and every page is found."""

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md"), *ROOT.glob("pipelines/*/README.md")]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.S)


def run_as_shown(page, directory):
    """Run the console lines of a page one after the other; `cd` goes where it says."""
    count = 0
    for line in "".join(blocks(page, "console")).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[0] == "cd":
            directory = directory / words[1]
            continue
        words[:1] = (
            [sys.executable]
            if words[0] == "python"
            else [sys.executable, "-m", "ziggy_dask"]
        )
        done = subprocess.run(
            words, cwd=directory, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        count += 1
    return count


@pytest.mark.integration
def test_the_quick_start_works_as_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    assert run_as_shown("quickstart.md", tmp_path) == 8


@pytest.mark.integration
def test_the_tutorial_works_as_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    code = "\n".join(blocks("tutorial.md", "python"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "12\n"
    assert run_as_shown("tutorial.md", tmp_path) == 5


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}"
)
def test_what_a_page_shows_can_be_read_by_who_is_to_read_it(page):
    """Python compiles, and YAML is indented as it should be."""
    shown = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.S | re.M)
    faults = []
    for language, text in shown:
        try:
            if language == "python" and not text.startswith(">>>"):
                ast.parse(text)
            elif language == "yaml":
                yaml.safe_load(textwrap.dedent(text))
        except (SyntaxError, yaml.YAMLError) as error:
            faults.append(f"{text}\n{error}")
    assert faults == []


def test_every_page_of_the_docs_is_in_the_navigation():
    shown = "\n".join(
        re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S)
    )
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert pages <= set(shown.split())


@pytest.mark.integration
def test_every_command_has_a_manual_page_that_man_shows(tmp_path):
    script = [sys.executable, DOCS / "man_pages.py", tmp_path]
    subprocess.run(script, check=True)
    pages = sorted((tmp_path / "man1").iterdir())
    for page in pages:
        command = ["groff", "-man", "-Tutf8", "-ww", "-z", page]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == "", page
    listed = subprocess.run(
        [sys.executable, "-m", "ziggy_dask", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = re.findall(r"^  ([a-z]+)  ", listed, re.M)
    assert len(names) > 30
    assert {f"ziggy-{name}.1" for name in names} <= {page.name for page in pages}
    shown = subprocess.run(
        ["man", "-M", tmp_path, "ziggy-restart"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "80"},
    ).stdout
    text = re.sub(".\b", "", shown)
    assert "such as 3,4,7-10" in " ".join(text.split())
    assert "--cause TEXT" in text
    assert "SEE ALSO" in text


@pytest.mark.parametrize("page", ["security.md", "faults.md", "batch_systems.md"])
def test_every_test_that_a_page_names_is_there(page):
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (DOCS / page).read_text())
    assert len(named) >= 25
    for file, name in named:
        text = (ROOT / file).read_text()
        assert not name or f"def {name}(" in text, (file, name)


def test_every_module_that_the_architecture_names_is_there():
    named = re.findall(
        r"`([a-z_/]+\.py)(?:: (\w+))?`", (DOCS / "architecture.md").read_text()
    )
    ours = [(name, what) for name, what in named if not name.startswith("benchmarks/")]
    assert len(ours) > 20
    for name, what in ours:
        path = ROOT / (name if name.startswith("tests/") else f"ziggy_dask/{name}")
        assert path.is_file(), name
        assert not what or f"def {what}(" in path.read_text(), f"{name}: {what}"
