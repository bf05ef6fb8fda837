"""Checking deliveries: whole, or file by file where the good part is let in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ziggy_dask.datastore.readers.regular import Identity
from ziggy_dask.definitions import DataReceiptStep, Pipeline
from ziggy_dask.definitions.pipeline import QUARANTINE
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    Acknowledgement,
    Delivery,
    Manifest,
    acknowledgement_name,
    as_found,
    extra_files,
    manifest_path,
    read_manifest,
    require_own_files,
    sort_files,
    validate,
    write_acknowledgement,
)
from ziggy_dask.receipt.sorting import refusal
from ziggy_dask.records import deliveries

_MOST_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A delivery that was checked and found good."""

    delivery: Delivery
    """The delivery."""
    manifest: Manifest
    """Its manifest, or one made of what is there; of it, the files that are taken in."""
    digest: str
    """What tells the delivery from all others: the digest of its whole manifest."""
    path: Path | None
    """The manifest's file; None: there is none."""
    identities: Mapping[str, Identity] | None = None
    """The files that were checked, by name; None: nothing was checked."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were checked, by name."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Files that are not taken in though the rest is, and what is wrong with each."""

    def without(self, faults: Mapping[str, str]) -> Accepted:
        """Return the same without files that have faults.

        Raises
        ------
        DeliveryError
            If no file is left.
        """
        files = tuple(one for one in self.manifest.files if one.name not in faults)
        if not files:
            raise refusal({**self.faults, **faults})
        return replace(
            self,
            manifest=replace(self.manifest, files=files),
            faults={**self.faults, **faults},
        )


def accept(
    site: OpenCluster,
    delivery: Delivery,
    needs_manifest: bool,
    *,
    lets_good_in: bool = False,
) -> Accepted:
    """Check a delivery whole; write its acknowledgement.

    Parameters
    ----------
    site
        The open cluster.
    delivery
        The delivery.
    needs_manifest
        Whether it must have a manifest.
    lets_good_in
        Whether bad files leave it acceptable without them.

    Raises
    ------
    DeliveryError
        If anything is wrong with it.
    """
    if not needs_manifest:
        require_own_files(delivery.directory)
        manifest, identities = as_found(delivery.directory)
        return replace(listed(delivery, manifest, None), identities=identities)
    path = manifest_path(delivery.directory)
    if path is None:
        raise DeliveryError(f"{delivery.directory}: has no manifest")
    manifest = read_manifest(path)
    _require_new(site, path, manifest)
    acknowledgement = validate(delivery.directory, manifest)
    write_acknowledgement(
        acknowledgement, path.with_name(acknowledgement_name(path.name))
    )
    extra = extra_files(delivery.directory, [one.name for one in manifest.files])
    if not lets_good_in:
        _refuse_invalid(path, acknowledgement)
    if extra and not lets_good_in:
        raise DeliveryError(
            f"{path}: {len(extra)} files are there that it does not list, "
            f"e.g. {extra[0]!r}; list them or take them away"
        )
    identities = {
        file.name: file.identity for file in acknowledgement.files if file.identity
    }
    accepted = Accepted(
        delivery=delivery,
        manifest=manifest,
        digest=manifest.digest,
        path=path,
        identities=identities,
        sha256={file.name: file.sha256 for file in acknowledgement.files},
    )
    unlisted = dict.fromkeys(extra, f"is not listed in {path.name}")
    return accepted.without({**_invalid(acknowledgement), **unlisted})


def listed(delivery: Delivery, manifest: Manifest, path: Path | None) -> Accepted:
    """Return a delivery as its manifest says, which nobody checked."""
    return Accepted(
        delivery=delivery, manifest=manifest, digest=manifest.digest, path=path
    )


def _require_new(site: OpenCluster, path: Path, manifest: Manifest) -> None:
    number = manifest.dataset_id
    if number > 0 and deliveries.is_recorded(site.database, number):
        raise DeliveryError(
            f"{path}: the datasetId {number} was delivered before; "
            "a new delivery needs a new one"
        )


def _invalid(acknowledgement: Acknowledgement) -> dict[str, str]:
    return {
        file.name: f"{file.name!r} "
        + ("has another size or checksum" if file.is_present else "is missing")
        for file in acknowledgement.files
        if not file.is_valid
    }


def _refuse_invalid(path: Path, acknowledgement: Acknowledgement) -> None:
    bad = _invalid(acknowledgement)
    if bad:
        shown = ", ".join(list(bad.values())[:_MOST_TOLD])
        more = f" and {len(bad) - _MOST_TOLD} more" if len(bad) > _MOST_TOLD else ""
        raise DeliveryError(
            f"{path}: {len(bad)} of {len(acknowledgement.files)} files are not as they "
            f"should be: {shown}{more}; see {acknowledgement_name(path.name)} beside it, "
            "and deliver again",
            bad,
        )


def quarantines(pipeline: Pipeline) -> bool:
    """Tell whether the good part of a delivery is let in."""
    return any(
        isinstance(one.step, DataReceiptStep) and one.step.bad_files == QUARANTINE
        for one in pipeline.nodes
    )


def sorted_out(pipeline: Pipeline, accepted: Accepted) -> Accepted:
    """Return a delivery without the files that are no part of any product."""
    try:
        sort_files(pipeline, [one.name for one in accepted.manifest.files])
    except DeliveryError as error:
        bad = named(accepted, error)
        if not bad:
            raise
        return sorted_out(pipeline, accepted.without(bad))
    return accepted


def named(accepted: Accepted, error: DeliveryError) -> dict[str, str]:
    """Return the files of a delivery that an error is about, with what is wrong."""
    return {
        one.name: text
        for name, text in error.faults.items()
        for one in accepted.manifest.files
        if one.name == name or one.name.startswith(f"{name}/")
    }
