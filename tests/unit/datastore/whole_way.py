"""The whole way of a Dataset: delivered or returned, passed on, stored, read, exported.

Everything on the way is the package's own code; only processes and the network are left
out. The answer is the same Dataset in every place, or a refusal.
"""

from __future__ import annotations

import datetime
import itertools
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
import zarr

import ziggy_dask as z
from ziggy_dask.datastore import Datastore, Labels, Storage
from ziggy_dask.datastore.items import open_dataset_item
from ziggy_dask.datastore.netcdf import write_netcdf, write_zarr
from ziggy_dask.datastore.per_item import settled
from ziggy_dask.datastore.readers import read_file
from ziggy_dask.datastore.repository import Publication, Repository
from ziggy_dask.datastore.spelling import unspelled
from ziggy_dask.definitions import DaskFunctionStep, FunctionStep, Programs
from ziggy_dask.definitions.location import FilePattern
from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import sort_files, store_delivery
from ziggy_dask.workers.batch import run_batch
from ziggy_dask.workers.merging import merge_results
from ziggy_dask.workers.work import Cause, Result, Sink, Source, Work

PATHS = ("s/made", "s/passed")
_HERE = "tests.unit.datastore.whole_way"
_NAMES = FilePattern(deeper="", name="", patterns=())
_tokens = itertools.count()
_given: dict[str, xr.Dataset] = {}
"""What the first function returns, by label of item."""
_seen: dict[str, Any] = {}
"""What the second function was given, by label of item."""
_is_collection = False
"""Whether the first function returns its items by label."""
_taken_name = ""
"""The name that every subtask gives its item, if it is not that of the subtask."""
_change: Callable[[Any], Any] = lambda value: value  # noqa: E731 - replaced by each way


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a product goes."""

    kind: z.ProductKind
    """How it is stored."""
    dimension: str
    """Subtask dimension, for an array that is cut; else empty."""
    storage: Storage
    """Chunks and compression."""
    is_delivered: bool
    """Whether a reader of ours brings it, or a function returns it."""
    is_lazy: bool
    """Whether that is backed by Dask."""
    passing: str
    """Who passes it on: ``items``, ``whole`` or ``dask``."""
    is_published: bool
    """Whether it is published before it is passed on."""
    is_one: bool = False
    """Whether one function returns all items of a collection."""
    is_taken: bool = False
    """Whether every subtask returns its item under the name of the first one."""
    is_series: bool = False
    """Whether the files bring the labels of their items, and their names do not."""


@dataclass(frozen=True, kw_only=True)
class Went:
    """What became of a product."""

    refused: Mapping[str, str] = field(default_factory=dict)
    """Why items were refused, by label; of a delivery all are."""
    given: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """What the second function was given, by label."""
    stored: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """What the datastore has at the end, by label."""
    exported: Mapping[str, xr.Dataset] = field(default_factory=dict)
    """What the exported files have, by label."""


def give(context) -> Any:
    """Return an item, or all; what the first node runs."""
    if context.labels:
        item = _given[context.labels[0]]
        return {_taken_name: item} if _taken_name else item
    return dict(_given) if _is_collection else _given[""]


def pass_on(made, context) -> Any:
    """Return what is given; what the second node runs."""
    _seen[context.labels[0] if context.labels else ""] = made
    return _change(made)


def pass_on_lazily(made) -> Any:
    """Return what is given, which is lazy; what the second node runs with Dask."""
    _seen[""] = made
    return made


def go(
    repository: Repository,
    scaffold: bytes,
    items: Mapping[str, xr.Dataset],
    way: Way,
    folder: Path,
    client: Any,
    files: Mapping[str, xr.Dataset] | None = None,
) -> Went:
    """Take the items of a product the whole way; an array that is whole is the item ''.

    What is delivered are `files`, if an item is not a file of its own.

    Raises
    ------
    AssertionError
        If anything but a refusal stops one.
    """
    is_whole = way.kind is z.ProductKind.ARRAY and not way.dimension
    has_labels = not is_whole and not way.is_one
    labels = _labels(items, way) if has_labels else None
    if way.is_delivered:
        reason = _deliver(repository, _prepared(files or items, way), way, folder)
        refused = dict.fromkeys(items, reason) if reason else {}
        results: list[Result] = []
    else:
        refused, results = _return(
            repository, scaffold, _prepared(items, way), labels, way
        )
    kept = [name for name in items if name not in refused]
    if not kept:
        return Went(refused=refused)
    if results and way.is_published:
        lacking = [n for n, name in enumerate(items) if name in refused]
        _publish(repository, "s/made", results, way, labels, lacking)
        _look_at(Datastore(repository), "s/made", way, list(refused))
    snapshot = repository.tip() if way.is_delivered or way.is_published else None
    source = _source(way, labels, snapshot)
    by_item = way.passing == "items" and labels is not None
    own = None
    if by_item:
        own = _labels({name: items[name] for name in kept}, way) if snapshot else labels
    elif snapshot is None:
        results = [merge_results(*results)]
    work = _work(
        repository,
        scaffold,
        FunctionStep(function=f"{_HERE}:pass_on")
        if way.passing != "dask"
        else DaskFunctionStep(function=f"{_HERE}:pass_on_lazily"),
        own,
        way,
        "s/passed",
        (source,),
    )
    _seen.clear()
    globals()["_change"] = lazy if way.is_lazy else lambda value: value
    if way.passing == "dask":
        passed = [client.submit(run_batch, work, [0], pure=False).result()]
    else:
        wanted = [n for n in range(work.count) if own is None or own.texts()[n] in kept]
        passed = [run_batch(work, [number], *results) for number in wanted]
    for one in passed:
        (outcome,) = one.outcomes
        if way.is_series and f"no variable has {way.dimension!r}" in outcome.message:
            # Files may bring labels alone; functions may not return that.
            return Went(refused=dict.fromkeys(items, outcome.message))
        assert outcome.outputs, f"not passed on: {outcome.message}\n{outcome.traceback}"
    lacking = [n for n, name in enumerate(own or ()) if name not in kept]
    _publish(repository, "s/passed", passed, way, own, lacking)
    view = Datastore(repository)
    _look_at(view, "s/passed", way, [own.texts()[n] for n in lacking] if own else [])
    files = view.export(folder, ["s/passed"])
    return Went(
        refused=refused,
        given=_by_item(dict(_seen), way, kept),
        stored=_by_item(_opened(repository, way, kept), way, kept),
        exported=_by_item(_read_again(files, way, view, kept), way, kept),
    )


def _prepared(given: Mapping[str, Any], way: Way) -> dict[str, Any]:
    return {name: lazy(one) if way.is_lazy else one for name, one in given.items()}


def _labels(items: Mapping[str, xr.Dataset], way: Way) -> Labels:
    """Return the labels of items: of a series what files have, else their names."""
    if not way.is_series:
        return Labels.of(list(items))
    return Labels(np.concatenate([one[way.dimension].values for one in items.values()]))


def lazy(value: Any) -> Any:
    """Return a Dataset, a tree or a dict of them, whose numbers are computed later."""
    if isinstance(value, dict):
        return {name: lazy(one) for name, one in value.items()}
    if isinstance(value, xr.DataTree):
        return xr.DataTree.from_dict({k: lazy(one) for k, one in groups(value).items()})
    chunked = {
        name: variable.chunk(2)
        for name, variable in value.data_vars.variables.items()
        if hasattr(variable.dtype, "kind")
        and variable.dtype.kind in "biufcmMUST"
        and not hasattr(variable.dtype, "na_value")
    }
    return value.assign(chunked)


def groups(item: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the Datasets that an item is made of, by path of group."""
    if isinstance(item, xr.Dataset):
        return {"/": item}
    return {node.path: node.to_dataset(inherit=False) for node in item.subtree}


def through_files(dataset: xr.Dataset, folder: Path) -> dict[str, xr.Dataset]:
    """Return what programs are given, as each reader of what they return has it."""
    write_netcdf(dataset, folder / "given.nc")
    place = folder / f"given-{next(_tokens)}.zarr"
    write_zarr(dataset, place)
    return {
        "netcdf": read_file("netcdf", folder / "given.nc"),
        "zarr": read_file("zarr", place),
    }


def _deliver(
    repository: Repository, given: Mapping[str, xr.Dataset], way: Way, folder: Path
) -> str:
    """Deliver files, which the reader of `plugin` turns into Datasets.

    Returns
    -------
    str
        Why they were refused; empty if they were not.
    """
    (folder / "s" / "made").mkdir(parents=True, exist_ok=True)
    data_type = z.DataType(
        name="made",
        location=z.Location("{set}/made"),
        kind=way.kind,
        files=r"(?s:item.*)" if way.is_series else r"(?s:item(.*))",
        reader="given",
        subtask=way.dimension,
        chunk=way.storage.chunk,
        compression=way.storage.compression,
    )
    pipeline = z.Pipeline(
        name="way",
        placeholders=(z.Placeholder(name="set", pattern="s"),),
        data_types=(data_type,),
        nodes=(z.Node(name="receive", step=z.DataReceiptStep()),),
    )
    names = {f"s/made/item{name}": one for name, one in given.items()}
    for name, one in names.items():
        (folder / name).write_bytes(pickle.dumps(one, protocol=5))
    writing = repository.writing()
    root = zarr.open_group(writing.session("s/made").store, mode="a")
    if "s/made" in root:
        del root["s/made"]
    try:
        store_delivery(
            writing.session,
            pipeline,
            folder,
            sort_files(pipeline, list(names)),
            origin={"pipeline": "way", "instance": 1},
            today=datetime.date(2026, 1, 1),
        )
    except DeliveryError as error:
        return str(error)
    finally:
        for name in names:
            (folder / name).unlink()
    repository.finish_writing(writing, "Delivery", {})
    return ""


def _return(
    repository: Repository,
    scaffold: bytes,
    items: Mapping[str, xr.Dataset],
    labels: Labels | None,
    way: Way,
) -> tuple[dict[str, str], list[Result]]:
    """Let a function return each item, in a subtask of its own."""
    _given.clear()
    _given.update(items)
    globals()["_is_collection"] = way.is_one
    globals()["_taken_name"] = next(iter(items)) if way.is_taken else ""
    step = FunctionStep(function=f"{_HERE}:give")
    work = _work(repository, scaffold, step, labels, way, "s/made", ())
    refused: dict[str, str] = {}
    results: list[Result] = []
    names = list(items)
    for number in range(work.count):
        result = run_batch(work, [number])
        (outcome,) = result.outcomes
        if outcome.outputs:
            results.append(result)
            continue
        assert outcome.cause is Cause.BAD_OUTPUT, (
            f"{outcome.message}\n{outcome.traceback}"
        )
        refused[names[number]] = outcome.message
        if labels is None:
            refused = dict.fromkeys(items, outcome.message)
    return refused, results


def _source(way: Way, labels: Labels | None, snapshot: str | None) -> Source:
    return Source(
        name="made",
        data_type="made",
        path="s/made",
        kind=way.kind,
        dimension=way.dimension,
        chunk=1,
        is_whole=way.passing != "items" or labels is None,
        labels=labels,
        snapshot=snapshot,
        instance=None,
        task=None if snapshot else 0,
        max_failed=9,
        pattern=_NAMES,
        file_format="netcdf",
    )


def _work(
    repository: Repository,
    scaffold: bytes,
    step: Any,
    labels: Labels | None,
    way: Way,
    path: str,
    sources: tuple[Source, ...],
) -> Work:
    sink = Sink(
        name="out",
        data_type="out",
        path=path,
        kind=way.kind,
        storage=way.storage,
        allocation=None,
        pattern=_NAMES,
        reader="",
    )
    return Work(
        token=f"way{next(_tokens)}",
        index=PATHS.index(path),
        instance=1,
        task=1,
        node="way",
        unit={},
        unit_name="s",
        step=step,
        limit_s=0.0,
        root=None,
        code_version="",
        sets=(),
        models={},
        sources=sources,
        sinks=(sink,),
        event_labels=(),
        labels=labels,
        chunk=1,
        count=1 if labels is None else len(labels),
        datastore=repository.url,
        scaffold=scaffold,
        programs=Programs(work=Path()),
    )


def _publish(
    repository: Repository,
    path: str,
    results: list[Any],
    way: Way,
    labels: Labels | None = None,
    lacking: list[int] | None = None,
) -> None:
    attributes: dict[str, Any] = {"kind": way.kind.value, "dimension": way.dimension}
    if lacking and labels is not None and way.kind is z.ProductKind.ARRAY:
        attributes["missing"] = labels.take(lacking).to_json()
    change_sets = [result.change_sets[path] for result in results]
    made = Publication(path=path, change_sets=change_sets, attributes=attributes)
    repository.publish([made], "Publish", {})


def _look_at(view: Datastore, path: str, way: Way, lacking: list[str]) -> None:
    """Look at a product as people do: what was never made is missing in it."""
    content = view[path]
    if not isinstance(content, xr.Dataset) or not way.dimension:
        return
    product = view.product(path)
    for name, array in content.data_vars.items():
        if way.dimension not in array.dims or array.dtype.kind not in "biufcmMUSTO":
            continue
        for label in lacking:
            place = [str(one) for one in content[way.dimension].values].index(label)
            item = array.isel({way.dimension: place}).load()
            assert bool(item.isnull().all()), (
                f"{name!r} of {label!r} is {item.values!r}"
            )
        if array.dtype.kind in "iufb" and array.ndim > 1:
            for label in product.items:
                seen = product.chosen(str(name), label).load()
                assert str(seen[way.dimension].item()) == label, (seen, label)
        if array.dtype.kind in "iuf" and array.ndim in (2, 3):
            for label in product.items:
                place = [str(one) for one in content[way.dimension].values].index(label)
                item = array.isel({way.dimension: place}).load()
                _require_drawn(product, label, item)
            return


def _require_drawn(product: z.StoredProduct, label: str, item: xr.DataArray) -> None:
    """Draw an item, if nothing but its own values decides what that looks like."""
    if not item.size or {*item.dims} & {*item.coords} or not np.isfinite(item).all():
        return
    axes = product.plot(str(item.name), item=label)
    artists = [*axes.images, *axes.collections, *axes.lines]
    drawn = artists[0].get_ydata() if item.ndim == 1 else artists[0].get_array()
    title = axes.get_title()
    plt.close(axes.figure)
    assert title.endswith(f", {label}"), title
    assert np.array_equal(np.sort(np.ravel(drawn)), np.sort(np.ravel(item))), label


def _opened(repository: Repository, way: Way, kept: list[str]) -> dict[str, Any]:
    """Return what the datastore has, as its users open it."""
    if way.kind is z.ProductKind.COLLECTION:
        tree = Datastore(repository)["s/passed"]
        assert isinstance(tree, xr.DataTree)
        assert len(tree.children) == len(kept)
        session = repository.reading()
        return {name: open_dataset_item(session, "s/passed", name) for name in kept}
    return {"": Datastore(repository).product("s/passed").open_made()}


def _told_in(file: Path) -> tuple[str, str]:
    """Return the item that an exported file says that it is of, and its group."""
    with xr.open_dataset(file, engine="h5netcdf", decode_cf=False) as raw:
        item = str(json.loads(raw.attrs["ziggy"])["item"])
    below = file.with_suffix("").parts
    place = len(below) - 1 - below[::-1].index("passed")
    return item, "/" + "/".join(map(unspelled, below[place + 2 :]))


def _read_again(
    files: list[Path], way: Way, view: Datastore, kept: list[str]
) -> dict[str, Any]:
    """Return what is in exported files, as our reader has it; others can open them."""
    for file in files:
        xr.open_dataset(file, engine="h5netcdf", decode_times=False).close()
    if way.kind is z.ProductKind.COLLECTION:
        names = sorted(view.items("s/passed"))
        assert sorted(kept) == names
        found: dict[str, dict[str, Any]] = {}
        for file in files:
            item, group = _told_in(file)
            found.setdefault(item, {})[group] = read_file("netcdf", file)
        return {
            item: parts["/"] if len(parts) == 1 else xr.DataTree.from_dict(parts)
            for item, parts in found.items()
        }
    (file,) = files
    return {"": read_file("netcdf", file)}


def _by_item(found: dict[str, Any], way: Way, kept: list[str]) -> dict[str, xr.Dataset]:
    """Return items by label, each as it is by itself."""
    if list(found) == [""] and isinstance(found[""], dict):
        found = found[""]
    if way.kind is z.ProductKind.COLLECTION or not way.dimension or "" not in found:
        return {name: one.load() for name, one in found.items()}
    whole = found[""].load()
    labels = [str(label) for label in whole[way.dimension].values]
    return {
        name: settled(whole.isel({way.dimension: [labels.index(name)]}))
        for name in kept
    }
