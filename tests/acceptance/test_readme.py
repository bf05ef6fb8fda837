"""What the README and the docs show is run as it is shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SUFFIXES = {"yaml", "python"}


def blocks(text: str) -> dict[str, str]:
    """Return the files that a text shows, by the name in front of each."""
    found = re.findall(r"`([\w/.]+\.(?:yaml|py))`:\n\n```\w+\n(.*?)```", text, re.S)
    return dict(found)


def commands(text: str) -> list[str]:
    """Return the commands of the console block after the files."""
    after = text.index("Then, in that directory:")
    block = re.search(r"```console\n(.*?)```", text[after:], re.S)[1]
    return [line.removeprefix("$ ") for line in block.splitlines()]


def run(command: str, directory: Path) -> str:
    words = shlex.split(command, comments=True)
    if words[0] == "ziggy":
        main = "from ziggy_dask.interface.main import main; main()"
        words = [sys.executable, "-c", main, *words[1:]]
    elif words[0] == "python":
        words[0] = sys.executable
    done = subprocess.run(
        words, cwd=directory, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.integration
def test_the_first_pipeline_of_the_readme_works_as_shown(tmp_path, monkeypatch):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    files = blocks(README)
    assert len(files) == 4
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    output = [run(command, tmp_path) for command in commands(README)]
    assert len(output) == 6
    assert "10 subtasks" in output[4]
    assert "COMPLETED" in output[5]
    python = re.search(r"notebook:\n\n```python\n(.*?)```", README, re.S)[1]
    (tmp_path / "look.py").write_text(python)
    shown = run("python look.py", tmp_path)
    assert "<xarray.Dataset>" in shown
    assert "<ziggy_dask.Instance 3: brightness, COMPLETED, 2 tasks>" in shown
    before, after = re.findall(r"\[([\d. -]+)\]", shown.replace("\n", " "))[-2:]
    means = [[float(word) for word in text.split()] for text in (before, after)]
    assert means[0] == pytest.approx([value + 10 for value in means[1]], abs=0.01)


@pytest.mark.integration
def test_an_own_mission_works_as_readme_and_its_own_readme_say(tmp_path, monkeypatch):
    """From the first command to products of an own function and of own data."""
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    begin = re.search(r"## Your own mission\n\n```console\n(.*?)```", README, re.S)[1]
    steps = [line.removeprefix("$ ") for line in begin.splitlines()]
    assert [step.split()[0] for step in steps] == [
        ".",
        "ziggy",
        "cd",
        "ziggy",
        "python",
    ]
    mission = tmp_path / "my-mission"
    init = steps[1].partition("#")[0].replace("~", str(tmp_path))
    run(f"{init} --data tables", tmp_path)
    assert "COMPLETED" in run(steps[3], mission)
    look, function, data = re.findall(
        r"```console\n(.*?)```", (mission / "README.md").read_text(), re.S
    )
    for line in look.splitlines()[1:]:
        assert run(line.removeprefix("$ "), mission)
    code = mission / "pipeline" / "algorithms.py"
    code.write_text(code.read_text().replace('"scatter"', '"spread"'))
    for line in function.splitlines():
        run(line.removeprefix("$ "), mission)
    own = mission / "data" / "campaign-5" / "series"
    own.mkdir(parents=True)
    (own / "EPIC-201367065.csv").write_text("1977.26,1.0\n1977.28,1.5\n1977.30,1.25\n")
    shown = [run(line.removeprefix("$ "), mission) for line in data.splitlines()]
    assert "campaign-5/levels" in shown[1]
    assert "COMPLETED" in shown[2]
    product = run("ziggy datastore show campaign-5/summary", mission)
    assert "EPIC-201367065" in product
    assert "'mean' 'spread'" in product


def test_an_own_pipeline_takes_about_40_lines():
    files = blocks(README)
    lines = [*files["brightness/pipeline.yaml"].splitlines()]
    lines += files["brightness/algorithms.py"].splitlines()
    assert len([line for line in lines if line.strip()]) <= 40


def test_links_between_pages_lead_somewhere():
    """Those to pictures that the build of the site makes are looked at by that build."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pages += [*ROOT.glob("docs/*.md"), *ROOT.glob("pipelines/*/README.md")]
    assert len(pages) > 10
    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if not link.startswith(("http", "_gallery/"))
        and not (page.parent / link).exists()
    ]
    assert broken == []


def test_every_command_in_the_docs_exists():
    import click

    from ziggy_dask.interface.main import ziggy

    text = "\n".join(
        page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    )
    for line in re.findall(r"^\$ ziggy (.*)$", text, re.M):
        words = shlex.split(line.partition("#")[0].rstrip().removesuffix("\\"))
        context = click.Context(ziggy)
        command = ziggy.get_command(context, words[0])
        assert command is not None, line
        known = {option for p in command.params for option in p.opts}
        for word in words[1:]:
            if word.startswith("-") and not isinstance(command, click.Group):
                assert word in known, line


@pytest.mark.parametrize("page", ["datastore.md"])
def test_products_can_be_read_without_this_package(page, tmp_path, cluster):
    """The code of the page, on a product, in a process that has never heard of us."""
    from tests.conftest import images, store

    store(cluster, {"night-2/levels": images(3)})
    text = (ROOT / "docs" / page).read_text()
    code = re.search(r"without this package\n\n```python\n(.*?)```", text, re.S)[1]
    code = code.replace("ziggy-home/datastore", cluster.datastore.url)
    code += "assert levels.pixels.shape == (3, 4, 5)\nimport sys\n"
    code += "assert not any(name.startswith('ziggy') for name in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
