"""What runs on a worker: subtasks, their inputs and outputs, and what they report."""

from ziggy_dask.workers.agreement import Agreement, remember
from ziggy_dask.workers.batch import Context, load_work, run_batch
from ziggy_dask.workers.directory import tidy
from ziggy_dask.workers.failures import fingerprint
from ziggy_dask.workers.halting import Halting, end_works
from ziggy_dask.workers.merging import merge_forks, merge_results
from ziggy_dask.workers.work import (
    BatchResult,
    Cause,
    Merged,
    ModelFile,
    Outcome,
    Result,
    Sink,
    Source,
    SubtaskState,
    Work,
)

__all__ = [
    "Agreement",
    "BatchResult",
    "Cause",
    "Context",
    "Halting",
    "Merged",
    "ModelFile",
    "Outcome",
    "Result",
    "Sink",
    "Source",
    "SubtaskState",
    "Work",
    "end_works",
    "fingerprint",
    "load_work",
    "merge_forks",
    "merge_results",
    "remember",
    "run_batch",
    "tidy",
]
