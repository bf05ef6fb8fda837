"""What notebooks show of objects: valid HTML, whatever things are called; pictures."""

import re
import sys
import threading

import html5lib
import matplotlib as mpl
import numpy as np
import pytest

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.definitions import parameter_from_value
from ziggy_dask.errors import DatastoreError

mpl.use("agg")

HOSTILE = "</div><script>alert('x')</script> & \"co\""
ALGORITHMS = """
    def fragile(raw, context):
        if context.labels[0] == "i1":
            raise ValueError("</td><script>alert('y')</script>")
        return raw * 2


    def mean(raw):
        return raw.mean("item")
"""


@pytest.fixture
def shown(cluster, code, client) -> z.Instance:
    """An instance with a failure, whose names try to be HTML."""
    value = parameter_from_value("note", HOSTILE)
    definition = pipeline(
        code(ALGORITHMS),
        data_type("raw", "L0"),
        data_type("scaled", "L1", external=False),
        data_type("level<&>", "L2", external=False, subtask=""),
        node("scale <script>", "fragile", "raw", "scaled", parameters=("<S>",)),
        node("mean", "mean", "raw", "level<&>", single_subtask=True),
        parameter_sets=(z.ParameterSet(name="<S>", parameters=(value,)),),
        description=HOSTILE,
    )
    cluster.register(definition)
    store(cluster, {"set-1/L0": images(3)})
    return cluster.run("test", client=client, name=HOSTILE)


def parsed(shown):
    """Return the parsed HTML of an object; faults of it raise."""
    text = shown._repr_html_()
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    root = parser.parse(f"<!DOCTYPE html><title>t</title>{text}")
    assert root.find(".//script") is None
    links = re.findall(
        r"(?:https?:)?//[\w.]+[^\"'<) ]*", re.sub(r"sqlite:\S+", "", text)
    )
    assert set(links) <= {"http://www.w3.org/2000/svg"}
    return root, " ".join(root.itertext())


def test_every_object_is_shown_as_sound_html(cluster, shown):
    datastore = cluster.datastore
    objects = {
        "Cluster": cluster,
        "Instance": shown,
        "Task": shown.tasks[0],
        "Pipeline": shown.pipeline,
        "Plan of": cluster.plan("test"),
        "Datastore": datastore,
        "Product": datastore.product("set-1/L2"),
    }
    for kind, one in objects.items():
        root, _ = parsed(one)
        assert root.find(".//span[@class='zg-soft']").text == kind
        assert root.find(".//details") is not None
    _, words = parsed(cluster.pipelines["test"])
    assert "version 0" in words


def test_an_instance_shows_its_counts_and_failures(cluster, shown):
    root, words = parsed(shown)
    assert HOSTILE in words
    assert "</td><script>alert('y')</script>" in words
    values = [float(one.get("value")) for one in root.findall(".//td/data")]
    assert values[:4] == [2, 1, 3, 1], "complete, failed, subtasks, tasks"
    assert "alert('y')" in parsed(shown.tasks[0])[1]


def test_a_product_says_where_it_comes_from(cluster, shown):
    product = cluster.datastore.product("set-1/L2")
    assert product.origin["instance"] == shown.id
    assert product.kind is z.ProductKind.ARRAY
    assert product.open()["pixels"].shape == (4, 5)
    axes = product.plot()
    drawn = np.asarray(axes.get_images()[0].get_array())
    assert np.array_equal(drawn, product.open()["pixels"].values)
    mpl.pyplot.close("all")


def test_one_item_of_a_product_is_drawn(cluster, shown):
    raw = cluster.datastore.product("set-1/L0")
    drawn = np.asarray(raw.plot("pixels", item=2).get_images()[0].get_array())
    assert np.array_equal(drawn, images(3)["pixels"].values[2])
    mpl.pyplot.close("all")
    store(cluster, {"set-2/L9": images(2)[["item"]]})
    with pytest.raises(DatastoreError, match="made of numbers"):
        cluster.datastore.product("set-2/L9").plot()


def test_an_instance_is_drawn_in_one_line(shown):
    timeline = shown.plot.timeline()
    assert len(timeline.patches) == 4, "one bar per subtask"
    labels = [one.get_text() for one in timeline.get_legend().get_texts()]
    assert labels == ["scale <script>", "mean", "failed"]
    durations = shown.plot.durations()
    ticks = [one.get_text() for one in durations.get_yticklabels()]
    assert ticks == ["scale <script>", "mean"]
    names = {one.get_text() for one in shown.plot.lineage().texts}
    assert names == {"raw", "scaled", "level<&>", "scale <script>", "mean"}
    mpl.pyplot.close("all")


def test_products_are_completed_by_tab(cluster, shown):
    assert "set-1/L2" in cluster.datastore._ipython_key_completions_()


def test_a_running_instance_is_followed_to_its_end(cluster, code, client):
    root = code("""
        import time
        from pathlib import Path

        def slow(raw):
            deadline = time.monotonic() + 60
            while not (Path(__file__).parent / "go").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return raw
    """)
    cluster.register(
        pipeline(
            root,
            data_type("raw", "L0"),
            data_type("same", "L1", external=False),
            node("slow", "slow", "raw", "same"),
        )
    )
    store(cluster, {"set-1/L0": images(2)})
    is_planned = threading.Event()
    run = threading.Thread(
        target=cluster.run,
        args=("test",),
        kwargs={"client": client, "listen": lambda event: is_planned.set()},
    )
    run.start()
    assert is_planned.wait(60)
    live = cluster.instance(1).watch()
    assert repr(live) == "<PROCESSING: slow 0/2>"
    before = live._widget.value
    (root / "go").touch()
    run.join()
    assert live.wait(60)
    assert "PROCESSING" in before
    assert "COMPLETED" in live._widget.value
    assert "application/vnd.jupyter.widget-view+json" in str(live._repr_mimebundle_())


def test_without_widgets_an_instance_is_watched_as_text(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    live = shown.watch()
    assert live.wait(60)
    bundle = live._repr_mimebundle_()
    assert bundle["text/plain"].startswith(
        "<ERRORS_STALLED: scale <script> 2/3 (1 failed)"
    )
    assert "text/html" in bundle
    live.stop()
