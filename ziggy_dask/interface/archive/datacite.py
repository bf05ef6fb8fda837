"""A tag as DataCite metadata: what a repository asks for before it gives a DOI.

https://schema.datacite.org/meta/kernel-4.5/, in its JSON form. Who made the data and who
publishes them is not on record, so whoever exports them says it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggy_dask.datastore import Datastore
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.archive.files import require_new, time_text, write_json
from ziggy_dask.interface.states_at import snapshot_of
from ziggy_dask.records.tags import tag

_SCHEMA = "http://datacite.org/schema/kernel-4"


def export_datacite(
    site: OpenCluster,
    name: str,
    file: Path,
    *,
    creators: Sequence[str],
    publisher: str,
    year: int,
    title: str = "",
    license_text: str = "",
) -> Path:
    """Write DataCite metadata of a tag into a file that is not there yet.

    Parameters
    ----------
    site
        The open cluster.
    name
        The tag.
    file
        Where to.
    creators
        Names of people or organizations; at least one.
    publisher
        Name of the organization that keeps the data.
    year
        Year of publication.
    title
        Title; empty: one from the names of cluster and tag.
    license_text
        URL or words of the license; empty: the metadata have none.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DefinitionError
        If no creator or publisher is given.
    ClusterError
        If something is there already.
    RecordsError, DatastoreError
        If there is no such tag, or it can't be read any more.
    """
    require_new(file)
    people = [one.strip() for one in creators]
    if not people or not all(people):
        raise DefinitionError("DataCite wants the name of at least one creator")
    if not publisher.strip():
        raise DefinitionError("DataCite wants the name of the publisher")
    found = tag(site.database, name)
    snapshot = snapshot_of(site, name)
    content: dict[str, Any] = {
        "schemaVersion": _SCHEMA,
        "creators": [{"name": one} for one in people],
        "titles": [{"title": title or f"Products of {site.cluster.name}, {name}"}],
        "publisher": {"name": publisher.strip()},
        "publicationYear": str(year),
        "types": {
            "resourceTypeGeneral": "Dataset",
            "resourceType": "Products of a pipeline",
        },
        "version": name,
        "dates": [{"date": time_text(found.made), "dateType": "Created"}],
        "formats": ["Zarr, in an Icechunk repository"],
        "sizes": [f"{len(Datastore(site.repository, snapshot))} products"],
        "alternateIdentifiers": [
            {
                "alternateIdentifier": snapshot,
                "alternateIdentifierType": "Icechunk snapshot",
            }
        ],
    }
    if found.note:
        content["descriptions"] = [
            {"description": found.note, "descriptionType": "Abstract"}
        ]
    if license_text:
        is_url = license_text.startswith(("https://", "http://"))
        content["rightsList"] = [
            {"rightsUri" if is_url else "rights": license_text},
        ]
    write_json(file, content)
    return file
