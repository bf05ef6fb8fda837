"""Verifying what is stored, and saying where a damaged item came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ziggy_dask.datastore.repository import SNAPSHOTS
from ziggy_dask.datastore.verifying import Damage, Verified, products_at, verify_product
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError
from ziggy_dask.interface.states_at import When, snapshot_of
from ziggy_dask.records.catalogue import stored_digests
from ziggy_dask.records.deliveries import delivered_as

_MOST_FILES = 3


def verify(
    site: OpenCluster, paths: Sequence[str], at: When | None
) -> Iterator[Verified]:
    """Read all that is stored of some products, one after the other.

    Parameters
    ----------
    site
        The open cluster.
    paths
        The products; none: all.
    at
        As of when; None: now.

    Raises
    ------
    DatastoreError
        If one of them is not there; nothing is read then.
    """
    snapshot = site.repository.tip() if at is None else snapshot_of(site, at)
    there = products_at(site.repository, snapshot)
    wanted = [path.strip("/") for path in paths] or there
    for path in wanted:
        if path not in there:
            raise DatastoreError(
                f"the datastore has no product at '{path}'{suggestion(path, there)}"
            )
    files = _files_of(site, wanted, snapshot)
    names = sorted({name for some in files.values() for name in some})
    known = stored_digests(site.database, names)
    for path in wanted:
        digests = {name: known.get(name) for name in files[path]}
        yield verify_product(site.repository, path, snapshot, digests)


def _files_of(
    site: OpenCluster, paths: Sequence[str], snapshot: str
) -> dict[str, list[str]]:
    """Return the files that say where the chunks of products are, by product."""
    try:
        return site.repository.files_of(paths, snapshot)
    except (DatastoreError, ValueError):  # it is damaged, which is told by its digest
        return {path: [f"{SNAPSHOTS}/{snapshot}"] for path in paths}


def damage_text(site: OpenCluster, damage: Damage) -> str:
    """Return what is wrong on one line, with the file that was delivered, if one was."""
    found = []
    for item in damage.items[:_MOST_FILES]:
        for name, delivery in delivered_as(site.database, damage.path, item)[:1]:
            found.append(f"{name} of delivery {delivery}")
    came = f"; it came with {', '.join(found)}" if found else ""
    return f"{damage}{came}"
