"""Subtasks that share a batch fail each for itself, also where writing fails."""

from textwrap import dedent

import pytest
import xarray as xr

import ziggy_dask as z
from tests.conftest import data_type, images, pipeline, store

ALGORITHMS = """
    import tempfile
    from pathlib import Path
    from ziggy_dask import FileItem

    def note(raw, context):
        (label,) = context.labels
        path = Path(tempfile.mkdtemp()) / f"{label}.txt"
        path.write_text(label)
        item = FileItem.from_path(path)
        if label in BAD:
            path.write_text("")
        return item

    def pair(raw, context):
        return {"note": note(raw, context), "made": raw * 2}
"""


@pytest.mark.parametrize("bad", [["i1"], ["i0", "i3"], ["i0", "i1", "i2", "i3"]])
def test_one_that_can_not_be_written_leaves_its_batch_mates_alone(
    cluster, code, client, bad
):
    raw = images(4)
    store(cluster, {"set-1/L0": raw})
    files = {"files": r"(.+)\.txt", "kind": z.ProductKind.FILE, "subtask": ""}
    cluster.register(
        pipeline(
            code(dedent(ALGORITHMS) + f"BAD = {bad!r}\n"),
            data_type("raw", "L0"),
            data_type("made", "L1"),
            data_type("note", "notes", **files),
            z.Node(
                name="pair",
                step=z.FunctionStep(function="algorithms:pair"),
                inputs=(z.Input(data_type="raw"),),
                outputs=("made", "note"),
                typical_s=0.001,
                max_failed_subtasks=4,
            ),
        )
    )
    (task,) = cluster.run("test", client=client).tasks
    good = [label for label in ("i0", "i1", "i2", "i3") if label not in bad]
    told = [one.record for one in task.subtasks if one.record.state.value == "FAILED"]
    assert [f"i{one.number}" for one in told] == bad
    assert all("changed while it was read" in one.message for one in told)
    if good:
        assert sorted(cluster.datastore["set-1/notes"]) == [f"{g}.txt" for g in good]
        made = cluster.datastore["set-1/L1"]
        xr.testing.assert_identical(made.sel(item=good).load(), raw.sel(item=good) * 2)
        assert bool(made["pixels"].sel(item=bad).isnull().all())
