"""An instance as a research object: an RO-Crate of the Provenance Run profile.

https://w3id.org/ro/wfrun/provenance/0.5. The crate is a directory with the definition, the code
that ran, a table of subtasks and, if wanted, the products; ``ro-crate-metadata.json`` says how
they hang together: the run of the pipeline, one action per task, what each read, made and was
given.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ziggy_dask.datastore import Datastore
from ziggy_dask.definitions.text import pipeline_to_yaml
from ziggy_dask.engine.loading import LoadedTasks
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.interface.archive.account import (
    Handled,
    accounts,
    ended_tasks,
)
from ziggy_dask.interface.archive.files import require_new
from ziggy_dask.interface.states_at import snapshot_of
from ziggy_dask.records import TaskStep, instances, outcomes
from ziggy_dask.records.code import Kind, load_code
from ziggy_dask.records.instances import InstanceRecord, TaskRecord

Entity = dict[str, Any]
METADATA = "ro-crate-metadata.json"
WORKFLOW = "pipeline.yaml"
_SUBTASKS = "subtasks.csv"
_FORMAL_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_ENGINE = "#ziggy-dask"
_LANGUAGE = "#pipeline-definition"
_LICENSE = "#license"
_NO_LICENSE = "Not stated by who exported this crate"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What a task was given and what came of it, as entities name it."""

    record: TaskRecord
    used: tuple[str, ...]
    """Identities of products, models and values that it was given."""
    made: tuple[str, ...]
    """Identities of the products that it made."""


def export_crate(
    site: OpenCluster,
    instance: int,
    directory: Path,
    *,
    with_data: bool = False,
    license_text: str = "",
) -> Path:
    """Write an RO-Crate of an instance into a directory that is not there yet.

    Parameters
    ----------
    site
        The open cluster.
    instance
        The instance; it has to have ended.
    directory
        Where to.
    with_data
        Whether to write its products as well, as they were when it ended.
    license_text
        URL or words of the license; empty: the crate says that it was not stated.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    ClusterError
        If the instance has not ended or ran no task, or something is there already.
    RecordsError, DatastoreError
        If there is no such instance, or its products expired.
    """
    record = instances.instance(site.database, instance)
    tasks = ended_tasks(site, record)
    require_new(directory)
    snapshot = snapshot_of(site, instance) if with_data else ""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".crate-", dir=directory.parent, ignore_cleanup_errors=True
    ) as place:
        crate = Path(place) / "crate"
        crate.mkdir()
        entities = _Crate(site, record, tasks, crate, snapshot, license_text).entities()
        content = {
            "@context": [_CONTEXT, {"sha256": f"{_TERMS}sha256"}],
            "@graph": entities,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (crate / METADATA).write_text(text + "\n", encoding="utf-8")
        os.replace(crate, directory)  # noqa: PTH105 -- of a directory
    return directory


class _Crate:
    """Writes the files of a crate, and describes them."""

    def __init__(
        self,
        site: OpenCluster,
        record: InstanceRecord,
        tasks: LoadedTasks,
        place: Path,
        snapshot: str,
        license_text: str,
    ) -> None:
        self._site = site
        self._record = record
        self._place = place
        self._snapshot = snapshot
        self._license = license_text
        self._pipeline, _ = instances.instance_pipeline(site.database, record.id)
        self._plans = tasks
        self._accounts = list(accounts(site, tasks))
        self._found: dict[str, Entity] = {}

    def entities(self) -> list[Entity]:
        """Return all entities, after all files were written."""
        (self._place / WORKFLOW).write_text(
            pipeline_to_yaml(self._pipeline), encoding="utf-8"
        )
        self._write_code()
        self._write_subtasks()
        tasks = list(self._tasks())
        data = self._write_data({made for one in tasks for made in one.made})
        actions = [self._action(one) for one in tasks]
        files = [
            self._file(file)
            for file in sorted(self._place.rglob("*"))
            if file.is_file()
            and file.relative_to(self._place) not in (Path(WORKFLOW), *data)
        ]
        return [
            self._descriptor(),
            self._root([*files, *(self._file(self._place / one) for one in data)]),
            *self._workflow(),
            *self._run(tasks),
            *actions,
            *self._found.values(),
            *self._licenses(),
            *(
                {"@id": url, "@type": "CreativeWork", "name": name, "version": url[-3:]}
                for url, name in _PROFILES.items()
            ),
        ]

    def _descriptor(self) -> Entity:
        return {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [
                {"@id": "https://w3id.org/ro/crate/1.1"},
                {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
            ],
        }

    def _root(self, files: Sequence[str]) -> Entity:
        record = self._record
        title = f"Instance {record.id} of pipeline {record.pipeline}"
        return {
            "@id": "./",
            "@type": "Dataset",
            "name": f"{title}: {record.name}" if record.name else title,
            "description": f"What {title[0].lower()}{title[1:]} read, ran and made. "
            f"{self._pipeline.description}".strip(),
            "datePublished": _time(record.finished or record.created),
            "license": {"@id": self._license_id},
            "conformsTo": _references(_PROFILES),
            "mainEntity": {"@id": WORKFLOW},
            "hasPart": _references([WORKFLOW, *dict.fromkeys(files)]),
            "mentions": _references([_run_id(record), f"#engine-run-{record.id}"]),
        }

    @property
    def _license_id(self) -> str:
        is_url = self._license.startswith(("https://", "http://"))
        return self._license if is_url else _LICENSE

    def _licenses(self) -> list[Entity]:
        name = self._license or _NO_LICENSE
        return [
            {
                "@id": self._license_id,
                "@type": "CreativeWork",
                "name": name,
                "description": name,
            }
        ]

    def _workflow(self) -> list[Entity]:
        """Return the definition, its steps, what they run, and their inputs and outputs."""
        pipeline = self._pipeline
        taken = {i.data_type for node in pipeline.nodes for i in node.inputs}
        given = {one for node in pipeline.nodes for one in node.outputs}
        named = [*(s.name for s in pipeline.parameter_sets)]
        ran = {one.node for one in self._plans.records.values()}
        nodes = [one for one in pipeline.nodes if one.name in ran]
        workflow: Entity = {
            "@id": WORKFLOW,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": pipeline.name,
            "description": pipeline.description or f"Pipeline {pipeline.name}",
            "version": str(self._record.version),
            "programmingLanguage": {"@id": _LANGUAGE},
            "input": _references(
                [f"#input-{_safe(one)}" for one in (*sorted(taken - given), *named)]
            ),
            "output": _references([f"#output-{_safe(one)}" for one in sorted(given)]),
            "hasPart": _references([_tool_id(one.name) for one in nodes]),
            "step": _references([_step_id(one.name) for one in nodes]),
            **self._of_file(self._place / WORKFLOW),
        }
        return [
            workflow,
            {
                "@id": _LANGUAGE,
                "@type": "ComputerLanguage",
                "name": "Pipeline definition of ziggy-dask",
                "version": version("ziggy-dask"),
            },
            *_formal_parameters("input", sorted(taken - given), "Collection"),
            *_formal_parameters("output", sorted(given), "Collection"),
            *_formal_parameters("input", named, "PropertyValue"),
            *(
                {
                    "@id": _step_id(one.name),
                    "@type": "HowToStep",
                    "name": one.name,
                    "position": str(place),
                    "workExample": {"@id": _tool_id(one.name)},
                }
                for place, one in enumerate(nodes, start=1)
            ),
            *(
                {
                    "@id": _tool_id(one.name),
                    "@type": "SoftwareApplication",
                    "name": one.name,
                    "description": f"Step of node {one.name}: {_step_text(one.step)}",
                    "softwareVersion": self._record.code_version or "not recorded",
                }
                for one in nodes
            ),
        ]

    def _run(self, tasks: Sequence[_Task]) -> list[Entity]:
        """Return the run of the pipeline, and the engine with its work on the tasks."""
        record = self._record
        made = dict.fromkeys(one for task in tasks for one in task.made)
        used = dict.fromkeys(one for task in tasks for one in task.used)
        return [
            {
                "@id": _run_id(record),
                "@type": "CreateAction",
                "name": f"Run of {record.pipeline} as instance {record.id}",
                "instrument": {"@id": WORKFLOW},
                "agent": {"@id": _ENGINE},
                "object": _references(one for one in used if one not in made),
                "result": _references(made),
                **_ended(record.created, record.finished, record.message),
                "actionStatus": _status(is_good=record.state.value == "COMPLETED"),
            },
            {
                "@id": _ENGINE,
                "@type": "SoftwareApplication",
                "name": "ziggy-dask",
                "softwareVersion": record.software.get(
                    "ziggy-dask", version("ziggy-dask")
                ),
                "description": "Science data pipelines on Dask, Zarr and xarray",
            },
            {
                "@id": f"#engine-run-{record.id}",
                "@type": "OrganizeAction",
                "name": f"Work on instance {record.id}",
                "agent": {"@id": _ENGINE},
                "instrument": {"@id": _ENGINE},
                "object": _references(f"#control-{t.record.id}" for t in tasks),
                "result": {"@id": _run_id(record)},
                **_ended(record.created, record.finished, ""),
            },
            *(
                {
                    "@id": f"#control-{one.record.id}",
                    "@type": "ControlAction",
                    "name": f"Handing out task {one.record.id}",
                    "instrument": {"@id": _step_id(one.record.node)},
                    "object": {"@id": f"#task-{one.record.id}"},
                }
                for one in tasks
            ),
        ]

    def _action(self, one: _Task) -> Entity:
        record = one.record
        is_good = record.step is TaskStep.COMPLETE and not record.is_error
        ended = _ended(record.started or self._record.created, record.finished, "")
        action: Entity = {
            "@id": f"#task-{record.id}",
            "@type": "CreateAction",
            "name": f"{record.node} {record.unit} (task {record.id})",
            "description": f"{record.complete} of {record.total} subtasks complete",
            "instrument": {"@id": _tool_id(record.node)},
            "agent": {"@id": _ENGINE},
            "object": _references(one.used),
            "result": _references(one.made),
            "actionStatus": _status(is_good=is_good),
            **ended,
        }
        if not is_good:
            action["error"] = record.message or "it did not come to its end"
        return action

    def _tasks(self) -> Iterator[_Task]:
        """Yield the tasks, and keep what they used and made as entities."""
        for one in self._accounts:
            used = [self._product(product, "input") for product in one.inputs]
            for recipe in one.recipes.values():
                used += self._values(recipe)
            results = [self._product(product, "output") for product in one.outputs]
            yield _Task(
                record=one.record,
                used=tuple(dict.fromkeys(used)),
                made=tuple(dict.fromkeys(results)),
            )

    def _product(self, one: Handled, way: str) -> str:
        """Keep a version of a product, or a file of a model, as an entity; return its id."""
        found = one.version
        key = f"#product/{quote(one.path)}" + (f"@{found.number}" if found else "")
        entity: Entity = {
            "@id": key,
            "@type": "Collection",
            "name": f"{one.path}, version {found.number}" if found else one.path,
        }
        if found is not None:
            assert found.time is not None  # a publication has one
            entity["dateModified"] = _time(found.time)
        inner = {one for node in self._pipeline.nodes for one in node.outputs}
        side = "output" if way == "output" or one.data_type in inner else "input"
        if one.data_type:
            entity["exampleOfWork"] = {"@id": f"#{side}-{_safe(one.data_type)}"}
        earlier = [
            Handled(path=one.path, version=part, data_type=one.data_type)
            for part in one.parts
        ]
        if earlier:
            entity["isBasedOn"] = [
                {"@id": self._product(part, way)} for part in earlier
            ]
        self._found.setdefault(key, entity)
        return key

    def _values(self, recipe: Sequence[tuple[Kind, str, str, Any]]) -> Iterator[str]:
        """Keep the values of parameters of a recipe as entities; yield their ids."""
        declared = {one.name for one in self._pipeline.parameter_sets}
        for kind, name, digest, content in recipe:
            if kind is not Kind.PARAMETERS:
                continue
            key = f"#parameters/{_safe(name)}-{digest[:16]}"
            entity: Entity = {
                "@id": key,
                "@type": "PropertyValue",
                "name": name,
                "value": json.dumps(content, sort_keys=True, ensure_ascii=False),
            }
            if name in declared:
                entity["exampleOfWork"] = {"@id": f"#input-{_safe(name)}"}
            self._found.setdefault(key, entity)
            yield key

    def _write_code(self) -> None:
        """Write all code that the tasks ran, as it is on record."""
        trees = {
            digest
            for one in self._accounts
            for recipe in one.recipes.values()
            for kind, _, digest, _ in recipe
            if kind is Kind.CODE
        }
        for digest in sorted(trees):
            tree = load_code(self._site.database, digest)
            for one in tree.files:
                file = self._place / "code" / digest[:16] / one.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(one.content)

    def _write_subtasks(self) -> None:
        """Write a table of all subtasks."""
        with (self._place / _SUBTASKS).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(
                ("task", "subtask", "items", "state", "started", "seconds", "host")
            )
            for record in self._plans.records.values():
                for one in outcomes.subtasks(self._site.database, record.id):
                    started = _time(one.started)
                    items = " ".join(one.items)
                    row = (one.state.value, started, f"{one.wall_s:.3f}", one.host)
                    table.writerow((record.id, one.number, items, *row))

    def _write_data(self, made: set[str]) -> list[Path]:
        """Write the products that were made, and say which files each consists of."""
        if not self._snapshot:
            return []
        store = Datastore(self._site.repository, self._snapshot)
        paths = {self._found[one]["name"].rpartition(", version ")[0] for one in made}
        written: list[Path] = []
        for path in sorted(paths & set(store)):
            files = [
                one.relative_to(self._place)
                for one in store.export(self._place / "data", [path])
            ]
            written += files
            for key in made:
                if self._found[key]["name"].rpartition(", version ")[0] == path:
                    self._found[key]["hasPart"] = _references(
                        quote(one.as_posix()) for one in files
                    )
        return written

    def _file(self, file: Path) -> str:
        """Keep a file as an entity; return its id."""
        name = file.relative_to(self._place).as_posix()
        key = quote(name)
        self._found[key] = {
            "@id": key,
            "@type": "File",
            "name": name,
            **self._of_file(file),
        }
        return key

    def _of_file(self, file: Path) -> Entity:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"contentSize": str(file.stat().st_size), "sha256": digest}


def _formal_parameters(way: str, names: Iterable[str], kind: str) -> list[Entity]:
    """Return what the definition takes or makes, in order."""
    return [
        {
            "@id": f"#{way}-{_safe(name)}",
            "@type": "FormalParameter",
            "name": name,
            "additionalType": kind,
            "conformsTo": {"@id": _FORMAL_PARAMETER},
        }
        for name in names
    ]


def _references(keys: Iterable[str] | Mapping[str, Any]) -> list[Entity]:
    return [{"@id": key} for key in keys]


def _ended(begin: datetime, end: datetime | None, error: str) -> Entity:
    found = {"startTime": _time(begin), "endTime": _time(end or begin)}
    return found | ({"error": error} if error else {})


def _status(*, is_good: bool) -> Entity:
    kind = "CompletedActionStatus" if is_good else "FailedActionStatus"
    return {"@id": f"http://schema.org/{kind}"}


def _time(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


def _safe(name: str) -> str:
    return quote(name, safe="")


def _run_id(record: InstanceRecord) -> str:
    return f"#instance-{record.id}"


def _step_id(node: str) -> str:
    return f"{WORKFLOW}#{_safe(node)}"


def _tool_id(node: str) -> str:
    return f"#node-{_safe(node)}"


def _step_text(step: object) -> str:
    for name in ("function", "program", "script"):
        if found := getattr(step, name, ""):
            return f"{name} {found}"
    return type(step).__name__
