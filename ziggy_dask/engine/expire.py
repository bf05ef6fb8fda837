"""Removing products, and giving up the versions that no rule keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import zarr

from ziggy_dask.datastore.digests import CHANGED, digests_of
from ziggy_dask.datastore.manifests import chunks_in
from ziggy_dask.datastore.repository import CHUNKS, MANIFESTS, SNAPSHOTS
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.definitions.retention import Retention
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError, DefinitionError
from ziggy_dask.records import expiry, library
from ziggy_dask.records.catalogue import (
    catch_up,
    newest_number,
    snapshots_of_trees,
    stored_digests,
)
from ziggy_dask.records.expiry import REMOVED, Published, Stored
from ziggy_dask.records.removal import in_use

MARGIN = timedelta(hours=1)
"""So far may clocks differ, and so long may somebody still read what was the newest state."""
NOBODY = "of nobody"
"""Stands for the data type of chunks that no publication refers to, such as those of a worker
that was killed."""
HISTORY = "history"
"""Stands for the data type of snapshots, manifests and logs of transactions."""

_LOGS = "transactions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Which publications expire, and what that frees."""

    expired: tuple[Published, ...] = ()
    """The publications."""
    kept: tuple[Published, ...] = ()
    """Those that stay."""
    cutoff: datetime
    """What was written later stays until the next time."""
    bytes: Mapping[str, int] | None = None
    """What is freed by data type, in bytes; None: not known, in an object store."""
    later: int = 0
    """What the next time frees, since it was written after the cutoff, in bytes."""
    freed: int | None = None
    """What was freed, in bytes; None: nothing was done."""


def remove_products(
    site: OpenCluster, paths: Sequence[str], *, is_dry: bool = False
) -> list[str]:
    """Remove products from the newest state; for whoever is in charge.

    What was before can be read as of then, until it expires.

    Parameters
    ----------
    site
        The open cluster.
    paths
        The products.
    is_dry
        Whether only to look.

    Returns
    -------
    list
        Their paths.

    Raises
    ------
    DatastoreError
        If one of them is not there, or work that has not ended reads or makes it; nothing is
        changed then.
    """
    there = site.repository.paths()
    wanted = list(dict.fromkeys(path.strip("/") for path in paths))
    for path in wanted:
        if path not in there:
            raise DatastoreError(
                f"the datastore has no product at '{path}'{suggestion(path, there)}"
            )
        below = [one for one in there if one.startswith(f"{path}/")]
        if others := sorted(set(below) - set(wanted)):
            raise DatastoreError(
                f"below '{path}' lies another product, '{others[0]}'; name it, too"
            )
        if users := in_use(site.database, path):
            raise DatastoreError(
                f"'{path}' is read or made by task {users[0]}, which has not ended; "
                "wait for it, or halt it first"
            )
    if is_dry or not wanted:
        return wanted
    with site.writing:
        writing = site.repository.writing()
        for path in sorted(wanted, reverse=True):
            del zarr.open_group(writing.session(path).store, mode="a")[path]
        message = f"Remove {', '.join(wanted)}"
        site.repository.finish_writing(writing, message, {REMOVED: wanted})
        catch_up(site.database, site.repository)
    return wanted


def plan_expiry(site: OpenCluster, margin: timedelta = MARGIN) -> Expiry:
    """Return what expires now, and what that frees.

    Parameters
    ----------
    site
        The open cluster.
    margin
        See `MARGIN`.

    Raises
    ------
    DefinitionError
        If the cluster file has a rule for a data type that there is not.
    DatastoreError
        If the datastore can't be read.
    """
    now = datetime.now(UTC)
    found = expiry.stored(site.database)
    expired = expiry.to_expire(found, _rules(site, found), now, margin)
    gone = {one.number for one in expired}
    plan = Expiry(
        expired=tuple(expired),
        kept=tuple(one for one in found.publications if one.number not in gone),
        cutoff=min(now, found.began or now) - margin,
    )
    if urlsplit(site.repository.url).scheme:
        return plan
    sizes, later = _freed(site, plan)
    return replace(plan, bytes=sizes, later=later)


def expire(site: OpenCluster, margin: timedelta = MARGIN) -> Expiry:
    """Give up what no rule keeps; for whoever is in charge.

    Raises
    ------
    DefinitionError, DatastoreError
        As by `plan_expiry`; and if a snapshot that stays is damaged. Nothing expires then.
    RecordsError
        If a tag was given meanwhile to a state that was about to expire. Nothing expires
        then.
    """
    with site.writing:
        catch_up(site.database, site.repository)
        _note_rewritten(site, expiry.unsettled(site.database))  # it was interrupted
        plan = plan_expiry(site, margin)
        kept = [one.number for one in plan.kept]
        held = expiry.snapshots_of(site.database, kept)
        _undamaged(site, held)
        if not plan.expired and plan.bytes == {}:
            return replace(plan, freed=0)
        if site.repository.is_in_pieces:
            # What is left of history is to say what there is when the records are lost.
            site.repository.keep_whole("Say where all products are")
            catch_up(site.database, site.repository)
            kept.append(newest_number(site.database))
            held = expiry.snapshots_of(site.database, kept)
        manifests = _manifests(site, held)
        known = _undamaged(site, held)
        numbers = [one.number for one in plan.expired]
        rewritten = {f"{SNAPSHOTS}/{one}": held[one] for one in known}
        expiry.note_expired(site.database, numbers, manifests, held.keys(), rewritten)
        others = held.keys() - {site.repository.tip()}
        others |= _unknown(site) | site.repository.put_aside()
        freed = site.repository.expire(others, plan.cutoff)
        _require_chunks(site, manifests)
        _note_rewritten(site, rewritten)
    return replace(plan, freed=freed)


def _note_rewritten(site: OpenCluster, names: Mapping[str, int]) -> None:
    """Note the digests of files that were written anew, with their publications."""
    url = site.repository.url
    digests = [(number, digests_of(url, [name])) for name, number in names.items()]
    expiry.note_rewritten(site.database, digests)


def _manifests(site: OpenCluster, snapshots: Iterable[str]) -> set[str]:
    return {name for one in snapshots for name in site.repository.manifests_of(one)}


def _unknown(site: OpenCluster) -> set[str]:
    """Return the snapshots that were kept and are on record no more.

    After a database was lost, nobody can say whether they are needed, so they stay.
    """
    return site.repository.kept_aside() - snapshots_of_trees(site.database)


def _undamaged(site: OpenCluster, snapshots: Collection[str]) -> list[str]:
    """Return which snapshots have a digest.

    Raises
    ------
    DatastoreError
        If one is not what was written, or chunks of what they hold are lost.
    """
    _require_chunks(site, _manifests(site, snapshots))
    known = stored_digests(site.database, [f"{SNAPSHOTS}/{one}" for one in snapshots])
    for name, digest in known.items():
        if digests_of(site.repository.url, [name]).get(name) != digest:
            raise DatastoreError(
                f"datastore {site.repository.url}: {name} {CHANGED}; nothing expires before "
                "it is put back: ziggy verify --all"
            )
    return [name.removeprefix(f"{SNAPSHOTS}/") for name in known]


def _rules(site: OpenCluster, found: Stored) -> Callable[[str], tuple[Retention, ...]]:
    """Return what tells the rules for the product at a path."""
    rules = {one.data_type: one for one in site.cluster.retention}
    pipelines = [one.pipeline for one in library.pipelines(site.database)]
    types = {name for pipeline in pipelines for name in pipeline.types}
    for name in sorted(rules.keys() - types):
        raise DefinitionError(
            f"{site.cluster.path}: retention: no pipeline has a data type "
            f"{name!r}{suggestion(name, sorted(types))}"
        )
    known = {path: _types_of(site, path) for path in found.versions}
    return lambda path: tuple(rules[one] for one in known[path] if one in rules)


def _types_of(site: OpenCluster, path: str) -> list[str]:
    """Return the data types whose products lie at a path."""
    return sorted(
        {
            name
            for stored in library.pipelines(site.database)
            for name, one in stored.pipeline.types.items()
            if one.location.match(path, stored.pipeline.patterns) is not None
        }
    )


def _freed(site: OpenCluster, plan: Expiry) -> tuple[dict[str, int], int]:
    """Return the bytes that are freed by data type, and those that are freed later."""
    place = Path(site.repository.url)
    held = expiry.snapshots_of(site.database, [one.number for one in plan.kept])
    kept = {*held, *site.repository.pinned(), *_unknown(site)}
    manifests = _manifests(site, kept)
    chunks = {name for one in manifests for name in _chunks(place / one)}
    owners: dict[str, str] = {}
    for one in plan.expired:
        products = site.repository.paths(at=one.snapshot)
        for path, names in site.repository.files_of(products, one.snapshot).items():
            kind = ", ".join(_types_of(site, path)) or path
            listed = {name for name in names if name.startswith(MANIFESTS)}
            for name in listed - manifests:
                owners.update(dict.fromkeys(_chunks(place / name) - chunks, kind))
    needed = {
        *(f"{directory}/{one}" for one in kept for directory in (SNAPSHOTS, _LOGS)),
        *manifests,
        *chunks,
    }
    sizes: dict[str, int] = {}
    later = 0
    for directory in (CHUNKS, SNAPSHOTS, MANIFESTS, _LOGS):
        for file in _files(place / directory):
            name = f"{directory}/{file.name}"
            if name in needed:
                continue
            status = file.stat()
            if status.st_mtime >= plan.cutoff.timestamp():
                later += status.st_size
                continue
            kind = owners.get(name, NOBODY) if directory == CHUNKS else HISTORY
            sizes[kind] = sizes.get(kind, 0) + status.st_size
    return dict(sorted(sizes.items())), later


def _chunks(manifest: Path) -> set[str]:
    """Return the names of the files of chunks that a manifest refers to."""
    try:
        return {f"{CHUNKS}/{one}" for one in chunks_in(manifest.read_bytes())}
    except (OSError, DatastoreError) as error:
        raise DatastoreError(
            f"{manifest}: {error}; nothing expires before it is put back: ziggy verify --all"
        ) from error


def _require_chunks(site: OpenCluster, manifests: Iterable[str]) -> None:
    """See that all that stays is there.

    Raises
    ------
    DatastoreError
        If it is not.
    """
    place = Path(site.repository.url)
    if urlsplit(site.repository.url).scheme:
        return
    there = {f"{CHUNKS}/{one.name}" for one in _files(place / CHUNKS)}
    lost = sorted({one for name in manifests for one in _chunks(place / name)} - there)
    if lost:
        raise DatastoreError(
            f"datastore {place}: {len(lost)} chunks of what stays are not there, such as "
            f"{lost[0]}; ziggy verify --all names their products"
        )


def _files(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
