"""Mutated files and messages: each is taken, or refused in words. For long by hand::

    python -m tests.fuzz 10000            # of every kind; a seed may follow
    python -m tests.fuzz 1 7:193 netcdf   # the input 193 of seed 7 again

Children read them, so that a crash, a hang of ten seconds or a memory of gigabytes is a find
like any other: it is printed, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from ziggy_dask.datastore.readers.apart import open_apart
from ziggy_dask.definitions import read_cluster, read_pipeline
from ziggy_dask.errors import ZiggyError
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.page.panels import panels
from ziggy_dask.interface.page.view import View, changed
from ziggy_dask.receipt.delivery import manifest_path, validate
from ziggy_dask.receipt.manifest import generate_manifest, write_manifest
from ziggy_dask.receipt.reading import read_manifest
from ziggy_dask.receipt.sorting import sort_files
from ziggy_dask.records.restore import checked_backup

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "corpus"
LIMIT_S = 10
MEMORY_BYTES = 3 << 30
"""So much more than at its beginning may a child have."""
CHUNK = 200
TOKENS = [
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[2J", b"\r", b"\t"),
    *(
        b"../",
        b"/",
        b"~",
        b"$HOME",
        b"{",
        b"}",
        b"[",
        b"]",
        b"&a ",
        b"*a",
        b"!!binary ",
    ),
    *(
        b"9" * 5000,
        b"-1",
        b"1e999",
        b"nan",
        b"0x",
        b"null",
        b"true",
        b"''",
        b": ",
        b"- ",
    ),
    *(
        b"<!DOCTYPE a>",
        b"&lt;",
        b"<file/>",
        b'"',
        b"NaN",
        b"Infinity",
        b"(a+)+b",
        b"\n",
    ),
]
"""What is put in somewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of input."""

    samples: list[bytes]
    """Sound ones."""
    take: Callable[[Path], object]
    """Takes a file of it."""
    suffix: str
    """What its name ends with."""
    refusals: tuple[type[Exception], ...] = (ZiggyError,)
    """What it may be refused with."""


def mutated(samples: list[bytes], rng: random.Random) -> bytes:
    """Return a sample with a few things wrong."""
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 8, 64, 1024)))
        do = rng.randrange(8)
        if do == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif do == 1:
            del data[at:end]
        elif do == 2:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        elif do == 3:
            data[at:at] = rng.choice(TOKENS)
        elif do == 4:
            data[at:end] = rng.choice(TOKENS)
        elif do == 5:
            data[at:end] = rng.randbytes(end - at)
        elif do == 6:
            other = rng.choice(samples)
            there = rng.randrange(len(other) + 1)
            data[at:end] = other[there : there + end - at]
        elif rng.randrange(4) == 0:
            del data[at:]
    return bytes(data)


def kinds(place: Path) -> dict[str, Kind]:
    """Return all kinds, with samples that are made in a directory."""
    cluster = create_cluster(_write(place / "c.yaml", "cluster: c\nhome: ./home\n"))
    cluster.backup(place / "backup.db")
    sample = read_pipeline(ROOT / "pipelines" / "sample")
    delivery = place / "delivery"
    (delivery / "set-1" / "L0").mkdir(parents=True)
    for name in ("nasa-0.png", "nasa-1.png"):
        (delivery / "set-1" / "L0" / name).write_bytes(b"abc")
    write_manifest(
        generate_manifest(delivery, dataset_id=1), delivery / "a-manifest.xml"
    )

    def take_delivery(path: Path) -> None:
        shutil.copyfile(path, delivery / "a-manifest.xml")
        found = manifest_path(delivery)
        assert found is not None
        manifest = read_manifest(found)
        validate(delivery, manifest)
        sort_files(sample, [one.name for one in manifest.files])

    def take_message(path: Path) -> None:
        database = cluster._site.database
        view = changed(View(), json.loads(path.read_text(encoding="utf-8")))
        panels(database, view, may_act=True)

    def take_backup(path: Path) -> None:
        with checked_backup(path):
            pass

    def reads(reader: str) -> Callable[[Path], object]:
        def take(path: Path) -> None:
            with open_apart(reader, path) as reading:
                reading.load()

        return take

    texts = (ROOT / "pipelines").glob("*/pipeline.yaml")
    message = (ValueError, KeyError, TypeError, IndexError, AttributeError, ZiggyError)
    asks = [("instance", "1"), ("sort", "failed"), ("doing", "failed"), ("page", "3")]
    asks += [("at", "17.5"), ("log", "1"), ("place", "set-1/L0"), ("text", "set")]
    return {
        "pipeline": Kind(
            samples=[one.read_bytes() for one in (*texts, *_of(CORPUS, "pipelines"))],
            take=read_pipeline,
            suffix=".yaml",
        ),
        "cluster": Kind(
            samples=[
                one.read_bytes()
                for one in (*_of(ROOT, "clusters"), *_of(CORPUS, "clusters"))
            ],
            take=read_cluster,
            suffix=".yaml",
        ),
        "manifest": Kind(
            samples=[one.read_bytes() for one in (CORPUS / "manifests").glob("*.xml")],
            take=read_manifest,
            suffix=".xml",
        ),
        "delivery": Kind(
            samples=[(delivery / "a-manifest.xml").read_bytes()],
            take=take_delivery,
            suffix=".xml",
        ),
        "message": Kind(
            samples=[json.dumps({"do": do, "value": to}).encode() for do, to in asks],
            take=take_message,
            suffix=".json",
            refusals=message,
        ),
        "backup": Kind(
            samples=[(place / "backup.db").read_bytes()], take=take_backup, suffix=".db"
        ),
        "netcdf": Kind(samples=_netcdf(place), take=reads("netcdf"), suffix=".nc"),
        "fits": Kind(samples=_fits(), take=reads("fits"), suffix=".fits"),
        "png": Kind(samples=_pngs(), take=reads("image"), suffix=".png"),
        "tiff": Kind(samples=_tiffs(), take=reads("image"), suffix=".tif"),
        "geotiff": Kind(samples=_tiffs(), take=reads("geotiff"), suffix=".tif"),
        "gif": Kind(samples=_films(), take=reads("image"), suffix=".gif"),
        "zarr": Kind(samples=_zarrs(place), take=reads("zarr"), suffix=".zip"),
        "parquet": Kind(samples=_parquets(), take=reads("parquet"), suffix=".parquet"),
        "ecsv": Kind(samples=_ecsvs(), take=reads("ecsv"), suffix=".ecsv"),
        "csv": Kind(samples=_tables(), take=reads("csv"), suffix=".csv"),
        "csv.gz": Kind(
            samples=[gzip.compress(one) for one in _tables()],
            take=reads("csv"),
            suffix=".csv.gz",
        ),
    }


def finds(count: int, seed: str, only: str = "") -> Iterator[str]:
    """Yield what went wrong with so many inputs of each kind."""
    seed, _, first = seed.partition(":")
    with tempfile.TemporaryDirectory(prefix="ziggy-fuzz-") as place:
        known = kinds(Path(place))
        if only and only not in known:
            raise SystemExit(
                f"no kind is called {only!r}; there are: {', '.join(known)}"
            )
        for name, kind in known.items():
            if only in ("", name):
                begin = int(first or 0)
                yield from _of_kind(
                    name, kind, seed, range(begin, begin + count), place
                )


def _of_kind(
    name: str, kind: Kind, seed: str, numbers: range, place: str
) -> Iterator[str]:
    progress = Path(place) / "progress"
    told = Path(place) / "told"
    at = numbers.start
    while at < numbers.stop:
        told.write_text("")
        child = os.fork()
        if child == 0:
            _as_child(name, kind, seed, range(at, min(at + CHUNK, numbers.stop)), place)
        _, status = os.waitpid(child, 0)
        yield from told.read_text(errors="replace").split("\0")[:-1]
        at = int(progress.read_text()) + 1
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            how = "a hang" if number == signal.SIGALRM else signal.Signals(number).name
            yield f"{name} {seed}:{at - 1}: {how}"


def _as_child(name: str, kind: Kind, seed: str, numbers: range, place: str) -> None:
    """Take inputs; whatever happens, the process ends here."""
    grown = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    )
    resource.setrlimit(resource.RLIMIT_AS, (grown + MEMORY_BYTES,) * 2)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in numbers:
        Path(place, "progress").write_text(str(number))
        path = Path(place) / f"input{kind.suffix}"
        path.write_bytes(
            mutated(kind.samples, random.Random(f"{seed}-{name}-{number}"))
        )
        signal.alarm(LIMIT_S)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                kind.take(path)
        except kind.refusals:
            pass
        except BaseException:  # noqa: BLE001 -- anything else is a find
            with Path(place, "told").open("a") as stream:
                stream.write(f"{name} {seed}:{number}: {traceback.format_exc()}\0")
        signal.alarm(0)
    os._exit(0)


def _of(root: Path, directory: str) -> list[Path]:
    return sorted((root / directory).glob("*.yaml"))


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _netcdf(place: Path) -> list[bytes]:
    dataset = xr.Dataset(
        {"flux": (("time", "x"), np.arange(60.0).reshape(20, 3), {"units": "Jy"})},
        coords={"time": np.arange(20)},
        attrs={"title": "sample"},
    )
    dataset.to_netcdf(place / "4.nc", engine="h5netcdf")
    dataset.to_netcdf(
        place / "z.nc", engine="h5netcdf", encoding={"flux": {"zlib": True}}
    )
    dataset.to_netcdf(place / "3.nc", engine="scipy")
    return [(place / name).read_bytes() for name in ("4.nc", "z.nc", "3.nc")]


def _fits() -> list[bytes]:
    from astropy.io import fits

    table = fits.BinTableHDU.from_columns(
        [fits.Column("TIME", "D", array=np.arange(5.0))], name="LC"
    )
    parts = fits.HDUList([fits.PrimaryHDU(np.arange(12.0).reshape(3, 4)), table])
    stream = io.BytesIO()
    parts.writeto(stream, checksum=True)
    plain = io.BytesIO()
    parts.writeto(plain)
    return [stream.getvalue(), plain.getvalue()]


def _pngs() -> list[bytes]:
    found = []
    for mode in ("L", "RGB", "I;16"):
        stream = io.BytesIO()
        Image.new(mode, (8, 8)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found


def _tiffs() -> list[bytes]:
    import tifffile

    found = []
    for options in ({}, {"compression": "zlib"}, {"tile": (16, 16)}):
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.arange(256, dtype="u2").reshape(16, 16), **options)
        found.append(stream.getvalue())
    return found


def _films() -> list[bytes]:
    stream = io.BytesIO()
    frames = [Image.new("P", (8, 8), number) for number in range(3)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return [stream.getvalue()]


def _zarrs(place: Path) -> list[bytes]:
    dataset = xr.Dataset({"v": ("x", np.arange(6.0)), "t": ("x", list("abcdef"))})
    found = []
    for version in (2, 3):
        top = place / f"zarr-{version}"
        dataset.to_zarr(top / "a.zarr", zarr_format=version, consolidated=False)
        for name, method in (("plain", 0), ("packed", zipfile.ZIP_DEFLATED)):
            path = place / f"{name}-{version}.zip"
            with zipfile.ZipFile(path, "w", method) as archive:
                for one in sorted(top.rglob("*")):
                    archive.write(one, one.relative_to(top))
            found.append(path.read_bytes())
    return found


def _parquets() -> list[bytes]:
    table = pd.DataFrame({"n": [1, 2, 3], "t": ["a", None, "c"], "f": [0.5, 1.5, None]})
    return [table.to_parquet(), table.set_index("n").to_parquet(compression="gzip")]


def _ecsvs() -> list[bytes]:
    return [
        (
            b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: id, datatype: int64}\n"
            b"# - {name: flux, unit: Jy, datatype: float64}\n# meta: {survey: ours}\n"
            b'# schema: astropy-2.0\nid flux\n1 1.5\n2 ""\n'
        )
    ]


def _tables() -> list[bytes]:
    return [
        b"time,flux\n0,1.5\n1,2.5\n2,\n",
        b"# x\n2020-01-01T00:00:00,1\n",
        b"0,1,2\n",
    ]


def main() -> None:
    """Look for finds by hand."""
    given = sys.argv[1:]
    count, seed, only = [*given, *["", "1", ""][len(given) :]]
    number = 0
    for one in finds(int(count), seed, only):
        number += 1
        print(one, flush=True)
    print(f"{number} finds in {count} inputs of each kind, seed {seed}")


if __name__ == "__main__":
    main()
