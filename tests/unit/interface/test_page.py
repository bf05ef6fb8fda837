import pytest

from ziggy_dask.interface.page.drawings import PROGRESS, progress_of
from ziggy_dask.interface.page.panels import light_colours
from ziggy_dask.interface.page.token import is_token, page_token
from ziggy_dask.interface.page.view import View, changed
from ziggy_dask.records import Counts
from ziggy_dask.records.overview import Doing, NodeScore, Order


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
    paged = changed(view, {"do": "instances", "value": "2"})
    assert changed(paged, {"do": "instance", "value": "7"}) == View(
        instance=7, instances=2
    )


@pytest.mark.parametrize(
    "ask", [{}, {"do": "halt"}, {"do": "sort", "value": "plan"}, {"do": "page"}]
)
def test_what_a_page_can_not_do_is_refused(ask):
    with pytest.raises(ValueError, match="is n|invalid literal"):
        changed(View(), ask)


def test_a_new_cluster_is_idle():
    lights = light_colours([], [], None)
    assert lights["pipelines"] == ("grey", "idle")
    assert lights["processes"] == ("grey", "no supervisor")
    assert lights["alerts"] == ("green", "none unseen")


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
