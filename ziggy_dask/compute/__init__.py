"""Compute environments: where subtasks run."""

from ziggy_dask.compute.environment import open_client

__all__ = ["open_client"]
