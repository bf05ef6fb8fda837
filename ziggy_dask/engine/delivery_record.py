"""What goes on record of a delivery: each of its files, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import icechunk

from ziggy_dask.definitions import Pipeline
from ziggy_dask.engine.accepting import Accepted
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    ChecksumType,
    Manifest,
    ManifestFile,
    SortedDelivery,
    manifest_to_xml,
    model_path,
    model_versions,
)
from ziggy_dask.receipt.delivery import open_delivered, read_delivered
from ziggy_dask.receipt.manifest import checksums
from ziggy_dask.records.deliveries import SEVERAL, DeliveredFile, DeliveryRecord
from ziggy_dask.records.instances import TaskRecord


def delivered_files(
    pipeline: Pipeline,
    accepted: Accepted,
    delivery: SortedDelivery,
    sessions: Callable[[str], icechunk.Session],
) -> tuple[DeliveredFile, ...]:
    """Return each file of a delivery that is stored, with what became of it."""
    manifest = accepted.manifest
    series = {one.name for one in pipeline.data_types if one.subtask}
    places = {
        name: (one.path, one.item or (SEVERAL if one.data_type in series else ""))
        for one in delivery.files
        for name in one.files
    }
    for model in delivery.models:
        original = model.name.rpartition("/")[2]
        session = sessions(model_path(model.model_type))
        versions = reversed(model_versions(session, model.model_type))
        stored = next((one.stored for one in versions if one.original == original), "")
        places[model.name] = model_path(model.model_type), stored
    return tuple(
        DeliveredFile(
            name=one.name,
            bytes=one.size_bytes,
            sha256=_sha256(accepted, one),
            path=places[one.name][0],
            item=places[one.name][1],
        )
        for one in manifest.files
    )


def delivery_record(
    task: TaskRecord, accepted: Accepted, contents: tuple[DeliveredFile, ...]
) -> DeliveryRecord:
    """Return what goes on record of a delivery."""
    manifest = accepted.manifest
    return DeliveryRecord(
        dataset_id=manifest.dataset_id if manifest.dataset_id > 0 else None,
        name=accepted.path.name if accepted.path else accepted.delivery.name,
        task=task.id,
        files=len(manifest.files),
        bytes=sum(one.size_bytes for one in manifest.files),
        manifest=_text_of(accepted.path, manifest) if accepted.path else "",
        received=datetime.now(UTC),
        contents=contents,
    )


def _sha256(accepted: Accepted, file: ManifestFile) -> str:
    """Return the SHA-256 of a file that is stored, which a manifest may have in another way."""
    if accepted.manifest.checksum_type is ChecksumType.SHA256:
        return file.checksum
    if file.name in accepted.sha256:
        return accepted.sha256[file.name]
    descriptor = open_delivered(accepted.delivery.directory, file.name)
    try:
        return checksums(descriptor, [ChecksumType.SHA256])[ChecksumType.SHA256]
    finally:
        os.close(descriptor)


def _text_of(path: Path, manifest: Manifest) -> str:
    """Return the text of a manifest; of one that is not in UTF-8, what it says."""
    try:
        return read_delivered(path.parent, path.name).decode("utf-8")
    except UnicodeDecodeError:
        return manifest_to_xml(manifest)
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
