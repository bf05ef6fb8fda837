from dataclasses import fields

import pytest

from ziggy_dask.interface.page.drawings import PROGRESS, progress_of
from ziggy_dask.interface.page.lights import light_colours
from ziggy_dask.interface.page.token import is_token, page_token
from ziggy_dask.interface.page.view import View, changed
from ziggy_dask.records import Counts, InstanceState
from ziggy_dask.records.instances import InstanceRecord
from ziggy_dask.records.overview import Doing, NodeScore, Order
from ziggy_dask.records.workers import WorkersNow

IDLE = WorkersNow(at_work=0, lost=0, waiting_jobs=0)


def test_a_token_is_kept_to_its_owner_and_replaced_when_it_was_not(tmp_path):
    token = page_token(tmp_path)
    file = tmp_path / "page.token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert page_token(tmp_path) == token
    file.chmod(0o644)
    assert page_token(tmp_path) != token
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", [b"", b"wrong", "wrong ä".encode()])
def test_only_the_right_token_is_one(tmp_path, given):
    token = page_token(tmp_path)
    assert is_token(token.encode(), token)
    assert not is_token(given, token)


def test_a_view_changes_by_what_is_asked_for():
    view = changed(View(page=3), {"do": "sort", "value": "failed"})
    assert view == View(order=Order.FAILED)
    assert changed(view, {"do": "sort", "value": "failed"}).is_descending
    assert changed(view, {"do": "doing", "value": "failed"}).doing is Doing.FAILED
    assert changed(view, {"do": "page", "value": "-5"}).page == 0
    assert changed(view, {"do": "at", "value": "2.5"}).at_s == 2.5
    assert changed(view, {"do": "at", "value": ""}).at_s is None
    assert changed(view, {"do": "place", "value": "/set-1/out"}).place == "set-1/out"
    paged = changed(view, {"do": "instances", "value": "2"})
    assert changed(paged, {"do": "instance", "value": "7"}) == View(
        instance=7, instances=2
    )


@pytest.mark.parametrize(
    "ask",
    [{}, {"do": "halt"}, {"do": "sort", "value": "plan"}, {"do": "page"}]
    + [{"do": "place", "value": one} for one in ("..", "set-1/../..", "./set-1")]
    + [{"do": "at", "value": one} for one in ("-1", "nan", "inf", "1e99", "soon")],
)
def test_what_a_page_can_not_do_is_refused(ask):
    with pytest.raises(ValueError, match="is n|invalid literal|could not convert"):
        changed(View(), ask)


def test_a_new_cluster_is_idle():
    lights = light_colours([], IDLE, None, [])
    assert lights["pipelines"] == ("grey", "idle")
    assert lights["workers"] == ("grey", "none at work")
    assert lights["processes"] == ("grey", "no supervisor")
    assert lights["alerts"] == ("green", "none unseen")


@pytest.mark.parametrize(
    ("now", "light"),
    [
        (WorkersNow(at_work=2, lost=0, waiting_jobs=3), ("green", "2 at work")),
        (
            WorkersNow(at_work=0, lost=0, waiting_jobs=3),
            ("yellow", "waiting for 3 jobs"),
        ),
        (
            WorkersNow(at_work=2, lost=4, waiting_jobs=0),
            ("yellow", "2 at work, 4 subtasks lost"),
        ),
    ],
)
def test_the_light_of_workers_says_how_many_are_at_work(now, light):
    running = InstanceRecord(
        **{one.name: None for one in fields(InstanceRecord)}
        | {"state": InstanceState.PROCESSING, "pipeline": "small"}
    )
    assert light_colours([running], now, None, [])["workers"] == light


@pytest.mark.parametrize(
    ("waiting", "processing", "complete", "failed", "word"),
    [
        (2, 0, 0, 0, "waiting"),
        (1, 1, 0, 0, "processing"),
        (1, 0, 1, 0, "processing"),
        (0, 0, 2, 0, "complete"),
        (0, 1, 0, 1, "failed"),
    ],
)
def test_a_node_is_coloured_by_how_far_it_is(
    waiting, processing, complete, failed, word
):
    tasks = Counts(
        waiting=waiting, processing=processing, complete=complete, failed=failed
    )
    score = NodeScore(
        node="flip", tasks=tasks, subtasks=2, complete=complete, failed=failed
    )
    assert progress_of(score) == word
    assert len(set(PROGRESS.values())) == len(PROGRESS)
