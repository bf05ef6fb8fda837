from pathlib import Path

import pytest

import ziggy_dask as z
from ziggy_dask.definitions import pipeline_from_yaml
from ziggy_dask.errors import DefinitionError

PIPELINES = Path(__file__).parents[3] / "pipelines"

FULL = """
pipeline: full
description: Everything that a definition can have.
priority: high
placeholders:
  dataset: set-[0-9]
  camera: "[1-4]"
parameter_sets:
  Numbers:
    gain: 1.5
    bins: [1, 2, 3]
    small: {type: short, value: 7}
    none: {type: doublearray, value: []}
    names: [a, b]
    use: true
data_types:
  raw:
    location: "{dataset}/{camera}/raw"
    files: (frame-[0-9]+)\\.png
    reader: image
    subtask: frame
    chunk: 2
    chunks: {y: 100}
    compression: none
  dark:
    location: "{dataset}/{camera=1}/dark"
    external: true
  curve:
    location: "{dataset}/{camera}/curve"
    kind: collection
  plot:
    location: "{dataset}/{camera}/plot"
    kind: file
  clean:
    location: "{dataset}/{camera}/clean"
    subtask: frame
    chunk: 2
model_types:
  flat: {files: 'flat-([0-9]+)\\.fits', version_group: 1}
  dark:
    files: 'dark-([0-9]+)-([0-9]+)'
    observed: camera
    valid_from_group: 1
    valid_until_group: 2
process: new
events:
  downlink: {directory: /data/ready}
  by hand: {directory: ready, enabled: false}
parameters: [Numbers]
nodes:
  receive: {step: data-receipt}
  clean:
    function: algorithms:clean
    inputs:
      raw: {}
      dark: {all_subtasks: true}
    outputs: [clean]
    models: [flat, dark]
    max_failed_subtasks: 2
    time: {typical: 0.5, limit: 60}
    memory: 1.5GB
    retry: {times: 2, memory: x1.5, time: x2}
  curves:
    function: algorithms:curves
    inputs: [clean]
    outputs: [curve, plot]
    single_subtask: true
    after: [receive]
"""


def test_text_to_object_to_text_is_stable():
    once = pipeline_from_yaml(FULL)
    text = z.pipeline_to_yaml(once)
    again = pipeline_from_yaml(text)
    assert again == once
    assert once.process is z.Process.NEW
    assert once.events[1] == z.EventHandler(
        name="by hand", directory="ready", is_enabled=False
    )
    node = once.by_name["clean"]
    assert (node.memory_bytes, node.limit_s) == (1_500_000_000, 60)
    assert node.retry == z.Retry(times=2, memory=1.5, time=2)
    assert z.pipeline_to_yaml(again) == text


@pytest.mark.parametrize("name", ["sample"])
def test_the_projects_own_pipelines_are_sound_and_stable(name):
    read = z.read_pipeline(PIPELINES / name)
    assert pipeline_from_yaml(z.pipeline_to_yaml(read)) == read


def test_a_definition_built_in_python_equals_the_one_read():
    text = """
pipeline: small
placeholders: {dataset: 'set-[0-9]'}
parameter_sets: {S: {a: 1}}
data_types:
  raw: {location: '{dataset}/raw', external: true, subtask: item}
  out: {location: '{dataset}/out', subtask: item}
nodes:
  work: {function: 'm:f', inputs: [raw], outputs: [out], parameters: [S]}
"""
    from ziggy_dask.definitions import parameter_from_value

    built = z.Pipeline(
        name="small",
        placeholders=(z.Placeholder(name="dataset", pattern="set-[0-9]"),),
        parameter_sets=(
            z.ParameterSet(name="S", parameters=(parameter_from_value("a", 1),)),
        ),
        data_types=(
            z.DataType(
                name="raw",
                location=z.Location("{dataset}/raw"),
                external=True,
                subtask="item",
            ),
            z.DataType(
                name="out", location=z.Location("{dataset}/out"), subtask="item"
            ),
        ),
        nodes=(
            z.Node(
                name="work",
                step=z.FunctionStep(function="m:f"),
                inputs=(z.Input(data_type="raw"),),
                outputs=("out",),
                parameters=("S",),
            ),
        ),
    )
    assert pipeline_from_yaml(text) == built


def test_nodes_are_ordered_by_what_they_read():
    read = pipeline_from_yaml(FULL)
    assert [node.name for node in read.ordered] == ["receive", "clean", "curves"]
    assert read.upstream["clean"] == ("receive",)
    assert read.upstream["curves"] == ("receive", "clean")


def test_all_faults_of_a_file_are_reported_at_once_with_their_lines():
    text = """pipeline: bad
placeholders: {dataset: 'set-['}
data_types:
  raw: {location: '{datset}/raw', chunk: zero}
nodes:
  a: {function: 'm:f', inputs: [rawx], outputs: [raw], colour: red}
"""
    with pytest.raises(DefinitionError) as caught:
        pipeline_from_yaml(text, file="bad.yaml")
    faults = [(fault.line, fault.message) for fault in caught.value.faults]
    assert [line for line, _ in faults] == sorted(line for line, _ in faults)
    words = " | ".join(f"{line}:{message}" for line, message in faults)
    for expected in (
        "2:'set-[' is not a valid regular expression",
        "4:location '{datset}/raw' uses the unknown placeholder 'datset'; did you mean",
        "4:'chunk' must be a whole number, found 'zero'",
        "6:unknown data type 'rawx'; did you mean 'raw'",
        "6:unknown key 'colour'",
    ):
        assert expected in words


def test_pipelines_with_modules_of_one_name_do_not_disturb_each_other(tmp_path):
    from ziggy_dask.definitions import load_function

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "algorithms.py").write_text(
            f"def f():\n    return {name!r}\n"
        )
    one = load_function(tmp_path / "one", "algorithms:f")
    two = load_function(tmp_path / "two", "algorithms:f")
    assert (one(), two()) == ("one", "two")


def test_changed_code_is_loaded_anew(tmp_path):
    from ziggy_dask.definitions import code_version, load_function

    file = tmp_path / "algorithms.py"
    file.write_text("def f():\n    return 1\n")
    first = code_version(tmp_path)
    assert load_function(tmp_path, "algorithms:f", first)() == 1
    file.write_text("def f():\n    return 22\n")
    second = code_version(tmp_path)
    assert second != first
    assert load_function(tmp_path, "algorithms:f", second)() == 22
