"""A command ends when signals tell it to, whatever hangs in it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

SCRIPT = """
    import ctypes, signal, subprocess, sys, time
    from ziggy_dask.interface import signals

    signals.ENDING_S = float(sys.argv[2])
    signals.HURRY_S = 0.5
    child = subprocess.Popen(["sleep", "600"])
    told = []

    def stop():
        told.append(1)
        if sys.argv[1] == "hang":
            print("told", flush=True)

    with signals.told_by_signals(stop, interrupts=sys.argv[1] == "run"):
        if sys.argv[1] == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
            print(child.pid, flush=True)
            ctypes.CDLL(None).sleep(600)  # runs no Python code, like a dead disk
        try:
            print(child.pid, flush=True)
            while not told:
                time.sleep(0.01)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    child.kill()
    child.wait()
    print("ended in order", len(told) > 0, flush=True)
"""


def start(kind, limit_s, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(SCRIPT), kind, str(limit_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("kind", ["serve", "run"])
def test_a_signal_lets_work_end_in_order(kind, number):
    process, _ = start(kind, 60)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    interrupted = ["interrupted"] if kind == "run" else []
    assert output.splitlines() == [*interrupted, "ended in order True"]
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_hangs_is_ended_in_time_with_all_that_it_started(number):
    process, child = start("hang", 1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (
        said == "ziggy: did not end in time, so it is ended; what is recorded is kept\n"
    )
    while _runs(child):  # until the kernel has ended it
        pass


def _runs(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_second_signal_hurries():
    process, _ = start("hang", 600)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "told\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_signal_that_is_ignored_from_outside_stays_so():
    process, _ = start(
        "serve", 60, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output == "ended in order True\n"


SWALLOWING = """
    import ctypes, gc, os, signal, sys, time, weakref

    WAYS = dict(
        collector=lambda: gc.callbacks.append(collected) or gc.collect(),
        end_of_object=lambda: Told(),
        weak_reference=lambda: weakref.finalize(Short(), tell),
        compiled=lambda: ctypes.CFUNCTYPE(None)(tell)(),
        generator=lambda: next(tells_at_its_end()),
    )

    def tell(*_):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0)  # here the handler has run

    def collected(phase, info):
        if phase == "start":
            gc.callbacks.clear()
            tell()

    class Told:
        __del__ = tell

    class Short:
        pass

    def tells_at_its_end():
        try:
            yield
        finally:
            tell()

    def work(way):
        WAYS[way]()
        time.sleep(60)  # what was raised comes here, or never
        print(way, "was not heard")
"""
COMMAND = """
    from ziggy_dask.interface import main

    def exit_code():
        for way in WAYS:
            try:
                work(way)
            except (KeyboardInterrupt, SystemExit) as ended:
                print(way, getattr(ended, "code", 130))
        return 0

    main.exit_code = exit_code
    main.main()
"""
RUN = """
    from types import SimpleNamespace
    from ziggy_dask.interface.commands import running

    for way in WAYS:
        try:
            with running.followed(SimpleNamespace(stop=lambda: None), as_json=False):
                work(way)
        except running.click.exceptions.Exit as ended:
            print(way, ended.exit_code)
"""
WAYS = ("collector", "end_of_object", "weak_reference", "compiled", "generator")


@pytest.mark.parametrize(
    ("what", "name"),
    [(RUN, "SIGTERM"), (RUN, "SIGHUP"), (RUN, "SIGINT"), (COMMAND, "SIGINT")],
)
@pytest.mark.usefixtures("plain")
def test_a_signal_is_heard_where_python_swallows_what_is_raised(what, name):
    done = subprocess.run(
        [sys.executable, "-c", dedent(SWALLOWING) + dedent(what), name],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    code = 128 + getattr(signal, name)
    assert done.stdout.splitlines() == [f"{way} {code}" for way in WAYS], done.stderr
    said = "interrupted; resume with: ziggy run --continue\n"
    assert done.stderr.count(said) == (len(WAYS) if what is RUN else 0)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


STREAMS = """
    import os, sys
    from ziggy_dask.interface.streams import make_output_sturdy, open_missing_streams

    open_missing_streams()
    make_output_sturdy()
    for _ in range(3):
        print("x" * 100_000)
    sys.stdout.flush()
    file = open(sys.argv[1], "w")
    print(file.fileno() > 2, file=file)
    file.close()
    sys.exit(7)
"""


@pytest.mark.parametrize("where", ["pipe", "full", "closed", "all closed"])
def test_output_that_can_not_be_written_ends_nothing(where, tmp_path):
    file = tmp_path / "file"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if where == "full":
        options["stdout"] = os.open("/dev/full", os.O_WRONLY)
    elif "closed" in where:
        last = 3 if where == "all closed" else 2
        options = {"preexec_fn": lambda: os.closerange(0 if last == 3 else 1, last)}
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(STREAMS), str(file)], text=True, **options
    )
    if where == "pipe":
        process.stdout.close()
    said = process.stderr.read() if process.stderr else ""
    assert process.wait(timeout=60) == 7
    assert file.read_text() == "True\n"
    if where in ("pipe", "full"):
        (line,) = said.splitlines()
        assert line.startswith("ziggy: output can't be written any more: ")


SHORT = """
    import signal
    from ziggy_dask.interface import main

    def exit_code():
        try:
            print("began", flush=True)
            signal.pause()
        except SystemExit as error:
            return error.code
        finally:
            print("took its half away", flush=True)

    main.exit_code = exit_code
    main.main()
"""


@pytest.fixture
def plain(monkeypatch):
    """No measurement of coverage in what is started; it would heed SIGTERM itself."""
    for name in [one for one in os.environ if one.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("plain")
def test_a_short_command_that_is_told_to_end_leaves_no_half(number):
    with subprocess.Popen(
        [sys.executable, "-c", dedent(SHORT)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "began\n"
        process.send_signal(number)
        assert process.stdout.read() == "took its half away\n"
    assert process.returncode == 128 + number


@pytest.mark.usefixtures("plain")
def test_a_short_command_without_a_terminal_goes_on():
    with subprocess.Popen(
        ["nohup", sys.executable, "-c", dedent(SHORT)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGHUP)
        process.terminate()
        process.wait()
    assert process.returncode == 128 + signal.SIGTERM


HANGING = """
    import os, sys, threading
    import icechunk
    from ziggy_dask.interface import main, unheard

    unheard.ENDING_S = 1.0
    icechunk.set_logs_filter("off")
    storage = icechunk.local_filesystem_storage(sys.argv[1])
    icechunk.Repository.create(storage).save_config()
    place = f"{sys.argv[1]}/config.yaml"
    os.unlink(place)
    os.mkfifo(place)

    def exit_code():
        turn = threading.Lock()
        turn.acquire()
        tell = lambda: turn.acquire() and print("began", flush=True)
        threading.Thread(target=tell, daemon=True).start()
        sys.setswitchinterval(1e6)  # the other thread's turn comes in compiled code
        turn.release()
        icechunk.Repository.open(storage)

    main.exit_code = exit_code
    main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.usefixtures("plain")
def test_a_short_command_that_waits_in_compiled_code_is_ended(number, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", dedent(HANGING), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "began\n"
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 128 + number
    assert (
        said.splitlines(keepends=True)[-1]
        == "ziggy: did not end in time, so it is ended; what is recorded is kept\n"
    )


AWAKE = """
    import signal, sys
    from ziggy_dask.interface import main

    def exit_code():
        signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
        print("began", flush=True)
        for line in sys.stdin:
            print(line, end="", flush=True)
        return 7

    main.exit_code = exit_code
    main.main()
"""


@pytest.mark.usefixtures("plain")
def test_who_hears_of_a_signal_and_goes_on_is_not_ended():
    with subprocess.Popen(
        [sys.executable, "-c", dedent(AWAKE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "began\n"
        for number in range(5):
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "heard\n"
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{number}\n"
        process.stdin.close()
    assert process.returncode == 7


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--cluster", "/nowhere/cluster.yaml", "status"], 3), (["--nonsense"], 2)],
)
@pytest.mark.usefixtures("plain")
def test_an_exit_code_is_that_of_the_error_also_where_nobody_can_be_told(words, code):
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ziggy_dask", *words], stderr=full, check=False
        )
    assert done.returncode == code


WITHOUT = """
    import os, sys
    from ziggy_dask.interface import main

    def exit_code():
        print("told to nobody" * 1000, flush=True)
        os.write(1, b"likewise")
        return 7

    main.exit_code = exit_code
    main.main()
"""


def test_without_standard_output_nothing_else_is_taken_for_it():
    done = subprocess.run(
        [sys.executable, "-c", dedent(WITHOUT)],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),
        check=False,
    )
    assert (done.returncode, done.stderr) == (7, b"")
