"""Owners: the cluster that a datastore belongs to, as told by the name of a branch."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

_PREFIX = "cluster."


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A cluster: its name, and what tells it from others of that name."""

    name: str
    """Name of the cluster."""
    identity: str
    """32 hexadecimal digits, drawn once."""

    @classmethod
    def new(cls, name: str) -> Owner:
        """Return a cluster of a name that is like no other."""
        return cls(name=name, identity=uuid.uuid4().hex)

    @property
    def branch(self) -> str:
        """Name of the branch that says so.

        Examples
        --------
        >>> Owner(name="lab 1", identity="3f9a").branch
        'cluster.3f9a.6c61622031'
        """
        return f"{_PREFIX}{self.identity}.{self.name.encode().hex()}"


def is_of_owner(branch: str) -> bool:
    """Tell whether a branch says whose a datastore is."""
    return branch.startswith(_PREFIX)


def owner_among(branches: Iterable[str]) -> Owner | None:
    """Return what the branches of a datastore say of its owner; None: nothing.

    Examples
    --------
    >>> owner_among(["main", "cluster.3f9a.6c61622031"])
    Owner(name='lab 1', identity='3f9a')
    """
    for branch in sorted(branches):
        if is_of_owner(branch):
            identity, _, name = branch.removeprefix(_PREFIX).partition(".")
            return Owner(name=bytes.fromhex(name).decode(), identity=identity)
    return None
