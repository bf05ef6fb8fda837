"""What products of files say of earlier tasks."""

from ziggy_dask.datastore.origin import with_earlier


def said(task):
    recipe = f"recipe-{task % 2}"
    return {
        "kind": "file",
        "task": task,
        "made": [[0, 1, 0, recipe]],
        "recipes": {recipe: {"code": recipe}},
    }


def after(tasks, there):
    """Return what a product says after some tasks, while it has files of `there`."""
    found, asked = None, []

    def tasks_of_files():
        asked.append(found)
        return there(asked_for)

    for asked_for in tasks:
        found = with_earlier(found, said(asked_for), tasks_of_files)
    return found, len(asked)


def test_all_tasks_are_kept_whose_files_are_there_each_recipe_once():
    found, asked = after(range(100), lambda task: range(task + 1))
    assert sorted(map(int, found["earlier"]["tasks"])) == list(range(99))
    assert found["earlier"]["recipes"].keys() == {"recipe-0", "recipe-1"}
    assert (found["task"], asked) == (99, 7)


def test_tasks_whose_files_were_all_replaced_are_dropped():
    found, _ = after(range(100), lambda task: {0, task})
    assert "0" in found["earlier"]["tasks"]
    assert len(found["earlier"]["tasks"]) <= 4


def test_what_is_new_or_of_another_kind_keeps_nothing():
    assert with_earlier(None, said(2), list) == said(2)
    assert with_earlier(said(1) | {"kind": "array"}, said(2), list) == said(2)
    assert with_earlier(said(2), said(2), list) == said(2)
