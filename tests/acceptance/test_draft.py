"""Pipelines whose functions were defined where no module is."""

import ast
import linecache
import types

import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import images, store
from ziggy_dask.errors import DefinitionError

CELLS = """
import numpy as np
from math import sqrt as root
FACTOR = 2.0
TABLE = np.arange(3)

def scaled(values):
    return values * FACTOR

@draft.node(outputs=["level"], parameters=["S"])
def measure(frame, parameters):
    "Scale and shift."
    def inner(values):
        return scaled(values) + root(4.0) * np.ones(1) + parameters["S"]["bias"]
    return frame.assign(pixels=frame["pixels"] + inner(0.0)[0])
"""


def new_draft() -> z.Draft:
    return z.Draft(
        "drafted",
        placeholders={"dataset": "set-[0-9]+"},
        parameter_sets={"S": {"bias": 1.0}},
        data_types={
            "frame": {"location": "{dataset}/L0", "subtask": "item", "external": True},
            "level": {"location": "{dataset}/L1", "subtask": "item"},
        },
    )


def run_cells(draft: z.Draft, text: str = CELLS, name: str = "<cell-1>") -> dict:
    """Run text as a notebook does: its source is known, but it is not a module."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    module = types.ModuleType("__main__")
    space = vars(module) | {"draft": draft}
    exec(compile(text, name, "exec"), space)
    return space


def test_a_draft_runs_and_its_text_is_kept(cluster, client):
    draft = new_draft()
    run_cells(draft)
    (made, _) = cluster.register(draft)
    store(cluster, {"set-1/L0": images(3)})
    first = cluster.run("drafted", client=client)
    assert first.state.value == "COMPLETED"
    stored = cluster.datastore["set-1/L1"]["pixels"].values
    assert np.allclose(stored, images(3)["pixels"].values + 3)
    kept = (first.pipeline.root / "algorithms.py").read_text()
    assert "return values * FACTOR" in kept
    assert "@draft" not in kept

    run_cells(draft, CELLS.replace("FACTOR = 2.0", "FACTOR = 3.0"), "<cell-2>")
    cluster.register(draft)
    second = cluster.run("drafted", client=client)
    assert (made.version, second.record.version) == (0, 1)
    assert first.record.code_version != second.record.code_version
    assert "FACTOR = 2.0" in (first.pipeline.root / "algorithms.py").read_text()
    assert "FACTOR = 3.0" in (second.pipeline.root / "algorithms.py").read_text()


def test_registering_twice_changes_nothing(cluster):
    draft = new_draft()
    run_cells(draft)
    cluster.register(draft)
    again = cluster.register(draft)
    assert {one.change.value for one in again} == {"SAME"}


def test_a_saved_draft_is_a_pipeline_like_any_other(tmp_path):
    draft = new_draft()
    run_cells(draft)
    place = draft.save(tmp_path / "drafted")
    assert z.read_pipeline(place) == draft.pipeline
    text = (place / "algorithms.py").read_text()
    assert isinstance(ast.parse(text), ast.Module)
    assert "TABLE" not in text, "what is not used is not kept"
    draft.save(place)
    (place / "pipeline.yaml").write_text("pipeline: mine\n")
    with pytest.raises(DefinitionError, match="is there and says something else"):
        draft.save(place)
    assert (place / "pipeline.yaml").read_text() == "pipeline: mine\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return frame + TABLE", "uses 'TABLE', a ndarray of the notebook"),
        ("return frame + draft", "uses 'draft', a Draft of the notebook"),
    ],
)
def test_what_is_no_text_is_refused(cluster, body, message):
    draft = new_draft()
    cell = f"def bad(frame):\n    {body}\ndraft.node(outputs=['level'])(bad)\n"
    run_cells(draft, "import numpy as np\nTABLE = np.arange(3)\n" + cell)
    with pytest.raises(DefinitionError, match=message):
        cluster.register(draft)
    assert cluster.pipelines == {}
    assert not (cluster.home / "drafts").exists()


def test_functions_in_functions_and_without_source_are_refused():
    draft = new_draft()
    around = 3

    def inside(frame):
        return frame + around

    draft.node(outputs=["level"])(inside)
    with pytest.raises(DefinitionError, match="uses around of the function around it"):
        draft.to_module()
    other = new_draft()
    space = {}
    exec(compile("def typed(frame):\n    return frame", "nowhere", "exec"), space)
    other.node(outputs=["level"])(space["typed"])
    with pytest.raises(DefinitionError, match="source of 'typed' can't be found"):
        other.to_module()


def test_faults_of_a_draft_are_those_of_a_definition():
    draft = new_draft()
    run_cells(draft, CELLS.replace('outputs=["level"]', 'outputs=["levle"]'))
    with pytest.raises(DefinitionError, match="did you mean 'level'"):
        _ = draft.pipeline
