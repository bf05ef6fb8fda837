"""The datastore: an Icechunk repository of products, and how they get in and out."""

from ziggy_dask.datastore.allocation import Storage, allocate, misfit, storable
from ziggy_dask.datastore.files import StoredFile, keys_of, list_files
from ziggy_dask.datastore.index import (
    Product,
    find_products,
    find_stored,
    read_product,
    stored_items,
    unlike,
)
from ziggy_dask.datastore.items import FileItem
from ziggy_dask.datastore.labels import Labels
from ziggy_dask.datastore.layout import (
    Layout,
    open_dataset,
    read_layout,
    read_slice,
    write_slice,
)
from ziggy_dask.datastore.readers import Reader, read_file
from ziggy_dask.datastore.repository import (
    Commit,
    Publication,
    Repository,
    create_repository,
    open_repository,
    shared_repository,
)
from ziggy_dask.datastore.view import Datastore

__all__ = [
    "Commit",
    "Datastore",
    "FileItem",
    "Labels",
    "Layout",
    "Product",
    "Publication",
    "Reader",
    "Repository",
    "Storage",
    "StoredFile",
    "allocate",
    "create_repository",
    "find_products",
    "find_stored",
    "keys_of",
    "list_files",
    "misfit",
    "open_dataset",
    "open_repository",
    "read_file",
    "read_layout",
    "read_product",
    "read_slice",
    "shared_repository",
    "storable",
    "stored_items",
    "unlike",
    "write_slice",
]
