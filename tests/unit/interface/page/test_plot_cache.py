"""What pictures are made of is looked up seldom, and once for all browsers."""

import os
import threading

import pytest

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.page import plot_cache
from ziggy_dask.interface.page.plot_cache import PlotCache
from ziggy_dask.records.overview import scoreboard


@pytest.fixture
def database(cluster, code, client):
    """Records of five instances of one subtask each."""
    image, out = data_type("image", "in"), data_type("out", "out", external=False)
    root = code("def copy(image):\n    return image\n")
    cluster.register(pipeline(root, image, out, node("copy", "copy", "image", "out")))
    store(cluster, {"set-1/in": images(1)})
    for _ in range(5):
        cluster.run("test", client=client)
    return cluster._site.database


def test_what_has_not_changed_is_not_looked_up_again(database):
    book = PlotCache(database)
    scores = scoreboard(database, 1)
    made = book.material(1, scores)
    assert made.ran.subtasks == 1
    assert book.material(1, scores) is made
    # What has changed is looked up again, but not at once.
    assert book.material(1, ()) is made


def test_what_has_changed_is_looked_up_again_after_a_rest(database, monkeypatch):
    monkeypatch.setattr(plot_cache, "_REST", 0)
    book = PlotCache(database)
    made = book.material(1, ())
    assert book.material(1, scoreboard(database, 1)) is not made


def test_few_instances_are_kept(database):
    book = PlotCache(database)
    made = {number: book.material(number, ()) for number in range(1, 6)}
    kept = {n: book.material(n, ()) is made[n] for n in range(5, 0, -1)}
    assert kept == {5: True, 4: True, 3: True, 2: True, 1: False}


def test_the_thread_that_draws_lets_others_go_first(database):
    book = PlotCache(database)
    niceness = book.thread.submit(_niceness).result()
    assert niceness == min(_niceness() + 10, 19)


def _niceness() -> int:

    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
