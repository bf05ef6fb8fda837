"""Compute environments: where subtasks run."""

from ziggy_dask.compute.environment import (
    MEMORY,
    address_for,
    has_places,
    memory_of_workers,
    open_client,
)

__all__ = ["MEMORY", "address_for", "has_places", "memory_of_workers", "open_client"]
