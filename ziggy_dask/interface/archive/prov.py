"""An instance as W3C PROV: what was made of what, by which activity, with which code.

https://www.w3.org/TR/prov-o/ has the terms, https://www.w3.org/submissions/prov-json/ the form.
Versions of products, code, parameters and environments are entities, attempts of tasks are
activities; the definition of the pipeline is their plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.interface.archive.account import (
    Handled,
    TaskAccount,
    accounts,
    ended_tasks,
)
from ziggy_dask.interface.archive.files import require_new, time_text, write_json
from ziggy_dask.records import instances, outcomes
from ziggy_dask.records.code import Kind
from ziggy_dask.records.instances import InstanceRecord

Attributes = dict[str, Any]
_AGENT = "ziggy:software"
_PLAN = "ziggy:pipeline"
_ROLES = {
    Kind.CODE: "code",
    Kind.PARAMETERS: "parameters",
    Kind.ENVIRONMENT: "environment",
    Kind.NODE: "node",
}


def export_prov(site: OpenCluster, instance: int, file: Path) -> Path:
    """Write what an instance read, ran and made as PROV-JSON, into a file that is not there.

    Parameters
    ----------
    site
        The open cluster.
    instance
        The instance; it has to have ended.
    file
        Where to.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ClusterError
        If the instance has not ended or ran no task, or something is there already.
    RecordsError
        If there is no such instance.
    """
    require_new(file)
    record = instances.instance(site.database, instance)
    tasks = list(accounts(site, ended_tasks(site, record)))
    write_json(file, _Document(site, record).of(tasks))
    return file


class _Document:
    """Collects what a document says: entities and activities by name, and relations."""

    def __init__(self, site: OpenCluster, record: InstanceRecord) -> None:
        self._site = site
        self._record = record
        self._said: dict[str, dict[str, Attributes]] = {}
        self._related: set[tuple[str, ...]] = set()

    def of(self, tasks: Iterable[TaskAccount]) -> dict[str, Any]:
        """Return the document on some tasks."""
        record = self._record
        self._say(
            "agent",
            _AGENT,
            {
                "prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"},
                "prov:label": "ziggy-dask",
                "ziggy:version": record.software.get(
                    "ziggy-dask", version("ziggy-dask")
                ),
            },
        )
        self._say(
            "entity",
            _PLAN,
            {
                "prov:type": {"$": "prov:Plan", "type": "prov:QUALIFIED_NAME"},
                "prov:label": f"pipeline {record.pipeline}, version {record.version}",
            },
        )
        for one in tasks:
            self._task(one)
        cluster = quote(self._site.cluster.name, safe="")
        return {"prefix": {"ziggy": f"urn:ziggy-dask:{cluster}:"}, **self._said}

    def _say(self, kind: str, name: str, attributes: Attributes) -> None:
        self._said.setdefault(kind, {}).setdefault(name, attributes)

    def _relate(self, kind: str, **attributes: str) -> None:
        key = (kind, *attributes.values())
        if key not in self._related:
            self._related.add(key)
            said = {f"prov:{name}": value for name, value in attributes.items()}
            relations = self._said.setdefault(kind, {})
            relations[f"_:{kind}{len(relations)}"] = said

    def _task(self, one: TaskAccount) -> None:
        """Say what each attempt of a task read, was given and made."""
        inputs = [self._product(product) for product in one.inputs]
        activities = self._activities(one)
        for attempt, activity in activities.items():
            for name in inputs:
                self._relate("used", activity=activity, entity=name, role="input")
            for role, name in self._ingredients(one, attempt):
                self._relate("used", activity=activity, entity=name, role=role)
        before: dict[str, str] = {}
        for product in one.outputs:
            assert product.version is not None  # it was made by this task
            name = self._product(product)
            made_in = product.version.attempt
            for attempt, activity in activities.items():
                if made_in in (None, attempt):
                    self._relate("wasGeneratedBy", entity=name, activity=activity)
            for source in inputs:
                self._relate("wasDerivedFrom", generatedEntity=name, usedEntity=source)
            for part in product.parts:
                kept = self._product(replace(product, version=part, parts=()))
                self._relate("wasDerivedFrom", generatedEntity=name, usedEntity=kept)
            if earlier := before.get(product.path):
                self._relate("wasDerivedFrom", generatedEntity=name, usedEntity=earlier)
            before[product.path] = name

    def _activities(self, one: TaskAccount) -> dict[int, str]:
        """Say which attempts there were; return their names by number."""
        record = one.record
        found: dict[int, str] = {}
        times = _times(self._site, one)
        if not times and record.started is not None:  # nothing of it came to its end
            end = record.finished or record.started
            times[record.attempt] = (record.started, end, 0)
        for attempt, (begin, end, count) in times.items():
            name = f"ziggy:task/{record.id}/{attempt}"
            attributes: Attributes = {
                "prov:startTime": time_text(begin),
                "prov:endTime": time_text(end),
                "prov:label": f"{record.node} {record.unit}".strip(),
                "ziggy:instance": record.instance,
                "ziggy:complete_subtasks": count,
            }
            if record.is_error and attempt == max(times):
                attributes["ziggy:error"] = (
                    record.message or "it did not come to its end"
                )
            self._say("activity", name, attributes)
            said = {"activity": name, "agent": _AGENT, "plan": _PLAN}
            self._relate("wasAssociatedWith", **said)
            found[attempt] = name
        return found

    def _product(self, one: Handled) -> str:
        """Say that there is a version of a product; return its name."""
        path = quote(one.path)
        attributes: Attributes = {"prov:label": one.path}
        if one.data_type:
            attributes["ziggy:data_type"] = one.data_type
        if one.version is None:
            name = f"ziggy:product/{path}"
        else:
            name = f"ziggy:product/{path}@{one.version.number}"
            attributes["ziggy:version"] = one.version.number
            attributes["ziggy:snapshot"] = one.version.snapshot
        self._say("entity", name, attributes)
        return name

    def _ingredients(self, one: TaskAccount, attempt: int) -> Iterator[tuple[str, str]]:
        """Say with what an attempt worked; yield roles and names."""
        digests = dict.fromkeys(e.recipe for e in one.extents if e.attempt == attempt)
        for digest in digests:
            for kind, label, content_digest, content in one.recipes.get(digest, ()):
                if kind not in _ROLES:
                    continue
                role = _ROLES[kind]
                name = f"ziggy:{role}/{content_digest}"
                attributes: Attributes = {
                    "prov:label": label,
                    "ziggy:sha256": content_digest,
                }
                if kind is not Kind.CODE:
                    attributes["prov:value"] = json.dumps(
                        content, sort_keys=True, ensure_ascii=False
                    )
                self._say("entity", name, attributes)
                yield role, name


def _times(
    site: OpenCluster, one: TaskAccount
) -> dict[int, tuple[datetime, datetime, int]]:
    """Return begin, end and number of the complete subtasks of a task, by attempt."""
    found: dict[int, tuple[datetime, datetime, int]] = {}
    subtasks = {s.number: s for s in outcomes.subtasks(site.database, one.record.id)}
    for extent in one.extents:
        for number in range(extent.start, extent.stop):
            subtask = subtasks.get(number)
            if subtask is None:
                continue
            end = subtask.started + timedelta(seconds=subtask.wall_s)
            begin, last, count = found.get(extent.attempt, (subtask.started, end, 0))
            found[extent.attempt] = (
                min(begin, subtask.started),
                max(last, end),
                count + 1,
            )
    return dict(sorted(found.items()))
