"""Algorithms that are programs, in real processes on a real Dask scheduler."""

import json
import os
import subprocess
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import xarray as xr

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, states, store
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.workers import directory

DEFINITION = """
pipeline: test
placeholders:
  dataset: set-[0-9]
parameter_sets:
  Algorithm Parameters:
    pause seconds: 0.5
    names: [a, b]
    flag: true
    none: {{type: intarray, value: ""}}
data_types:
  raw: {{location: "{{dataset}}/L0", kind: file, files: "(image-[0-9]+)\\\\.txt", reader: bytes}}
  made: {{location: "{{dataset}}/L1", kind: file, files: "(image-[0-9]+)\\\\.out"}}
  {types}
parameters: [Algorithm Parameters]
nodes:
  receipt: {{step: data-receipt}}
  work:
    {step}
    inputs: {inputs}
    outputs: [made]
    {more}
"""

SHOUT = """
    #!/bin/sh
    for file in image-*.txt; do
        echo "doing $file"
        tr a-z A-Z < "$file" > "${file%.txt}.out"
    done
"""


@pytest.fixture
def mission(tmp_path, client):
    """Return a function that receives files, runs a program on them, returns both."""
    root = tmp_path / "mission"
    (root / "bin").mkdir(parents=True)
    delivery = tmp_path / "delivery"

    def program(text: str, name: str = "work") -> None:
        path = root / "bin" / name
        path.write_text(textwrap.dedent(text).lstrip())
        path.chmod(0o755)

    def go(
        step="program: work",
        more="",
        files=None,
        settings="{}",
        types="",
        inputs="[raw]",
    ):
        definition = DEFINITION.format(
            step=step, more=more, types=types.strip(), inputs=inputs
        )
        (root / "pipeline.yaml").write_text(definition)
        file = tmp_path / "cluster.yaml"
        file.write_text(f"cluster: test\nhome: ./home\nprograms: {settings}\n")
        cluster = create_cluster(file)
        cluster.register(root)
        names = files or {f"set-1/L0/image-{n}.txt": f"pixel {n}" for n in range(3)}
        for name, text in names.items():
            path = delivery / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        cluster.receive(delivery, needs_manifest=False)
        return cluster, cluster.run("test", start="work", client=client)

    go.root, go.program, go.work = root, program, tmp_path / "home" / "work"
    return go


def test_a_shell_script_makes_files_of_files(mission):
    mission.program(SHOUT)
    cluster, instance = mission()
    assert states(instance) == {"work [set-1]": "COMPLETE"}
    assert cluster.datastore["set-1/L1"] == {
        f"image-{n}.out": f"PIXEL {n}".encode() for n in range(3)
    }
    log = instance.tasks[0].logs(1)[0].log
    assert log == "doing image-1.txt\n"
    assert not list(mission.work.iterdir())


def test_a_program_finds_everything_described(mission):
    mission.program(
        """
        #!/bin/sh
        cp work-inputs.json image-0.out 2>/dev/null
        cp work-inputs.h5 image-1.out
        env > image-2.out
        """
    )
    cluster, instance = mission(
        files={"set-1/L0/image-7.txt": "x"},
        settings="{environment: {DEPTH: '3', A: b=c}, inherit: [LANG, ZIGGY_TEST]}",
    )
    made = cluster.datastore["set-1/L1"]
    told = json.loads(made["image-0.out"])
    assert told == {
        "instance": instance.id,
        "task": instance.tasks[0].id,
        "subtask": 0,
        "node": "work",
        "unit_of_work": {"name": "[set-1]", "values": {"dataset": "set-1"}},
        "items": ["image-7"],
        "event_labels": [],
        "inputs": {"raw": ["image-7.txt"]},
        "outputs": {"made": {"files": "(image-[0-9]+)\\.out", "kind": "file"}},
        "models": {},
        "parameters": {
            "Algorithm_Parameters": {
                "pause_seconds": 0.5,
                "names": ["a", "b"],
                "flag": True,
                "none": [],
            }
        },
    }
    copy = mission.root / "copy.h5"
    copy.write_bytes(made["image-1.out"])
    with h5py.File(copy) as file:
        names = file["dataFilenames/dataFilenames"].asstr()[...]
        assert list(names) == ["image-7.txt"]
        parameters = file["algorithmParameters/Algorithm_Parameters"]
        assert parameters.attrs["PARAMETER_SET_ORIGINAL_NAME"] == "Algorithm Parameters"
        assert parameters["pause_seconds/pause_seconds"][...] == [0.5]
        assert parameters["none"].attrs["EMPTY_FIELD"] == 1
        assert parameters["flag/flag"].dtype == "i1"
        assert file["modelFilenames"].attrs["DATA_TYPE"] == 8
    variables = dict(
        line.split("=", 1) for line in made["image-2.out"].decode().splitlines()
    )
    assert variables["DEPTH"] == "3"
    assert variables["A"] == "b=c"
    first = Path(variables["PATH"].partition(":")[0])
    assert first.name == "bin"
    assert first.parent.parent == cluster.home / "code"
    assert "HOME" not in variables


def failure(instance, number=0):
    task = instance.tasks[0]
    assert instance.state.value == "ERRORS_STALLED", states(instance)
    return next(one for one in task.subtasks if one.number == number)


@pytest.mark.parametrize(
    ("text", "cause", "message"),
    [
        ("#!/bin/sh\necho no >&2\nexit 3\n", "exit code", "ended with exit code 3"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal", "by signal 11 (Segmentation fault)"),
        ("#!/no/such/shell\n", "no program", "can't be started"),
        (
            "#!/bin/sh\nln -s /etc/hostname image-0.out\n",
            "bad output",
            "is a link to /etc/hostname, which is not in the working directory",
        ),
    ],
)
def test_a_failing_program_says_why(mission, text, cause, message):
    mission.program(text)
    _, instance = mission(files={"set-1/L0/image-0.txt": "x"})
    one = failure(instance)
    assert (one.cause.value, message in one.message) == (cause, True), one.message
    kept = mission.work / f"{instance.id}-{instance.tasks[0].id}-work" / "st-0"
    assert (kept / "image-0.txt").read_text() == "x"


def test_a_failed_program_can_be_run_by_hand_with_what_it_was_given(mission, tmp_path):
    mission.program("#!/bin/sh\ncat image-*.txt; echo $DEPTH; exit 3\n")
    _, instance = mission(settings="{environment: {DEPTH: '3'}}")
    directory = tmp_path / "by-hand"
    command = instance.tasks[0].subtasks[1].open().prepare(directory)
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "pixel 13\n")
    assert (directory / "work-inputs.json").exists()


def test_a_missing_program_says_where_it_was_looked_for(mission):
    _, instance = mission()
    one = failure(instance)
    assert one.cause.value == "no program"
    assert f"no program 'work' in {mission.root / 'bin'}" in one.message


def test_a_program_that_takes_too_long_is_ended_with_all_it_started(mission):
    """It ignores the request to end, and so does what it has started."""
    mission.program(
        """
        #!/bin/sh
        trap '' TERM
        (trap '' TERM; echo $$ > /dev/null; exec sleep 600.125) &
        setsid sleep 600.125 &
        sleep 600.125
        """
    )
    _, instance = mission(
        more="time: {limit: 0.5}",
        files={"set-1/L0/image-0.txt": "x"},
        settings="{grace: 0.3}",
    )
    one = failure(instance)
    assert one.cause.value == "time limit"
    assert 0.5 < one.wall_s < 30
    assert not running("600.125")


def running(word: str) -> list[int]:
    """Return the processes that have a word on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if word in (process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def test_what_a_program_leaves_in_the_background_ends_with_it(mission):
    mission.program(
        """
        #!/bin/sh
        echo done > image-0.out
        sleep 600.25 &
        setsid sh -c 'sleep 600.25 & sleep 600.25' &
        """
    )
    cluster, instance = mission(files={"set-1/L0/image-0.txt": "x"})
    assert instance.state.value == "COMPLETED"
    assert cluster.datastore["set-1/L1"] == {"image-0.out": b"done\n"}
    assert not running("600.25")
    log = instance.tasks[0].logs(0)[0].log
    assert "processes that it left behind" in log
    assert not [p for p in psutil.Process().children() if p.status() == "zombie"]


def test_a_flood_of_output_is_cut_in_log_and_file(mission):
    before = psutil.Process().memory_info().rss
    mission.program(
        """
        #!/bin/sh
        head -c 1073741824 /dev/zero | tr '\\0' 'x'
        echo; echo the end
        exit 1
        """
    )
    _, instance = mission(
        files={"set-1/L0/image-0.txt": "x"}, settings="{log_size: 1MiB}"
    )
    one = failure(instance)
    assert one.cause.value == "exit code"
    log = instance.tasks[0].logs(0)[0].log
    assert log.endswith("x\nthe end\n")
    assert len(log) < 200_000
    kept = mission.work / f"{instance.id}-{instance.tasks[0].id}-work" / "st-0"
    assert (kept / "work-stdout.log").stat().st_size < 1_100_000
    assert one.peak_memory_bytes < before + 300 * 1024 * 1024


@pytest.mark.parametrize(
    "fill",
    [
        "head -c 8000000 /dev/zero > one-big-file; sleep 60",
        "i=0; while true; do head -c 100000 /dev/zero > f$i; i=$((i+1)); done",
    ],
)
def test_a_program_can_fill_no_more_of_the_disk_than_it_may(mission, fill):
    mission.program(f"#!/bin/sh\n{fill}\n")
    _, instance = mission(
        files={"set-1/L0/image-0.txt": "x"}, settings="{disk_quota: 2MB, keep: none}"
    )
    one = failure(instance)
    assert one.cause.value == "disk quota" or "exit code" in one.message
    assert not list(mission.work.iterdir())


COMMON = """
  common: {location: "{dataset}/L0", kind: file, files: "common-.*", reader: bytes}
"""


def with_common_files(mission, last_line):
    """Run a program six times that ends with a line, on files that all of them get."""
    mission.program(
        f"""
        #!/bin/sh
        for file in image-*.txt; do
            cat common-* > "${{file%.txt}}.out"
            stat -c %h common-0 > links
            rm "$file"
        done
        {last_line}
        """
    )
    files = {f"set-1/L0/image-{n}.txt": str(n) for n in range(6)}
    files |= {f"set-1/L0/common-{n}": f"common {n};" for n in range(2)}
    cluster, instance = mission(
        files=files,
        settings="{keep: all}",
        types=COMMON,
        inputs="{raw: {}, common: {all_subtasks: true}}",
    )
    stored = cluster.datastore["set-1/L0"]
    assert stored == {name.split("/")[2]: text.encode() for name, text in files.items()}
    return cluster, instance


def test_inputs_that_are_shared_by_hard_links_outlive_their_deletion(mission):
    cluster, instance = with_common_files(mission, "rm -f common-*")
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
    assert list(cluster.datastore["set-1/L1"].values()) == [b"common 0;common 1;"] * 6
    links = [int(path.read_text()) for path in mission.work.glob("*/st-*/links")]
    assert max(links) > 1


def test_subtasks_that_share_a_file_first_at_once_all_keep_it(mission, monkeypatch):
    """As if no subtask had yet seen what another one shares."""
    linked, seen = directory._linked, Counter()

    def late(work, place, target):
        seen[target] += 1
        return seen[target] > 2 and linked(work, place, target)

    monkeypatch.setattr(directory, "_linked", late)
    _, instance = with_common_files(mission, "rm -f common-*")
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message


def test_files_of_other_tasks_that_had_the_same_inodes_are_not_looked_at(
    mission, monkeypatch
):
    describe = directory.describe

    def described(work, subtask, path, given, named):
        describe(work, subtask, path, given, named)
        for one in path.iterdir():
            place = Path("/gone") / one.name
            monkeypatch.setitem(
                directory._shared_files, place, (one.lstat().st_ino, 0, 0)
            )

    monkeypatch.setattr(directory, "describe", described)
    _, instance = with_common_files(mission, "true")
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message


def test_a_program_that_writes_to_shared_inputs_is_found_out(mission):
    _, instance = with_common_files(
        mission, "chmod +w common-0; echo ruined > common-0"
    )
    assert instance.state.value == "ERRORS_STALLED"
    failed = [one for one in instance.tasks[0].subtasks if one.cause.value]
    assert failed
    for one in failed:
        assert one.cause.value == "bad output"
        assert "'common-0', which all subtasks share, was written to" in one.message


def test_success_without_output_is_seen(mission):
    mission.program("#!/bin/sh\ntrue\n")
    _, instance = mission()
    assert instance.state.value == "COMPLETED"
    assert {one.message for one in instance.tasks[0].subtasks} == {
        "the algorithm returned nothing"
    }


@pytest.mark.parametrize("reader", ["netcdf", "zarr"])
def test_datasets_reach_programs_as_files_and_come_back(tmp_path, code, client, reader):
    """A program works on NetCDF; its result, a file or a directory, is an array again."""
    root = code("")
    (root / "bin").mkdir()
    program = root / "bin" / "double"
    program.write_text(
        textwrap.dedent(
            """
            #!/usr/bin/env python3
            import h5py, shutil
            shutil.copy("raw.nc", "doubled.nc")
            with h5py.File("doubled.nc", "r+") as file:
                file["pixels"][...] = file["pixels"][...] * 2
            import xarray
            doubled = xarray.open_dataset("doubled.nc", engine="h5netcdf")
            doubled.to_zarr("doubled.zarr")
            """
        ).lstrip()
    )
    program.chmod(0o755)
    (root / "pipeline.yaml").write_text(
        textwrap.dedent(
            """
            pipeline: test
            placeholders: {dataset: "set-[0-9]"}
            data_types:
              raw: {location: "{dataset}/L0", subtask: item, external: true}
              doubled:
                location: "{dataset}/L1"
                subtask: item
                files: (doubled)\\.%s
                reader: %s
            nodes:
              double: {program: double, inputs: [raw], outputs: [doubled]}
            """
        )
        % ("nc" if reader == "netcdf" else "zarr", reader)
    )
    file = tmp_path / "cluster.yaml"
    python = Path(os.sys.executable).parent
    file.write_text(f"cluster: test\nhome: ./home\nprograms: {{path: [{python}]}}\n")
    cluster = create_cluster(file)
    raw = images(4)
    store(cluster, {"set-1/L0": raw})
    cluster.register(root)
    instance = cluster.run("test", client=client)
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
    found = cluster.datastore["set-1/L1"]
    assert isinstance(found, xr.Dataset)
    np.testing.assert_array_equal(found["pixels"].values, raw["pixels"].values * 2)
    assert list(found["item"].values) == [f"i{n}" for n in range(4)]


SCRIPT = """
    import numpy as np


    def work(inputs):
        names = inputs["dataFilenames"]
        assert isinstance(names, str), names
        values = inputs["algorithmParameters"]["Algorithm_Parameters"]
        assert values["pause_seconds"] == 0.5
        assert values["names"] == ("a", "b")
        assert values["flag"] == np.True_
        assert values["none"] == ()
        assert inputs["modelFilenames"] == ""
        text = open(names).read()
        print("read", text)
        if "bad" in text:
            raise RuntimeError("clouds")
        open(names.replace(".txt", ".out"), "w").write(text[::-1])
"""


def test_a_ziggy_style_function_gets_one_dict(mission):
    (mission.root / "algo").mkdir()
    (mission.root / "algo" / "sample.py").write_text(textwrap.dedent(SCRIPT))
    cluster, instance = mission(step="script: algo/sample.py")
    assert instance.state.value == "COMPLETED", [
        (one.message, one.cause) for one in instance.tasks[0].subtasks
    ]
    assert cluster.datastore["set-1/L1"]["image-2.out"] == b"2 lexip"


def test_an_exception_in_a_ziggy_style_function_is_read_from_its_error_file(mission):
    (mission.root / "algo").mkdir()
    (mission.root / "algo" / "sample.py").write_text(textwrap.dedent(SCRIPT))
    _, instance = mission(
        step="script: algo/sample.py", files={"set-1/L0/image-0.txt": "bad"}
    )
    one = failure(instance)
    assert (one.cause.value, one.message) == ("exception", "RuntimeError: clouds")
    log = instance.tasks[0].logs(0)[0]
    assert 'sample.py", line' in log.traceback
    assert "in work" in log.traceback
    assert "read bad" in log.log


def test_a_worker_that_dies_takes_its_programs_along(mission):
    """And the subtask runs again, on the next worker."""
    mission.program(
        f"""
        #!/bin/sh
        if mkdir {mission.root}/begun; then sleep 600.5; fi
        echo done > image-0.out
        """
    )
    cluster, _ = mission(step="program: missing", files={"set-1/L0/image-0.txt": "x"})
    definition = (mission.root / "pipeline.yaml").read_text()
    (mission.root / "pipeline.yaml").write_text(definition.replace("missing", "work"))
    cluster.register(mission.root)
    killed: list[int] = []

    def kill():
        sleeper = psutil.Process(wait_for(lambda: running("600.5"))[0])
        worker = sleeper.parent().parent()
        killed.append(worker.pid)
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    instance = cluster.run("test", start="work")
    killer.join()
    assert killed
    assert instance.state.value == "COMPLETED"
    assert cluster.datastore["set-1/L1"] == {"image-0.out": b"done\n"}
    assert not running("600.5")
    assert not list(mission.work.glob(f"{instance.id}-*"))


def test_a_halt_ends_programs_and_what_they_started(mission):
    """Of a run with its own workers, halted by another process or object."""
    mission.program(
        """
        #!/bin/sh
        trap '' TERM
        sleep 700.5 &
        sleep 700.5
        """
    )
    cluster, _ = mission(step="program: missing", settings="{grace: 1}")
    definition = (mission.root / "pipeline.yaml").read_text()
    (mission.root / "pipeline.yaml").write_text(definition.replace("missing", "work"))
    cluster.register(mission.root)
    other = z.open(cluster._site.cluster.path)

    def halt():
        wait_for(lambda: running("700.5"))
        other.halt(instance=3)

    operator = threading.Thread(target=halt)
    operator.start()
    instance = cluster.run("test", start="work")
    operator.join()
    assert instance.id == 3
    assert states(instance) == {"work [set-1]": "ERROR - EXECUTING"}
    assert instance.tasks[0].record.message == "halted by an operator"
    assert not running("700.5")
    assert "set-1/L1" not in cluster.datastore


def test_a_halt_ends_python_that_never_returns(cluster, code):
    root = code(
        """
        from pathlib import Path

        def forever(raw):
            (Path(__file__).parent / "begun").touch()
            while True:
                pass
        """
    )
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("out", "out"),
            node("work", "forever", "raw", "out"),
        )
    )
    store(cluster, {"set-1/L0": images(3)})
    other = z.open(cluster._site.cluster.path)

    def halt():
        wait_for((root / "begun").exists)
        other.halt(1)

    operator = threading.Thread(target=halt)
    operator.start()
    instance = cluster.run("test")
    operator.join()
    assert states(instance) == {"work [set-1]": "ERROR - EXECUTING"}
    assert "set-1/out" not in cluster.datastore
    assert [p for p in psutil.Process().children(recursive=True) if busy(p)] == []


def busy(process):
    """Tell whether a process uses a processor of its own."""
    try:
        return process.cpu_percent(interval=0.2) > 50
    except psutil.NoSuchProcess:
        return False


def wait_for(look, at_most_s=60):
    """Return what a function finds, as soon as it finds anything."""
    until = time.monotonic() + at_most_s
    while not (found := look()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.05)
    return found


def test_a_hundred_programs_leave_nothing_behind(mission):
    mission.program(SHOUT)
    files = {f"set-1/L0/image-{n}.txt": str(n) for n in range(100)}
    cluster, instance = mission(files=files)
    assert instance.state.value == "COMPLETED"
    assert len(cluster.datastore["set-1/L1"]) == 100
    assert not list(mission.work.iterdir())
    assert not [p for p in psutil.Process().children() if p.status() == "zombie"]


def test_the_package_names_both_kinds_of_step():
    assert z.ProgramStep(program="x").arguments == ()
    assert z.ScriptStep(script="a/b.py", function="f").function == "f"
