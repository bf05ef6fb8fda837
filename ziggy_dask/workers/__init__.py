"""What runs on a worker: subtasks, their inputs and outputs, and what they report.

Public names are imported when they are first asked for: records need few of them, and
nothing of the datastore.
"""

from typing import TYPE_CHECKING

from ziggy_dask.lazily import names_from

if TYPE_CHECKING:
    from ziggy_dask.workers.algorithms import Code, code_of, send_code
    from ziggy_dask.workers.allocation_broker import begin_run, end_run, remember
    from ziggy_dask.workers.batch import (
        Context,
        bound_algorithm,
        load_work,
        models_of,
        run_alone,
        run_batch,
    )
    from ziggy_dask.workers.directory import task_directories, tidy
    from ziggy_dask.workers.failures import fingerprint
    from ziggy_dask.workers.halting import Halting, end_works
    from ziggy_dask.workers.inputs import Inputs
    from ziggy_dask.workers.last_words import hear_last_words, last_words_of
    from ziggy_dask.workers.lazy import open_lazily
    from ziggy_dask.workers.merging import merge_forks, merge_results
    from ziggy_dask.workers.programs import prepare_program
    from ziggy_dask.workers.work import (
        NOTHING_RETURNED,
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
    from ziggy_dask.workers.worker_environment import surroundings

_HOMES = {
    "begin_run": "allocation_broker",
    "end_run": "allocation_broker",
    "remember": "allocation_broker",
    "Code": "algorithms",
    "code_of": "algorithms",
    "send_code": "algorithms",
    "surroundings": "worker_environment",
    "Context": "batch",
    "bound_algorithm": "batch",
    "load_work": "batch",
    "models_of": "batch",
    "run_alone": "batch",
    "run_batch": "batch",
    "task_directories": "directory",
    "tidy": "directory",
    "fingerprint": "failures",
    "Halting": "halting",
    "end_works": "halting",
    "hear_last_words": "last_words",
    "last_words_of": "last_words",
    "open_lazily": "lazy",
    "merge_forks": "merging",
    "merge_results": "merging",
    "prepare_program": "programs",
    "Inputs": "inputs",
    "NOTHING_RETURNED": "work",
    "BatchResult": "work",
    "Cause": "work",
    "Merged": "work",
    "ModelFile": "work",
    "Outcome": "work",
    "Result": "work",
    "Sink": "work",
    "Source": "work",
    "SubtaskState": "work",
    "Work": "work",
}

__all__ = [
    "NOTHING_RETURNED",
    "BatchResult",
    "Cause",
    "Code",
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
    "begin_run",
    "bound_algorithm",
    "code_of",
    "end_run",
    "end_works",
    "fingerprint",
    "hear_last_words",
    "last_words_of",
    "load_work",
    "merge_forks",
    "merge_results",
    "models_of",
    "open_lazily",
    "prepare_program",
    "remember",
    "run_alone",
    "run_batch",
    "send_code",
    "surroundings",
    "task_directories",
    "tidy",
]

__getattr__ = names_from(__name__, _HOMES)
