"""Removing and expiring, by the supervisor that runs as a service, or else here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ziggy_dask.engine.expire import MARGIN, Expiry, plan_expiry, remove_products
from ziggy_dask.engine.expire import expire as expire_here
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.records.removal import remove_instance
from ziggy_dask.records.requests import RequestKind
from ziggy_dask.supervisor import ask, in_charge, is_served


def remove(site: OpenCluster, paths: Sequence[str], *, is_dry: bool) -> list[str]:
    """Remove products from the newest state; return their paths."""
    found = remove_products(site, paths, is_dry=True)
    if is_dry:
        return found
    if is_served(site):
        ask(site, RequestKind.REMOVE, {"paths": found})
        return found
    with in_charge(site):
        return remove_products(site, found)


def expire(
    site: OpenCluster, *, is_dry: bool, margin: timedelta | None = None
) -> Expiry:
    """Give up what no rule keeps; return what that is.

    A supervisor that runs as a service does it by itself, so that what was freed is not
    known here.
    """
    if is_dry:
        return plan_expiry(site, MARGIN if margin is None else margin)
    if is_served(site) and margin is None:
        plan = plan_expiry(site)
        ask(site, RequestKind.EXPIRE, {})
        return plan
    with in_charge(site):
        return expire_here(site, MARGIN if margin is None else margin)


def forget_instance(site: OpenCluster, number: int, *, is_dry: bool) -> None:
    """Remove an instance that stored nothing from the records."""
    remove_instance(site.database, number, is_dry=is_dry)
