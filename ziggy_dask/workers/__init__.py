"""What runs on a worker: subtasks, their inputs and outputs, and what they report."""

from ziggy_dask.workers.agreement import Agreement, remember
from ziggy_dask.workers.batch import (
    Context,
    bound_algorithm,
    load_work,
    models_of,
    run_batch,
)
from ziggy_dask.workers.directory import tidy
from ziggy_dask.workers.failures import fingerprint
from ziggy_dask.workers.halting import Halting, end_works
from ziggy_dask.workers.lazy import open_lazily
from ziggy_dask.workers.merging import merge_forks, merge_results
from ziggy_dask.workers.programs import prepare_program
from ziggy_dask.workers.sources import Inputs
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
    "Inputs",
    "Merged",
    "ModelFile",
    "Outcome",
    "Result",
    "Sink",
    "Source",
    "SubtaskState",
    "Work",
    "bound_algorithm",
    "end_works",
    "fingerprint",
    "load_work",
    "merge_forks",
    "merge_results",
    "models_of",
    "open_lazily",
    "prepare_program",
    "remember",
    "run_batch",
    "tidy",
]
