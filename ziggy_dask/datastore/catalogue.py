"""What a datastore published, and who may know it without looking there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ziggy_dask.datastore.tree import Places
from ziggy_dask.datastore.trees import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """An entry of the datastore's history."""

    snapshot: str
    """Snapshot id."""
    time: datetime
    """When it was made, UTC."""
    message: str
    """One line for people."""
    metadata: Mapping[str, Any]
    """What was published: instance, tasks."""
    places: Places | None = None
    """What is at the paths that it changed; None: it does not say."""
    expired: datetime | None = None
    """When it was given up, so that it can't be read any more; None: it was not."""
    before: tuple[str, str] = ("", "")
    """Snapshot and root digest of the publication before it; empty: it does not say."""
    parts: Parts = field(default_factory=Parts)
    """The trees that it changed."""


class Catalogue(Protocol):
    """Knows some publications, each with all that were before it."""

    def number(self, snapshot: str) -> int | None:
        """Return the number of a publication; None: it is not known."""

    def commits(
        self, upto: int, since: str | None, instance: int | None
    ) -> Iterator[Commit]:
        """Yield publications up to a number, newest first.

        Parameters
        ----------
        upto
            The number.
        since
            Those up to this snapshot are left out; None: none is.
        instance
            Only those of this instance; None: all.
        """

    def products(self, upto: int, prefix: str) -> dict[str, int]:
        """Return the trees of products as of a publication, by path.

        Parameters
        ----------
        upto
            Number of the publication.
        prefix
            Only what is at this path, below or above it; empty: all.
        """

    def trees(self, upto: int) -> dict[int, str] | None:
        """Return the newest snapshot of each tree as of a publication.

        None: it is not known what was there, so `products` can't be asked.
        """

    def root(self, snapshot: str) -> str:
        """Return the root digest of a publication; empty: not known."""

    def expired(self, snapshot: str) -> datetime | None:
        """Return when a publication was given up; None: it was not, as far as is known."""


class Unknowing:
    """A catalogue that knows nothing."""

    def number(self, snapshot: str) -> int | None:
        """Return None."""
        return None

    def commits(
        self, upto: int, since: str | None, instance: int | None
    ) -> Iterator[Commit]:
        """Yield nothing."""
        return iter(())

    def products(self, upto: int, prefix: str) -> dict[str, int]:
        """Return nothing."""
        return {}

    def trees(self, upto: int) -> dict[int, str] | None:
        """Return None."""
        return None

    def root(self, snapshot: str) -> str:
        """Return nothing."""
        return ""

    def expired(self, snapshot: str) -> datetime | None:
        """Return None."""
        return None
