"""Products as a static STAC catalogue: one item each, for programs that search archives.

https://stacspec.org, version 1.1. Places on the sky or on the ground are not known, so items have
no geometry; their time is that of the publication.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from ziggy_dask.datastore import Datastore
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError, RecordsError
from ziggy_dask.interface.archive.files import require_new, time_text, write_json
from ziggy_dask.interface.states_at import When, number_at, snapshot_of
from ziggy_dask.records.versions import Version, as_of, read_versions

_STAC = "1.1.0"
_FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_CATALOG = "catalog.json"
_ITEMS = "items"
_DATA = "data"
_SHA256 = "1220"
"""What a SHA-256 begins with as a multihash."""
_MEDIA_TYPES = {".nc": "application/x-netcdf", ".fits": "application/fits"}


def export_stac(
    site: OpenCluster,
    directory: Path,
    paths: Iterable[str] = (),
    *,
    at: When | None = None,
    with_data: bool = False,
) -> Path:
    """Write a static STAC catalogue of products into a directory that is not there yet.

    Parameters
    ----------
    site
        The open cluster.
    directory
        Where to.
    paths
        Which products; none: all.
    at
        Instance, tag, date or snapshot; None: now.
    with_data
        Whether to write the products as well; then assets are these files, not the
        datastore.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    ClusterError
        If something is there already.
    DatastoreError, RecordsError
        If there is no such product or state.
    ExportError
        If a product can't be written.
    """
    require_new(directory)
    snapshot = site.repository.tip() if at is None else snapshot_of(site, at)
    store = Datastore(site.repository, snapshot)
    versions = _versions(site, store, list(paths), number_at(site, snapshot))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".stac-", dir=directory.parent) as place:
        made = Path(place) / "catalogue"
        files: Mapping[str, list[Path]] = {}
        if with_data:
            files = {p: store.export(made / _DATA, [p]) for p in versions}
        for path, version in versions.items():
            item = made / _item_file(path)
            assets = (
                {one.name: _file_asset(one, item) for one in files[path]}
                if with_data
                else {"product": _product_asset(site, path, snapshot)}
            )
            write_json(item, _item(path, version, assets, has_files=with_data))
        write_json(made / _CATALOG, _catalog(site.cluster.name, snapshot, versions))
        made.replace(directory)
    return directory


def _versions(
    site: OpenCluster, store: Datastore, paths: list[str], number: int
) -> dict[str, Version]:
    """Return the versions of products that a publication has, by path."""
    there = list(store)
    wanted = [path.strip("/") for path in paths] or there
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise DatastoreError(
            f"no product {missing[0]!r} in the datastore; ziggy datastore ls lists them"
        )
    with site.database.reading() as connection:
        known = read_versions(connection, wanted)
    found: dict[str, Version] = {}
    for path in wanted:
        version = as_of(known[path], number)
        if version is None:
            raise RecordsError(
                f"product {path!r} is not in the catalogue of the datastore; bring that "
                f"up to date: ziggy cluster init {site.cluster.path}"
            )
        found[path] = version
    return found


def _catalog(name: str, snapshot: str, versions: Iterable[str]) -> dict[str, Any]:
    root = {"rel": "root", "href": f"./{_CATALOG}", "type": "application/json"}
    items = [
        {
            "rel": "item",
            "href": f"./{quote(_item_file(path).as_posix())}",
            "type": "application/geo+json",
            "title": path,
        }
        for path in versions
    ]
    return {
        "type": "Catalog",
        "stac_version": _STAC,
        "id": name,
        "description": f"Products of cluster {name} at snapshot {snapshot}",
        "links": [root, *items],
    }


def _item(
    path: str, version: Version, assets: Mapping[str, Any], *, has_files: bool
) -> dict[str, Any]:
    assert version.time is not None  # a publication has one
    up = "../" * (len(_item_file(path).parts) - 1)
    above = {"href": f"{up}{_CATALOG}", "type": "application/json"}
    origin = {
        "version": version.number,
        "snapshot": version.snapshot,
        "kind": version.kind,
        "instance": version.instance,
        "task": version.task,
        "pipeline": version.pipeline,
        "node": version.node,
        "unit": version.unit,
    }
    said = {f"ziggy:{k}": v for k, v in origin.items() if v not in (None, "")}
    return {
        "type": "Feature",
        "stac_version": _STAC,
        "stac_extensions": [_FILE_EXTENSION] if has_files else [],
        "id": path,
        "geometry": None,
        "properties": {"datetime": time_text(version.time), "title": path, **said},
        "links": [{"rel": "root", **above}, {"rel": "parent", **above}],
        "assets": assets,
    }


def _product_asset(site: OpenCluster, path: str, snapshot: str) -> dict[str, Any]:
    """Return where a product lies in the datastore."""
    url = site.repository.url
    place = url if urlsplit(url).scheme else Path(url).absolute().as_uri()
    return {
        "href": place,
        "type": "application/vnd+icechunk",
        "roles": ["data"],
        "description": "Icechunk repository; the group of this product at this snapshot",
        "icechunk:snapshot_id": site.repository.held(path, snapshot).snapshot,
        "zarr:group": path,
    }


def _file_asset(file: Path, item: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    kind = _MEDIA_TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0]
    return {
        "href": quote(Path(os.path.relpath(file, item.parent)).as_posix()),
        "type": kind or "application/octet-stream",
        "roles": ["data"],
        "file:size": file.stat().st_size,
        "file:checksum": _SHA256 + digest,
    }


def _item_file(path: str) -> PurePosixPath:
    return PurePosixPath(_ITEMS, path, "item.json")
