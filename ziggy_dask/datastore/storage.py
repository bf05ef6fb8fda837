"""Where a repository is stored: a directory, or a bucket of an object store.

A place is one text, so that it can be handed to workers as it is: a path, or a URL
with options after ``?``. It holds no credentials. These come from where each store's
own tools look for them: environment variables, profiles, the machine's role.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import icechunk


def storage_at(url: str, *, create: bool) -> icechunk.Storage:
    """Return the storage at a place; a directory is made if `create`.

    Raises
    ------
    OSError
        If a directory can't be made.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "s3":
        return icechunk.s3_storage(
            bucket=parts.netloc,
            prefix=prefix,
            endpoint_url=options.get("endpoint"),
            region=options.get("region"),
            allow_http=options.get("allow_http") == "true",
            force_path_style=options.get("path_style") == "true",
            from_env=True,
        )
    if parts.scheme == "gs":
        return icechunk.gcs_storage(bucket=parts.netloc, prefix=prefix, from_env=True)
    if parts.scheme == "az":
        account, _, container = parts.netloc.partition(".")
        return icechunk.azure_storage(
            account=account,
            container=container,
            prefix=prefix,
            from_env=True,
            config=_azure_config(options),
        )
    if create:
        Path(url).mkdir(parents=True, exist_ok=True)
    return icechunk.local_filesystem_storage(url)


_LISTED_TOGETHER = 256
"""So many chunks along each dimension are listed in one manifest.

An item more costs half of that at 160 bytes each, and 60 bytes per manifest that there is;
this is the best for products of 50,000 items."""


_NODES_KEPT = 100_000
"""Snapshots with so many groups and arrays in all are kept in memory: about 50 MB."""
_CHUNKS_KEPT = 1_000_000
"""Lists of so many chunks in all are kept in memory."""
_NODE_BYTES = 30
"""So much a group or array takes in the file of a snapshot, at least, in bytes."""


def settings_at(url: str, newest: str = "") -> icechunk.RepositoryConfig:
    """Return how to talk to the storage at a place.

    A chunk in a directory is read in two requests, not in Icechunk's five: each part
    is memory of its own that has to be mapped and joined, which costs more than a
    fast disk takes. One request would be read as a stream of small pieces.

    The list of an array's chunks is kept in parts, so that an item more does not cost
    what all before it did.

    Snapshots are kept in memory, as otherwise each look at a group would read one again;
    but no more than a few of them, since each lists all groups and arrays, and a
    supervisor makes several with each delivery.

    Parameters
    ----------
    url
        The place.
    newest
        The newest snapshot, if the datastore is there already.
    """
    config = icechunk.RepositoryConfig.default()
    config.caching = icechunk.CachingConfig(
        num_snapshot_nodes=max(_NODES_KEPT, 4 * _most_nodes(url, newest)),
        num_chunk_refs=_CHUNKS_KEPT,
    )
    config.manifest = icechunk.ManifestConfig(
        splitting=icechunk.ManifestSplittingConfig.from_dict(
            {
                icechunk.ManifestSplitCondition.AnyArray(): {
                    icechunk.ManifestSplitDimCondition.Any(): _LISTED_TOGETHER
                }
            }
        )
    )
    if not urlsplit(url).scheme:
        config.storage = icechunk.StorageSettings(
            concurrency=icechunk.StorageConcurrencySettings(
                max_concurrent_requests_for_object=2,
                ideal_concurrent_request_size=4096,
            )
        )
    return config


def _most_nodes(url: str, snapshot: str) -> int:
    """Return how many groups and arrays a snapshot may have; 0: that can't be told."""
    if not snapshot or urlsplit(url).scheme:
        return 0
    try:
        return (Path(url) / "snapshots" / snapshot).stat().st_size // _NODE_BYTES
    except OSError:
        return 0


def _azure_config(options: dict[str, str]) -> dict[str, str]:
    """Return options by the names that the ``object_store`` library has for them."""
    return {
        name: options[key]
        for key, name in (
            ("endpoint", "azure_endpoint"),
            ("allow_http", "azure_allow_http"),
        )
        if key in options
    }


@lru_cache
def memory_directory(url: str) -> str:
    """Return the directory of an in-memory datastore, which lives as long as this process.

    Worker processes must reach it, too, so it is a directory of the memory file
    system, where there is one.
    """
    shared = Path("/dev/shm")
    directory = tempfile.mkdtemp(
        prefix="ziggy-", dir=shared if shared.is_dir() else None
    )
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
