"""Data receipt: manifests, deliveries, and what the files in them are."""

from ziggy_dask.receipt.arrays import expected_labels
from ziggy_dask.receipt.delivery import (
    Delivery,
    clean_up,
    delivery_called,
    extra_files,
    find_deliveries,
    manifest_path,
    require_inside,
    require_own_files,
    validate,
)
from ziggy_dask.receipt.manifest import (
    AcknowledgedFile,
    Acknowledgement,
    ChecksumType,
    Manifest,
    ManifestFile,
    TransferStatus,
    ValidationStatus,
    acknowledge_refusal,
    acknowledgement_name,
    acknowledgement_to_xml,
    generate_manifest,
    manifest_to_xml,
    visible_files,
    write_acknowledgement,
    write_manifest,
)
from ziggy_dask.receipt.models import ModelVersion, applicable, name_models
from ziggy_dask.receipt.reading import read_acknowledgement, read_manifest
from ziggy_dask.receipt.sorting import SortedDelivery, SortedFile, sort_files
from ziggy_dask.receipt.storing import model_path, model_versions, store_delivery

__all__ = [
    "AcknowledgedFile",
    "Acknowledgement",
    "ChecksumType",
    "Delivery",
    "Manifest",
    "ManifestFile",
    "ModelVersion",
    "SortedDelivery",
    "SortedFile",
    "TransferStatus",
    "ValidationStatus",
    "acknowledge_refusal",
    "acknowledgement_name",
    "acknowledgement_to_xml",
    "applicable",
    "clean_up",
    "delivery_called",
    "expected_labels",
    "extra_files",
    "find_deliveries",
    "generate_manifest",
    "manifest_path",
    "manifest_to_xml",
    "model_path",
    "model_versions",
    "name_models",
    "read_acknowledgement",
    "read_manifest",
    "require_inside",
    "require_own_files",
    "sort_files",
    "store_delivery",
    "validate",
    "visible_files",
    "write_acknowledgement",
    "write_manifest",
]
