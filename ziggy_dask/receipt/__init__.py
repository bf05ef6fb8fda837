"""Data receipt: manifests, deliveries, and what the files in them are."""

from ziggy_dask.receipt.delivery import (
    Delivery,
    clean_up,
    extra_files,
    find_deliveries,
    manifest_path,
    require_inside,
    validate,
)
from ziggy_dask.receipt.manifest import (
    AcknowledgedFile,
    Acknowledgement,
    ChecksumType,
    Manifest,
    ManifestFile,
    acknowledgement_name,
    acknowledgement_to_xml,
    generate_manifest,
    manifest_to_xml,
    read_manifest,
    visible_files,
)
from ziggy_dask.receipt.models import Model, ModelVersion, name_models
from ziggy_dask.receipt.sorting import SortedDelivery, SortedFile, sort_files
from ziggy_dask.receipt.storing import store_delivery

__all__ = [
    "AcknowledgedFile",
    "Acknowledgement",
    "ChecksumType",
    "Delivery",
    "Manifest",
    "ManifestFile",
    "Model",
    "ModelVersion",
    "SortedDelivery",
    "SortedFile",
    "acknowledgement_name",
    "acknowledgement_to_xml",
    "clean_up",
    "extra_files",
    "find_deliveries",
    "generate_manifest",
    "manifest_path",
    "manifest_to_xml",
    "name_models",
    "read_manifest",
    "require_inside",
    "sort_files",
    "store_delivery",
    "validate",
    "visible_files",
]
