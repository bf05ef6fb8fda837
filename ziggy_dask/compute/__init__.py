"""Compute environments: where subtasks run."""

from ziggy_dask.compute.environment import (
    MEMORY,
    has_places,
    memory_of_workers,
    open_client,
)

__all__ = ["MEMORY", "has_places", "memory_of_workers", "open_client"]
