"""Where programs and environments are found, and what programs are told."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from ziggy_dask.definitions import (
    ParameterSet,
    Programs,
    ProgramStep,
    ScriptStep,
    parameter_from_text,
)
from ziggy_dask.workers import runner
from ziggy_dask.workers.description import describe
from ziggy_dask.workers.programs import ProgramFailure, find_environment, find_program
from ziggy_dask.workers.work import ModelFile, Work


def make_work(root: Path, step, **options) -> Work:
    values = {
        "token": "t",
        "index": 0,
        "instance": 1,
        "task": 2,
        "node": "testmod",
        "unit": {},
        "unit_name": "[]",
        "step": step,
        "limit_s": 0.0,
        "root": root,
        "code_version": "",
        "sets": (),
        "models": {},
        "sources": (),
        "sinks": (),
        "event_labels": (),
        "labels": None,
        "chunk": 1,
        "count": 1,
        "datastore": "",
        "scaffold": b"",
        "programs": Programs(work=root),
    }
    return Work(**values | options)


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_clusters_search_path_comes_before_the_pipelines_bin(tmp_path):
    own = executable(tmp_path / "home" / "bin" / "pa")
    step = ProgramStep(program="pa")
    path = tuple(tmp_path / name for name in ("none-1", "none-2", "third"))
    work = make_work(
        tmp_path / "home", step, programs=Programs(work=tmp_path, path=path)
    )
    assert find_program(work, "pa") == own
    found = executable(tmp_path / "third" / "pa")
    assert find_program(work, "pa") == found
    found.chmod(0o644)
    assert find_program(work, "pa") == own
    own.chmod(0o644)
    with pytest.raises(ProgramFailure, match="can't be executed; try: chmod"):
        find_program(work, "pa")


def test_environments_are_looked_for_from_the_most_special_to_the_most_general(
    tmp_path,
):
    step = ScriptStep(script="pa/pa.py", function="pa-initializer")
    work = make_work(tmp_path, step)
    assert find_environment(work, step) is None
    for name in ("", "pipeline", "pa", "pa-initializer"):
        place = tmp_path / "env" / name
        place.mkdir()
        assert find_environment(work, step) == place


def test_parameters_and_models_are_told_under_the_originals_names(tmp_path):
    pipeline_set = ParameterSet(
        name="params 1",
        parameters=(
            parameter_from_text("dmy1", "500", "int"),
            parameter_from_text("dmy2", "2856.3", "double"),
        ),
    )
    node_set = ParameterSet(
        name="params2",
        interface_name="params for the algorithm",
        parameters=(
            parameter_from_text("dmy3", "dummy string", "string"),
            parameter_from_text("dmy4", "true, false", "booleanarray"),
        ),
    )
    assert node_set.parameters[1].text == "true,false"
    model = ModelFile(path="models/m", stored="bar", original="foo", snapshot="s")
    work = make_work(
        tmp_path,
        ProgramStep(program="testmod"),
        sets=(pipeline_set, node_set),
        models={"m": model},
    )
    files = [f"uncalibrated-pixels-{n}.nc" for n in range(4)]
    names = describe(
        work, 0, tmp_path, {"US": files[:2], "ALL": files[2:]}, {"m": "foo"}
    )
    assert names == ("testmod-inputs.json", "testmod-inputs.h5")
    with h5py.File(tmp_path / "testmod-inputs.h5") as file:
        assert file["modelFilenames/modelFilenames"].asstr()[...].tolist() == ["foo"]
        assert file["dataFilenames/dataFilenames"].asstr()[...].tolist() == files
        told = file["algorithmParameters"]
        assert set(told) == {"params_1", "params_for_the_algorithm"}
        assert told["params_1"].attrs["PARAMETER_SET_ORIGINAL_NAME"] == "params 1"
        assert told["params_1/dmy1/dmy1"][...].tolist() == [500]
        assert told["params_1/dmy1/dmy1"].dtype == "i4"
        assert told["params_1/dmy2/dmy2"][...].tolist() == [2856.3]
        other = told["params_for_the_algorithm"]
        assert other.attrs["PARAMETER_SET_ORIGINAL_NAME"] == "params2"
        assert other["dmy3/dmy3"].asstr()[...].tolist() == ["dummy string"]
        assert other["dmy4/dmy4"][...].tolist() == [1, 0]


def test_the_runner_does_not_shadow_modules_of_users_by_its_own(tmp_path):
    root, site = tmp_path / "root", tmp_path / "site"
    (site / "algorithms").mkdir(parents=True)
    (site / "algorithms" / "__init__.py").write_text("WHOSE = 'theirs'\n")
    root.mkdir()
    (root / "mine.py").write_text(
        "import algorithms\n\n\ndef check(inputs):\n    print(algorithms.WHOSE)\n"
    )
    with h5py.File(tmp_path / "step-inputs.h5", "w"):
        pass
    done = subprocess.run(
        [sys.executable, runner.__file__, str(root), "mine", "check", "step"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "theirs\n", done.stderr
