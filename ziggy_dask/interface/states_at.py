"""Which state of the datastore is meant: of an instance, a tag, a date, a snapshot."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DatastoreError, DefinitionError, RecordsError
from ziggy_dask.records import instances
from ziggy_dask.records.catalogue import number_of, position
from ziggy_dask.records.expiry import expired_at
from ziggy_dask.records.tags import is_name, tag
from ziggy_dask.records.versions import snapshot_at

When = int | str | date
"""Number of an instance, name of a tag, a date, a time, or a snapshot."""
_SNAPSHOT = re.compile(r"[0-9A-Z]{20}")


def snapshot_of(site: OpenCluster, when: When) -> str:
    """Return the snapshot that is meant.

    Every one is a whole publication: steps on the way to one can't be named.

    Parameters
    ----------
    site
        The open cluster.
    when
        Number of an instance: as it left the datastore. Name of a tag. A date or a time:
        the newest publication up to then; times without a zone are in UTC, and a date
        alone stands for its end. A snapshot.

    Raises
    ------
    DefinitionError
        If it is none of these.
    RecordsError, DatastoreError
        If there is no such instance, tag, snapshot, or nothing was published by then, or it
        expired.
    """
    found = _meant(site, when)
    expired = expired_at(site.database, found)
    if expired is not None:
        raise DatastoreError(
            f"the datastore as of {when} expired on {expired:%Y-%m-%d}: no rule of the "
            "cluster file kept it; ziggy datastore history lists what is left"
        )
    return found


def _meant(site: OpenCluster, when: When) -> str:
    if isinstance(when, int):
        return _of_instance(site, when)
    if isinstance(when, date):
        return _at_time(site, when)
    text = when.strip()
    if _is_number(text):
        return _of_instance(site, int(text))
    if _SNAPSHOT.fullmatch(text):
        return _in_history(site, text, f"snapshot {text!r}")
    if is_name(text):
        return _in_history(site, tag(site.database, text).snapshot, f"tag {text!r}")
    try:
        is_date = re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}", text)
        parse = date.fromisoformat if is_date else datetime.fromisoformat
        return _at_time(site, parse(text))
    except ValueError:
        raise DefinitionError(
            f"{when!r} is not a state of the datastore; name an instance by its number, a "
            "tag, a date or time such as 2026-11-30 or 2026-11-30T12:00, or a snapshot"
        ) from None


def number_at(site: OpenCluster, when: When | None) -> int:
    """Return the number of the publication that is meant; None: the newest one.

    It may have expired: the records go on telling of it.

    Raises
    ------
    RecordsError
        If the catalogue does not have it yet.
    """
    snapshot = site.repository.tip() if when is None else _meant(site, when)
    number = number_of(site.database, snapshot)
    if number is None:
        raise RecordsError(
            f"the snapshot {snapshot!r} is not in the catalogue of the datastore yet; if it "
            f"stays so, bring that up to date: ziggy cluster init {site.cluster.path}"
        )
    return number


def instance_of(when: When) -> int | None:
    """Return the number of the instance that is meant; None: it is not an instance."""
    if isinstance(when, str) and _is_number(when.strip()):
        return int(when)
    return when if isinstance(when, int) else None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 8


def _of_instance(site: OpenCluster, number: int) -> str:
    """Return the last snapshot that an instance published, or the one it read."""
    record = instances.instance(site.database, number)
    newest = next(site.repository.history(record.base_snapshot, record.id), None)
    return record.base_snapshot if newest is None else newest.snapshot


def _at_time(site: OpenCluster, when: date) -> str:
    if not isinstance(when, datetime):
        when = datetime.combine(when, time.max, UTC)
    moment = when if when.tzinfo else when.replace(tzinfo=UTC)
    _, new = position(site.database, site.repository)
    for commit in new:
        if commit.time <= moment:
            return commit.snapshot
    found = snapshot_at(site.database, moment)
    if found is None:
        raise DatastoreError(
            f"nothing was published up to {moment.isoformat(timespec='seconds')}; "
            "ziggy datastore history lists all publications"
        )
    return found


def _in_history(site: OpenCluster, snapshot: str, name: str) -> str:
    if expired_at(site.database, snapshot) is None and not site.repository.has(
        snapshot
    ):
        raise DatastoreError(
            f"{name} is not a publication of this datastore's history; "
            "ziggy datastore history lists them"
        )
    return snapshot
