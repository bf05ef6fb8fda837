"""Files that end the process that reads them end a process that does nothing else."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.unit.datastore.plugin import install_readers
from ziggy_dask.datastore.readers import apart, open_file
from ziggy_dask.datastore.readers.apart import open_apart
from ziggy_dask.errors import DefinitionError, DeliveryError

MANY = 300_000
"""Values of a variable that is not sent at once."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_readers(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def readers(installed, monkeypatch):
    monkeypatch.syspath_prepend(installed)


@pytest.fixture
def little(monkeypatch):
    """Little memory, and little time."""
    monkeypatch.setattr(apart, "room_bytes", lambda: 0)
    monkeypatch.setattr(apart, "LEAST_BYTES", 300 << 20)
    monkeypatch.setattr(apart, "LIMIT_S", 10.0)


def dataset(count: int) -> xr.Dataset:
    rng = np.random.default_rng(count)
    noted = {"units": "Jy", "_FillValue": -1.0}
    return xr.Dataset(
        {
            "second": (("x", "y"), rng.normal(size=(count, 2)), {"long_name": "ü"}),
            "flux": ("x", rng.normal(size=count), {}, noted),
            "few": ("y", np.array([1, 2], "i2")),
            "text": ("x", np.array(["a", "ñ", ""] * (count // 3), object)),
            "one": ((), 5),
        },
        coords={
            "x": np.arange(count),
            "when": ("x", pd.date_range("2020", periods=count, freq="s")),
        },
        attrs={"title": "sample", "levels": [1, 2]},
    )


def netcdf(path: Path) -> tuple[str, dict[str, str]]:
    dataset(MANY).to_netcdf(path, engine="h5netcdf", unlimited_dims=["x"])
    return "netcdf", {}


def small_netcdf(path: Path) -> tuple[str, dict[str, str]]:
    dataset(3).to_netcdf(path, engine="scipy")
    return "netcdf", {}


def tree(path: Path) -> tuple[str, dict[str, str]]:
    parts = {"/e": dataset(3), "/a/b": dataset(MANY), "/c": xr.Dataset(attrs={"d": 1})}
    xr.DataTree.from_dict(parts).to_netcdf(path, engine="h5netcdf")
    return "netcdf", {"groups": "all"}


def parquet(path: Path) -> tuple[str, dict[str, str]]:
    numbers = pd.array([1, None, 2**60 + 1] * (MANY // 3), "Int64")
    pd.DataFrame({"id": numbers, "flux": np.arange(MANY) / 7}).to_parquet(path)
    return "parquet", {}


def dask_backed(path: Path) -> tuple[str, dict[str, str]]:
    path.write_text("")
    return "lazy", {}


@pytest.mark.parametrize("make", [netcdf, small_netcdf, tree, parquet, dask_backed])
def test_a_file_is_read_as_it_is_without(tmp_path, readers, make):
    path = tmp_path / "a"
    reader, options = make(path)
    descriptor = os.open(path, os.O_RDONLY)
    with (
        open_file(reader, path, options) as expected,
        open_apart(reader, path, options, descriptor) as found,
    ):
        assert found.warnings == expected.warnings
        for one, other in zip(nodes(found), nodes(expected), strict=True):
            assert list(one.variables) == list(other.variables)
            assert list(one.coords) == list(other.coords)
            assert one.encoding.keys() == other.encoding.keys()
            for name, variable in one.variables.items():
                assert variable.dtype == other.variables[name].dtype
                assert variable.encoding.keys() >= other.variables[
                    name
                ].encoding.keys() - {"source"}
            xr.testing.assert_identical(one, other)
            cut = {"x": slice(5, None, 3), "y": [1]} if "y" in one.sizes else {}
            cut = {dim: at for dim, at in cut.items() if dim in one.sizes}
            xr.testing.assert_identical(one.isel(cut).load(), other.isel(cut).load())
    os.close(descriptor)


def nodes(reading) -> list[xr.Dataset]:
    content = reading.content
    if isinstance(content, xr.Dataset):
        return [content]
    return [one.to_dataset(inherit=False) for one in content.subtree]


def test_large_values_stay_there_until_they_are_asked_for(tmp_path):
    netcdf(tmp_path / "a")
    with open_apart("netcdf", tmp_path / "a") as reading:
        lazy = [n for n, v in reading.content.variables.items() if not v._in_memory]
    assert lazy == ["second", "flux", "text", "when"]


# Files that end the process


def virtual_of_itself(path):
    with h5py.File(path, "w", libver="latest") as file:
        layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
        layout[:] = h5py.VirtualSource(".", "flux", shape=(10,))
        file.create_virtual_dataset("flux", layout)
    return "netcdf"


def chunk_that_expands_twice(path):
    inner = zlib.compress(zlib.compress(b"\0" * (1 << 29), 9), 9)
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4,))
        made.set_deflate(9)
        made.set_deflate(9)
        space = h5py.h5s.create_simple((4,))
        flux = h5py.h5d.create(file.id, b"flux", h5py.h5t.NATIVE_DOUBLE, space, made)
        flux.write_direct_chunk((0,), inner, 0)
    return "netcdf"


def metadata_that_expand(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zarr.json", "w", force_zip64=True) as stream,
    ):
        for _ in range(60):
            stream.write(b" " * (8 << 20))
    return "zarr"


def a_chunk_that_expands(path):
    xr.Dataset({"v": ("x", [1.0, 2.0])}).to_zarr(
        path.with_name("z"), consolidated=False
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in path.with_name("z").rglob("*"):
            name = one.relative_to(path.with_name("z")).as_posix()
            if one.is_file() and not name.startswith("v/c/"):
                archive.write(one, name)
        with archive.open("v/c/0", "w", force_zip64=True) as stream:
            for _ in range(60):
                stream.write(b"\0" * (8 << 20))
    return "zarr"


def frames_of_a_film(path):
    from PIL import Image

    frames = [Image.new("P", (6000, 6000), n) for n in range(12)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    return "image"


def table_of_one_value(path):
    pd.DataFrame({"a": np.zeros(10_000_000), "b": 1.0}).to_parquet(path)
    return "parquet"


def does(what):
    def make(path):
        path.write_text(what)
        return "does"

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (virtual_of_itself, "crashed the process that read it (SIGSEGV)"),
        (chunk_that_expands_twice, ""),
        (metadata_that_expand, "memory"),
        (a_chunk_that_expands, "memory"),
        (frames_of_a_film, "memory"),
        (table_of_one_value, ""),
        (does("x = bytearray(2**40)"), "of memory to be read"),
        (does("while True: pass"), "takes longer than 10 s to be read"),
        (
            does("os.kill(os.getpid(), signal.SIGKILL)"),
            "read twice by a process that was killed",
        ),
        (does("os.kill(os.getpid(), signal.SIGBUS)"), "(SIGBUS)"),
        (does("os._exit(3)"), "(exit code 3)"),
        (does("raise SystemExit(0)"), "(exit code 0)"),
    ],
)
def test_a_file_that_ends_the_process_is_refused_by_name(
    tmp_path, readers, little, make, words, monkeypatch
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    apart._end_the_last()
    path = tmp_path / "file"
    reader = make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        pytest.raises(DeliveryError) as caught,
        open_apart(reader, path) as reading,
    ):
        reading.load()
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 100_000_000
    does("")(path)
    with open_apart("does", path) as reading:  # the next one is read as ever
        assert reading.content["v"].values.tolist() == [0, 1, 2]
    assert len(list((tmp_path / "tmp").iterdir())) == 1  # that of the last process
    apart._end_the_last()
    assert not list((tmp_path / "tmp").iterdir())


def killed():
    apart._process.child.kill()
    apart._process.child.wait()


@pytest.mark.parametrize("moment", ["before", "open", "read"])
def test_a_file_is_read_again_when_somebody_killed_the_process(tmp_path, moment):
    path = tmp_path / "a.nc"
    whole = dataset(MANY)
    whole.drop_vars("text").to_netcdf(path, engine="h5netcdf")
    apart._started()
    if moment == "before":
        killed()
    with open_file_apart(path) as reading:
        if moment == "open":
            killed()
        assert reading.content["flux"].equals(whole["flux"])
        if moment == "read":
            killed()


def test_a_file_is_not_read_for_ever_while_somebody_kills_the_process(tmp_path):
    path = tmp_path / "a.nc"
    dataset(MANY).drop_vars("text").to_netcdf(path, engine="h5netcdf")

    def read():
        with open_file_apart(path) as reading:
            killed()
            reading.content["flux"].load()
            killed()
            reading.content["second"].load()

    with pytest.raises(DeliveryError, match="read twice by a process that was killed"):
        read()


@contextmanager
def open_file_apart(path):
    """Open a file as receipt does, with its descriptor."""
    with (
        path.open("rb") as stream,
        open_apart("netcdf", path, (), stream.fileno()) as reading,
    ):
        yield reading


def test_a_file_that_is_cut_while_it_is_read_harms_nobody(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"v": ("x", np.arange(1e6))}).to_netcdf(path, engine="scipy")
    with pytest.raises(DeliveryError, match=r"a\.nc"):
        cut_and_load(path)


def cut_and_load(path):
    with open_apart("netcdf", path) as reading:
        os.truncate(path, 100)
        reading.load()


def test_errors_and_warnings_are_those_of_the_reader(tmp_path, readers):
    path = tmp_path / "file"
    does("raise ValueError('it is cloudy')")(path)
    with pytest.raises(DeliveryError) as caught, open_apart("does", path):
        pass
    assert type(caught.value) is DeliveryError
    assert str(caught.value) == (
        f"{path}: the reader 'does' can't read it: ValueError: it is cloudy"
    )
    with (
        pytest.raises(DefinitionError, match="no reader is called"),
        open_apart("none", path),
    ):
        pass
    does("import warnings; warnings.warn('it is windy')")(path)
    with pytest.warns(UserWarning, match="it is windy"), open_apart("does", path):
        pass


def test_a_file_that_is_changed_while_it_is_read_is_refused(tmp_path, readers):
    path = tmp_path / "file"
    does("")(path)
    with (
        pytest.raises(DeliveryError, match="was changed while"),
        open_apart("does", path),
    ):
        path.write_text("\n")


def test_an_interruption_leaves_no_answer_to_another_question(tmp_path, readers):
    path = tmp_path / "file"
    does("while True: pass")(path)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(KeyboardInterrupt), open_apart("does", path):
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    does("")(path)
    with open_apart("does", path) as reading:
        assert reading.content["v"].values.tolist() == [0, 1, 2]


def test_it_ends_with_who_started_it(tmp_path, installed):
    path = tmp_path / "file"
    does("")(path)
    program = f"""
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {installed!r})
    from ziggy_dask.datastore.readers import apart
    with apart.open_apart("does", Path({str(path)!r})):
        print(apart._process.child.pid, flush=True)
        sys.stdin.read()
    """
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        child = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
    with closing(child):
        select_readable(child)
    assert not list((tmp_path / "tmp").iterdir())


@contextmanager
def closing(descriptor):
    try:
        yield
    finally:
        os.close(descriptor)


def select_readable(descriptor):
    """Wait until the process of a descriptor has ended."""
    import select

    assert select.select([descriptor], [], [], 60)[0]
