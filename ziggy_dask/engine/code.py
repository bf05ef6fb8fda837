"""The code that an instance runs: put on record at launch, run from a copy until it ends."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from ziggy_dask.definitions import (
    CodeTree,
    DaskFunctionStep,
    FunctionStep,
    Pipeline,
    ScriptStep,
    changed_files,
    check_out,
    read_code,
)
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.errors import DefinitionError
from ziggy_dask.records import instances
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.code import load_code
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.records.recipes import change_code
from ziggy_dask.workers import Code, code_of

_DIRECTORY = "code"


def code_of_pipeline(pipeline: Pipeline) -> CodeTree | None:
    """Return the code of a pipeline as it is now; None: it has none of its own.

    Raises
    ------
    DefinitionError
        If its directory, or a module that a step names, is not there.
    """
    if pipeline.root is None:
        return None
    if not pipeline.root.is_dir():
        raise DefinitionError(
            f"pipeline {pipeline.name!r}: the directory of its code, {pipeline.root}, is "
            "not there; if it was moved, register it where it is now with: "
            "ziggy import DIRECTORY"
        )
    tree = read_code(pipeline.root)
    paths = {file.path for file in tree.files}
    lacking = [what for what in _modules(pipeline) if not _is_there(what, paths)]
    if lacking:
        raise DefinitionError(
            f"pipeline {pipeline.name!r}: {pipeline.root} has no {' and no '.join(lacking)}; "
            "bring it back, or register the pipeline where it is now with: "
            "ziggy import DIRECTORY"
        )
    return tree


def code_of_instance(
    site: OpenCluster, record: InstanceRecord, root: Path | None
) -> Code | None:
    """Return the code that an instance runs, in a copy that is there afterwards.

    Parameters
    ----------
    site
        The open cluster.
    record
        The instance.
    root
        Directory of its pipeline, to which links lead for all that is not code.

    Returns
    -------
    Code or None
        Of an instance from before code was kept, the code of today; None: it has none.
    """
    if not record.code:
        return code_of(root) if root is not None else None
    place = site.cluster.home / _DIRECTORY / record.code[:16]
    origin = root if root is not None and root.is_dir() else None
    tree = load_code(site.database, record.code)
    return Code(root=check_out(tree, place, origin), tree=tree, origin=origin)


def adopt_code(site: OpenCluster, record: InstanceRecord) -> InstanceRecord:
    """Put code on record for an instance from before that was done; return its record.

    What it did until then keeps the version that was recorded. It goes on with the code of
    today, and that is told.
    """
    pipeline, _ = instances.instance_pipeline(site.database, record.id)
    if record.code or pipeline.root is None:
        return record
    tree = code_of_pipeline(pipeline)
    assert tree is not None
    change_code(site.database, record.id, tree)
    alert(
        site,
        Severity.WARNING,
        f"the code with which instance {record.id} was launched was not kept; it goes on "
        f"with the code that is in {pipeline.root} now, {tree.version}",
        instance=record.id,
    )
    return instances.instance(site.database, record.id)


def code_changes(
    site: OpenCluster, record: InstanceRecord, root: Path | None
) -> list[str]:
    """Return what of an instance's code is another one in its pipeline's directory now."""
    if not record.code or root is None or not root.is_dir():
        return []
    return changed_files(load_code(site.database, record.code), read_code(root))


def _modules(pipeline: Pipeline) -> list[str]:
    """Return the modules and scripts that the steps of a pipeline name, each once."""
    found: dict[str, None] = {}
    for node in pipeline.nodes:
        if isinstance(node.step, FunctionStep | DaskFunctionStep):
            found[node.step.function.partition(":")[0].replace(".", "/") + ".py"] = None
        elif isinstance(node.step, ScriptStep):
            found[str(PurePosixPath(node.step.script))] = None
    return list(found)


def _is_there(module: str, paths: set[str]) -> bool:
    """Tell whether a module is among some files, or can be imported from elsewhere."""
    stem, first = (
        module.removesuffix(".py"),
        module.partition("/")[0].removesuffix(".py"),
    )
    if module in paths or f"{stem}/__init__.py" in paths:
        return True
    if any(path.startswith((f"{stem}.", f"{first}/", f"{first}.")) for path in paths):
        return True
    try:
        return find_spec(first) is not None
    except (ImportError, ValueError):
        return False
