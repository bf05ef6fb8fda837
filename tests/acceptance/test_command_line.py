"""Watching, status, completion and mistyped names, as on a terminal or in a pipe."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ziggy_dask as z

pytestmark = pytest.mark.integration
SAMPLE = Path(__file__).parents[2] / "pipelines" / "sample"
ZIGGY = [sys.executable, "-m", "ziggy_dask"]


@pytest.fixture(scope="module")
def mission(tmp_path_factory):
    home = tmp_path_factory.mktemp("mission") / "first"
    z.create_mission(home, unit="night")
    return home


def ziggy(mission, *words, **variables):
    return subprocess.run(
        [*ZIGGY, "--cluster", str(mission / "cluster.yaml"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **variables},
    )


def completed(mission, line):
    """Return what a shell would be offered after a line."""
    words = f"ziggy --cluster {mission / 'cluster.yaml'} {line}"
    done = subprocess.run(
        ZIGGY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={
            **os.environ,
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(f"{words}.".split()) - 1),
            "_ZIGGY_COMPLETE": "bash_complete",
        },
    )
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_status_says_how_all_stands_and_its_json_agrees(mission):
    shown = ziggy(mission, "status")
    assert shown.returncode == 0, shown.stderr
    for words in ("supervisor  none", "running     nothing", "data receipt  COMPLETED"):
        assert words in shown.stdout
    found = json.loads(ziggy(mission, "status", "--json").stdout)
    assert found["ended_count"] == len(found["ended"]) == 1
    assert found["received"]["files"] == 10


def test_a_directory_that_is_gone_is_told(tmp_path):
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone; exec "$0" -m ziggy_dask status', sys.executable],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr == (
        "ziggy: the current directory is gone, it was removed or moved; "
        "change to another one\n"
    )


def test_watching_what_has_ended_ends_by_itself(mission):
    once = ziggy(mission, "tasks", "1")
    watched = ziggy(mission, "tasks", "1", "--watch")
    assert watched.returncode == 0
    assert watched.stdout == once.stdout
    assert "COMPLETE" in once.stdout


def test_watching_is_ended_by_an_interrupt_with_code_130(mission):
    command = [*ZIGGY, "--cluster", str(mission / "cluster.yaml"), "alerts", "--watch"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        # Shells start background jobs with interrupts ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout.readline() == "none\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


def test_colours_are_for_terminals_and_those_who_ask(mission):
    assert "\x1b[" not in ziggy(mission, "tasks", "1").stdout
    assert "\x1b[" in ziggy(mission, "tasks", "1", FORCE_COLOR="1").stdout
    asked = ziggy(mission, "--color", "never", "tasks", "1", FORCE_COLOR="1")
    assert "\x1b[" not in asked.stdout


def test_tables_fit_a_narrow_terminal(mission):
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*ZIGGY, "--cluster", str(mission / "cluster.yaml"), "pipelines"],
        stdout=theirs,
        stdin=theirs,
        stderr=theirs,
        check=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "60", "NO_COLOR": "1", "TERM": "xterm"},
    )
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    lines = [line.rstrip() for line in text.splitlines()]
    assert len(lines) == 3
    assert all(
        len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= 60 for line in lines
    )
    assert "…" in lines[2]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run ", "first"),
        ("run first --start ", "measure"),
        ("run first --set ", "Measuring.bias="),
        ("tasks ", "1"),
        ("logs ", "1"),
        ("stat", "status"),
    ],
)
def test_names_are_completed_from_the_database(mission, line, offered):
    found = completed(mission, line)
    assert offered in found
    assert all(one.startswith(line.split(" ")[-1]) for one in found)


def test_completion_without_a_cluster_offers_nothing_and_says_nothing(tmp_path):
    assert completed(tmp_path, "run ") == []


SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SOURCED = {
    "bash": 'eval "$(ziggy completion bash)"',
    "zsh": 'autoload -Uz compinit && compinit -D; eval "$(ziggy completion zsh)"',
    "fish": "ziggy completion fish | source",
}
TYPED = {
    "ziggy subt\t": ["subtasks"],
    "ziggy run fir\t--na\tx": ["run", "first", "--name", "x"],
    "ziggy run first --start mea\t": ["run", "first", "--start", "measure"],
    "ziggy tasks \t": ["tasks", "1"],
    "ziggy run first --set Mea\t3": ["run", "first", "--set", "Measuring.bias=3"],
    "ziggy run sample --set Algorithm\\ Parameters.ex\t3": [
        *("run", "sample", "--set"),
        "Algorithm Parameters.execution_pause_seconds=3",
    ],
}
"""Words that a shell makes of what is typed, tabs included."""


@pytest.fixture(scope="module")
def path(mission, tmp_path_factory):
    """Where a shell finds ``ziggy``; the cluster also knows a set with a space."""
    shelf = tmp_path_factory.mktemp("bin")
    command = shelf / "ziggy"
    command.write_text(f'#!/bin/sh\nexec {" ".join(ZIGGY)} "$@"\n')
    command.chmod(0o755)
    z.open(mission / "cluster.yaml").register(SAMPLE)
    return f"{shelf}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_what_is_typed_when_tab_is_pressed(
    mission, path, shell, tmp_path
):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        SHELLS[shell],
        pass_fds=[theirs],
        preexec_fn=lambda: os.login_tty(theirs),
        cwd=mission,
        env={"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8"},
    ) as process:
        os.close(theirs)
        try:
            # In two pieces, so that what is typed does not look like what is printed.
            os.write(ours, f"{SOURCED[shell]}; echo rea''dy\n".encode())
            read_until(ours, "ready")
            for typed, words in TYPED.items():
                # To the start of the line, to print the words instead of running them.
                os.write(ours, f"{typed} e''nd\x01printf '<%s>' \n".encode())
                shown = read_until(ours, "<end>")
                assert f"<ziggy><{'><'.join(words)}><end>" in shown
        finally:
            process.kill()
    os.close(ours)


def test_fish_shows_descriptions_whole(mission, path, tmp_path):
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{SOURCED['fish']}; complete -C 'ziggy event'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=mission,
        env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
    )
    name, text = done.stdout.splitlines()[0].split("\t")
    assert name == "event"
    assert text.startswith("Fire, enable and disable")


def read_until(terminal, wanted):
    """Read and return what a terminal shows until something is among it."""
    seen = ""
    deadline = time.monotonic() + 120
    while wanted not in seen:
        is_there, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert is_there, seen
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["taks"], "did you mean 'tasks'"),
        (["cluster", "strat"], "did you mean 'start'"),
        (["run", "first", "--nme", "x"], "--name"),
        (["run", "frist"], "did you mean 'first'"),
        (["run", "first", "--start", "mesure"], "did you mean 'measure'"),
        (["run", "first", "--set", "Mesuring.bias=1"], "did you mean 'Measuring'"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_right_one(mission, words, fix):
    done = ziggy(mission, *words)
    assert done.returncode in (2, 3)
    assert fix in done.stderr
