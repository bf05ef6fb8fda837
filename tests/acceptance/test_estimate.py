"""What a node would get, before anything runs."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.interface.cluster import create_cluster
from ziggy_dask.interface.main import ziggy

ROOT = Path(__file__).parents[2]
ALGORITHMS = """
def double(L0):
    return L0 * 2
"""


@pytest.fixture
def hecc(tmp_path) -> z.Cluster:
    """A cluster with the ready file for NASA's HECC, in a directory of its own."""
    (tmp_path / "clusters").mkdir()
    return create_cluster(
        shutil.copy(ROOT / "clusters" / "pbs.yaml", tmp_path / "clusters")
    )


def command(cluster: z.Cluster, *arguments: object):
    words = ["--cluster", str(cluster._site.cluster.path), "estimate"]
    return CliRunner().invoke(ziggy, [*words, *map(str, arguments)])


NEEDS = ("--subtasks", 10_000, "--memory", "10GB", "--time", "0.15h")


def test_a_table_over_architectures_marks_the_one_that_is_used(hecc):
    hecc.register(ROOT / "pipelines" / "sample")
    asked = ("sample", "--node", "permuter", "--environment", "hecc", *NEEDS)
    done = command(hecc, *asked, "--tasks", 2)
    assert done.exit_code == 0, done.exception
    lines = [line.split() for line in done.output.splitlines()]
    assert ["→", "rom_ait", "Rome", "198", "51", "1", "0:15:00", "low", "201"] in lines
    found = json.loads(command(hecc, *asked, "--tasks", 2, "--json").stdout)
    assert found["subtasks"] == [5000, 5000]
    chosen = [one for one in found["architectures"] if one["is_chosen"]]
    assert [one["estimate"]["cost"] for one in chosen] == [200.97]


def test_short_subtasks_under_a_long_limit_say_why_they_get_few_jobs(hecc):
    hecc.register(ROOT / "pipelines" / "sample")
    few = ("--subtasks", 100, "--tasks", 1, "--memory", "10GB", "--time", "1h")
    asked = ("sample", "--node", "permuter", "--environment", "hecc", *few)
    said = command(hecc, *asked, "--typical", "1s").output
    assert "up to 3600 subtasks run one after another on each core" in said
    assert "for more jobs bring the two closer together" in said
    assert "one after another" not in command(hecc, *asked, "--typical", "1h").output


def test_python_gives_the_same_in_one_call(hecc):
    hecc.register(ROOT / "pipelines" / "sample")
    made = hecc.estimate(
        "sample",
        "permuter",
        subtasks=10_000,
        tasks=2,
        memory_bytes=10_000_000_000,
        longest_s=540.0,
    )
    assert (made.chosen.architecture, made.chosen.cost) == ("rom_ait", 200.97)
    assert len(made.rows) == 6


def test_architectures_that_are_too_small_say_why(hecc):
    hecc.register(ROOT / "pipelines" / "sample")
    asked = [
        "sample",
        "--node",
        "permuter",
        "--subtasks",
        100,
        "--time",
        "1h",
        "--memory",
    ]
    done = command(hecc, *asked, "600GB")
    assert "has 128 GB, a subtask needs 600" in done.output
    assert "tur_ath" in next(line for line in done.output.splitlines() if "→" in line)
    with pytest.raises(
        z.ClusterError, match="tur_ath: has 768 GB, a subtask needs 900"
    ):
        ziggy.main(
            [
                "--cluster",
                str(hecc._site.cluster.path),
                "estimate",
                *map(str, asked),
                "900GB",
            ],
            standalone_mode=False,
        )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"node": "permutter"}, "no node 'permutter'; did you mean 'permuter'"),
        ({"environment": "hec"}, "no environment 'hec'; did you mean 'hecc'"),
        ({"longest_s": 0.0}, "does not say its time"),
        ({"subtasks": 0}, "how many subtasks 'permuter' will have is not known"),
        ({"from_history": True}, "so there is no history"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_what_is_not_known_is_told(hecc, asked, words):
    hecc.register(ROOT / "pipelines" / "sample")
    values = {
        "node": "permuter",
        "subtasks": 5,
        "memory_bytes": 10**9,
        "longest_s": 9.0,
    }
    values |= asked
    with pytest.raises(z.ZiggyError, match=words):
        hecc.estimate("sample", values.pop("node"), **values)


def test_wrong_numbers_are_wrong_command_lines(hecc):
    done = command(hecc, "sample", "--node", "permuter", "--time", "soon")
    assert (done.exit_code, "'soon' is not a valid time" in done.output) == (2, True)
    done = command(hecc, "sample", "--node", "permuter", "--memory", "much")
    assert (done.exit_code, "'much' is not a valid size" in done.output) == (2, True)


def test_plan_node_and_history_answer_what_is_not_asked(hecc, code, client):
    remote = z.Remote(environment="hecc", architecture="bro_ele")
    hecc.register(
        pipeline(
            code(ALGORITHMS),
            data_type("L0", "L0"),
            data_type("L1", "L1", external=False),
            node("double", "double", "L0", "L1", memory_bytes=10**9, remote=remote),
        )
    )
    store(hecc, {f"set-{number}/L0": images(30) for number in (1, 2)})
    planned = hecc.estimate("test", "double", longest_s=60.0)
    assert planned.subtasks == (30, 30)
    assert (planned.chosen.architecture, planned.chosen.active_cores) == ("bro_ele", 28)
    elsewhere = hecc.estimate("test", "double", subtasks=61, longest_s=60.0)
    assert elsewhere.subtasks == (31, 30)

    hecc.run("test", client=client)
    past = hecc.estimate("test", "double", from_history=True)
    assert past.history.subtasks == 60
    assert past.history.median_s.low <= past.history.median_s.value
    assert past.history.median_s.value <= past.history.longest_s.value
    assert past.needs.longest_s == past.history.longest_s.high
    assert past.needs.memory_bytes == round(past.history.most_bytes.high)
    said = command(hecc, "test", "--node", "double", "--from-history").output
    assert "From 60 past subtasks, with 95 % bands:" in said
