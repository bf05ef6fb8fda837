"""Compute environments: where subtasks run."""

from ziggy_dask.compute.environment import MEMORY, memory_of_workers, open_client

__all__ = ["MEMORY", "memory_of_workers", "open_client"]
