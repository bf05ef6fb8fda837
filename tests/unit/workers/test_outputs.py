"""What an algorithm returned is told apart by name, or refused."""

from types import SimpleNamespace

import pytest
import xarray as xr

from ziggy_dask.datastore import FileItem, Storage
from ziggy_dask.definitions import ProductKind
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.errors import TaskError
from ziggy_dask.workers.outputs import Outputs
from ziggy_dask.workers.work import Sink


def sink(name, kind):
    return Sink(
        name=name.replace("-", "_"),
        data_type=name,
        path=name,
        kind=kind,
        storage=Storage(dimension="", chunk=1, chunks=(), compression="zstd"),
        allocation=None,
        pattern=FilePattern(deeper="", name=".+", patterns=()),
        reader="netcdf",
    )


ONE = xr.Dataset({"v": ("x", [1])})
BYTES = FileItem(name="x", data=b"1")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"made": {1: ONE, "1": ONE}}, "2 parts called '1', from 1 and '1'"),
        ({1: ONE, "1": ONE}, "2 parts called '1'"),
        ({"two-files": {"a": BYTES, "b": BYTES}}, "2 parts called 'x'"),
        ({"two-files": BYTES, "two_files": BYTES}, "2 parts called 'two_files'"),
        (
            {"whole": xr.DataArray([1], dims="x", coords={"whole": 3})},
            "would be called 'whole', as one of its coordinates is",
        ),
    ],
)
def test_what_would_have_one_name_is_refused(returned, words):
    sinks = (
        sink("made", ProductKind.COLLECTION),
        sink("two-files", ProductKind.FILE),
        sink("whole", ProductKind.ARRAY),
    )
    sinks = sinks if next(iter(returned)) != 1 else sinks[:1]
    outputs = Outputs(SimpleNamespace(sinks=sinks, labels=None))
    with pytest.raises(TaskError) as caught:
        outputs.check(0, returned, {})
    assert words in str(caught.value)
