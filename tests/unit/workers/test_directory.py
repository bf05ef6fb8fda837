"""Working directories among what others keep in the same place."""

from ziggy_dask.workers import task_directories, tidy


def test_only_what_is_ours_is_removed(tmp_path):
    for name in (
        "1-2-fit/st-0",
        "1-2-fit/st-1",
        "1-2-fit/.shared-77",
        "2-3-fit/st-0",
        "1-old-results/st-0",
        "2026-11-images/raw",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "1-2-notes").write_text("a file")
    (tmp_path / "1-4-link").symlink_to(tmp_path / "2-3-fit")
    found = [(path.name, *rest) for path, *rest in task_directories(tmp_path)]
    assert found == [("1-2-fit", 1, 2), ("2-3-fit", 2, 3)]
    tidy(tmp_path, 1, {(2, 1)})
    tidy(tmp_path, 2026, set())
    left = sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))
    assert left == [
        "1-2-fit",
        "1-2-fit/st-1",
        "1-2-notes",
        "1-4-link",
        "1-old-results",
        "1-old-results/st-0",
        "2-3-fit",
        "2-3-fit/st-0",
        "2026-11-images",
        "2026-11-images/raw",
    ]
