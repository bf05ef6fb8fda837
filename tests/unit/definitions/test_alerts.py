import pytest

from ziggy_dask.definitions import read_cluster


@pytest.mark.parametrize(
    ("earlier", "now", "value"),
    [("slower", "time_factor", 4.0), ("hungrier", "memory_factor", 0.0)],
)
def test_earlier_names_work_and_say_what_they_are_called_now(
    tmp_path, logged, earlier, now, value
):
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: a\nalerts: {{{earlier}: {value}}}\n")
    assert getattr(read_cluster(file).alerts, now) == value
    assert f"'{earlier}' is now called '{now}'" in logged.text
