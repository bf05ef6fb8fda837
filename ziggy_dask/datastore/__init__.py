"""The datastore: an Icechunk repository of products, and how they get in and out."""

from ziggy_dask.datastore.allocation import (
    Storage,
    allocate,
    extend,
    misfit,
    prepared,
    write_whole,
)
from ziggy_dask.datastore.catalogue import Catalogue, Commit
from ziggy_dask.datastore.files import StoredFile, keys_of, list_files
from ziggy_dask.datastore.index import (
    Product,
    find_products,
    find_stored,
    read_product,
    stored_items,
    unlike,
    unlike_stored,
)
from ziggy_dask.datastore.items import FileItem
from ziggy_dask.datastore.labels import Labels, common_type
from ziggy_dask.datastore.layout import (
    Layout,
    open_chunked,
    open_dataset,
    read_layout,
    read_parts,
    read_slice,
    write_slice,
)
from ziggy_dask.datastore.publication import Publication, maker_of
from ziggy_dask.datastore.readers import Reader, read_file
from ziggy_dask.datastore.repository import (
    Repository,
    create_repository,
    open_repository,
    shared_repository,
)
from ziggy_dask.datastore.storable import Fault, faults_of, require_storable
from ziggy_dask.datastore.tree import Place, Places, walk
from ziggy_dask.datastore.view import Datastore

__all__ = [
    "Catalogue",
    "Commit",
    "Datastore",
    "Fault",
    "FileItem",
    "Labels",
    "Layout",
    "Place",
    "Places",
    "Product",
    "Publication",
    "Reader",
    "Repository",
    "Storage",
    "StoredFile",
    "allocate",
    "common_type",
    "create_repository",
    "extend",
    "faults_of",
    "find_products",
    "find_stored",
    "keys_of",
    "list_files",
    "maker_of",
    "misfit",
    "open_chunked",
    "open_dataset",
    "open_repository",
    "prepared",
    "read_file",
    "read_layout",
    "read_parts",
    "read_product",
    "read_slice",
    "require_storable",
    "shared_repository",
    "stored_items",
    "unlike",
    "unlike_stored",
    "walk",
    "write_slice",
    "write_whole",
]
