"""A first mission: a directory with data, algorithm, pipeline, cluster and test."""

from __future__ import annotations

import os
import re
import runpy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ziggy_dask.definitions.names import is_identifier, suggestion
from ziggy_dask.errors import DefinitionError

if TYPE_CHECKING:
    from ziggy_dask.interface.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKind:
    """A sort of data that a mission can begin with."""

    name: str
    """As users choose it; also the directory of its files here."""
    files: str
    """What one calls its files."""
    place: str
    """Directory of the files in a delivery."""
    package: str = ""
    """Package that reads them, of the extra that is called as they are; empty: none."""


KINDS = {
    one.name: one
    for one in (
        DataKind(name="images", files="PNG images", place="frames"),
        DataKind(name="tables", files="CSV files", place="series"),
        DataKind(name="netcdf", files="NetCDF files", place="granules"),
        DataKind(name="fits", files="FITS files", place="exposures", package="astropy"),
    )
}
"""The sorts of data by name; the first is the default."""

POINTER = ".ziggy/cluster"
"""File that remembers, in a directory, the cluster that commands there work on."""
_COMMON = {
    "README.md": "README.md",
    "cluster.yaml": "cluster.yaml",
    "gitignore": ".gitignore",
    "pytest.ini": "pytest.ini",
}
_OF_KIND = {
    "pipeline.yaml": "pipeline/pipeline.yaml",
    "algorithms.py.txt": "pipeline/algorithms.py",
    "make_data.py.txt": "make_data.py",
    "test_pipeline.py.txt": "tests/test_pipeline.py",
}


def mission_name(directory: Path) -> str:
    """Return the name that a mission in a directory gets if nobody names it.

    Examples
    --------
    >>> mission_name(Path("/home/ada/My Mission"))
    'my-mission'
    """
    words = re.findall(r"[a-z0-9]+", directory.resolve().name.lower())
    return "-".join(words) or "mission"


def create_mission(
    directory: str | os.PathLike[str],
    *,
    name: str = "",
    data: str = "images",
    unit: str = "night",
) -> Cluster:
    """Make a mission that works: files, simulated data, cluster, registered pipeline.

    The data are taken in; ``cluster.run(name)`` is all that is left to do.

    Parameters
    ----------
    directory
        Where; made if need be. Nothing but hidden files may be in it.
    name
        Name of the pipeline and the cluster; by default that of the directory.
    data
        What its files are: ``"images"``, ``"tables"``, ``"netcdf"`` or ``"fits"``.
    unit
        What a group of files is called that are processed together.

    Returns
    -------
    Cluster
        The new cluster.

    Raises
    ------
    DefinitionError
        If a name can't be one, the directory has something in it, or what reads such
        files is not installed; nothing is made.
    """
    from ziggy_dask.interface.cluster import create_cluster

    place = Path(directory)
    chosen = name or mission_name(place)
    require_empty(place)
    _require_names(chosen, data, unit)
    for file, text in _written(chosen, KINDS[data], unit).items():
        path = place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    runpy.run_path(str(place / "make_data.py"))["make_data"](place / "data")
    cluster = create_cluster(place / "cluster.yaml")
    cluster.register(place / "pipeline")
    cluster.receive(place / "data", needs_manifest=False)
    return cluster


def require_empty(directory: Path) -> None:
    """Refuse a place where a mission would get mixed with something else.

    Raises
    ------
    DefinitionError
        If it is not a directory, or has files other than hidden ones.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DefinitionError(f"{directory}: is not a directory; choose another name")
    found = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    if found:
        raise DefinitionError(
            f"{directory}: has {found[0]!r} in it; a mission wants an empty directory"
        )


def _require_names(name: str, data: str, unit: str) -> None:
    if not re.fullmatch(r"[\w-]{1,100}", name):
        raise DefinitionError(
            f"{name!r} can't name a mission; letters, digits, '-' and '_' can"
        )
    if data not in KINDS:
        raise DefinitionError(f"there are no data {data!r}{suggestion(data, KINDS)}")
    package = KINDS[data].package
    if package and find_spec(package) is None:
        raise DefinitionError(
            f"{KINDS[data].files} are read by {package}, which is not installed; "
            f"install it with: pip install 'ziggy-dask[{data}]'"
        )
    taken = {"pixels", "frame", "series", "granule", "exposure", "level", "summary"}
    if not is_identifier(unit) or unit in taken:
        raise DefinitionError(
            f"{unit!r} can't name a group of files; use one word of letters, "
            "such as night, orbit or campaign"
        )


def _written(name: str, kind: DataKind, unit: str) -> dict[str, str]:
    """Return the text of every file of a mission by its path."""
    from importlib.resources import files

    words = {"name": name, "unit": unit, "files": kind.files, "place": kind.place}
    shelf = files("ziggy_dask.interface") / "missions"
    sources = {
        **{path: shelf / file for file, path in _COMMON.items()},
        **{path: shelf / kind.name / file for file, path in _OF_KIND.items()},
    }
    texts = {
        path: Template(source.read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }
    return texts | {POINTER: "cluster.yaml\n"}
