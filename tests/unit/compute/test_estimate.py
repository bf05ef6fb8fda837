"""Numbers that cite the original calculator are what Ziggy 0.11 gives."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ziggy_dask as z
from ziggy_dask.compute.estimate import estimate, survey
from ziggy_dask.compute.formatting import clock, price
from ziggy_dask.compute.metrics import NasMetrics, QueueState, read_nas_metrics
from ziggy_dask.compute.needs import Needs, needs_of
from ziggy_dask.compute.offers import Estimate, chosen, least_depth, most_cores

GB = 10**9
HOUR = 3600


def architecture(name: str, cores: int, memory: int, cost: float) -> z.Architecture:
    return z.Architecture(name=name, cores=cores, memory_bytes=memory * GB, cost=cost)


QUEUES = (
    z.Queue(name="low", max_time_s=4 * HOUR),
    z.Queue(name="normal", max_time_s=8 * HOUR),
    z.Queue(name="long", max_time_s=120 * HOUR),
    z.Queue(name="debug", max_time_s=2 * HOUR, max_nodes=128, is_automatic=False),
    z.Queue(name="devel", max_time_s=2 * HOUR, max_nodes=512, is_automatic=False),
    z.Queue(name="reserved", is_reserved=True, is_automatic=False),
)
FIXTURE = z.Environment(
    name="fixture",
    batch=z.BatchSystem.PBS,
    queues=QUEUES,
    architectures=(
        architecture("ivy", 20, 64, 0.66),
        architecture("has", 24, 128, 0.80),
        architecture("bro", 28, 128, 1.00),
        architecture("sky_ele", 40, 192, 1.59),
        architecture("cas_ait", 40, 192, 1.64),
        architecture("rom_ait", 128, 512, 4.06),
    ),
)
HECC = replace(
    FIXTURE,
    name="hecc",
    architectures=(
        architecture("bro_ele", 28, 128, 1.0),
        architecture("sky_ele", 40, 192, 1.59),
        architecture("cas_ait", 40, 192, 1.64),
        architecture("rom_ait", 128, 512, 4.06),
        architecture("mil_ait", 128, 512, 4.08),
        architecture("tur_ath", 256, 768, 12.19),
    ),
)


def needs(
    gigabytes: float = 6, longest_h: float = 4.5, typical_h: float = 0.5, **remote
) -> Needs:
    values = {"environment": "fixture", "architecture": "ivy"} | remote
    return Needs(
        memory_bytes=round(gigabytes * GB),
        typical_s=typical_h * HOUR,
        longest_s=longest_h * HOUR,
        remote=z.Remote(**values),
    )


def figures(one: Estimate) -> tuple:
    return one.queue, one.nodes, one.active_cores, clock(one.wall_s), one.cost


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(needs(), ("normal", 6, 10, "4:30:00", 17.82), id="base"),
        pytest.param(
            needs(max_nodes=1), ("long", 1, 10, "25:00:00", 16.5), id="one node"
        ),
        pytest.param(
            needs(0.5), ("normal", 3, 20, "4:30:00", 8.91), id="little memory"
        ),
        pytest.param(
            needs(subtasks_per_core=12),
            ("normal", 5, 10, "6:00:00", 19.80),
            id="more per core",
        ),
        pytest.param(
            needs(subtasks_per_core=6),
            ("normal", 6, 10, "4:30:00", 17.82),
            id="fewer per core than time allows",
        ),
        pytest.param(
            needs(typical_h=4.5, one_subtask_per_node=True, scale_time_by_cores=False),
            ("normal", 500, 1, "4:30:00", 1485.0),
            id="a node each",
        ),
        pytest.param(
            needs(queue="long"), ("long", 6, 10, "4:30:00", 17.82), id="queue given"
        ),
        pytest.param(
            needs(reserved_queue="R1"), ("R1", 6, 10, "4:30:00", 17.82), id="reserved"
        ),
    ],
)
def test_sizes_as_the_original_calculator(asked, expected):
    assert figures(estimate(FIXTURE, asked, 500)) == expected


def test_a_queue_that_is_too_short_is_refused_as_by_the_original_calculator():
    with pytest.raises(z.ClusterError, match="'low' allows 4:00:00, but 4:30:00 is"):
        estimate(FIXTURE, needs(queue="low"), 500)


def test_costs_decide_as_in_the_original_calculator():
    offers = survey(FIXTURE, needs(architecture=""), [500])
    costs = {one.architecture.name: one.estimate.cost for one in offers}
    assert costs == {
        "ivy": 17.82,
        "has": 10.80,
        "bro": 13.50,
        "sky_ele": 14.31,
        "cas_ait": 14.76,
        "rom_ait": 18.27,
    }
    assert chosen(offers).architecture == "has"


DEPTHS = {"bro": 2.7, "cas": 11.3, "has": 2.7, "ivy": 2.2, "rom": 1.6, "sky": 1000}
METRICS = NasMetrics(
    {
        name: QueueState(nodes=1, backlog=1, run_out_h=depth, expansion=1 + depth)
        for name, depth in DEPTHS.items()
    }
)


def test_the_bare_optimizers_choose_as_the_original_ones():
    assert most_cores(FIXTURE.architectures, 3 * GB) == "ivy"
    assert least_depth(FIXTURE.architectures, METRICS) == "rom_ait"


def test_the_queues_decide_where_the_site_tells_of_them():
    for optimizer, with_metrics in (
        ("QUEUE_DEPTH", "rom_ait"),
        ("QUEUE_TIME", "rom_ait"),
    ):
        asked = needs(architecture="", optimizer=z.Optimizer[optimizer])
        assert estimate(FIXTURE, asked, 500, METRICS).architecture == with_metrics
        assert estimate(FIXTURE, asked, 500).architecture == "has"


def test_busy_cores_decide_unless_a_subtask_has_a_node_for_itself():
    asked = needs(3, architecture="", optimizer=z.Optimizer.CORES)
    assert estimate(FIXTURE, asked, 500).architecture == "ivy"
    alone = replace(asked, remote=replace(asked.remote, one_subtask_per_node=True))
    by_cost = replace(alone, remote=replace(alone.remote, optimizer=z.Optimizer.COST))
    assert estimate(FIXTURE, alone, 500) == estimate(FIXTURE, by_cost, 500)


WORKED = {
    # name: active, nodes, wall, cost; with 20 nodes: subtasks per core, wall, cost
    "bro_ele": (12, 417, "0:15", 104.25, 20.83, "3:15", 65.00),
    "sky_ele": (19, 264, "0:15", 104.94, 13.16, "2:15", 71.55),
    "cas_ait": (19, 264, "0:15", 108.24, 13.16, "2:15", 73.80),
    "rom_ait": (51, 99, "0:15", 100.485, 4.90, "0:45", 60.90),
    "mil_ait": (51, 99, "0:15", 100.98, 4.90, "0:45", 61.20),
    "tur_ath": (76, 66, "0:15", 201.135, 3.29, "0:45", 182.85),
}


def test_the_example_of_the_manual_comes_out_to_the_digit():
    asked = needs(10, 0.15, 0.15, architecture="")
    few = replace(asked, remote=replace(asked.remote, max_nodes=20))
    found = {}
    for free, bound in zip(
        survey(HECC, asked, [5000]), survey(HECC, few, [5000]), strict=True
    ):
        one, other = free.estimate, bound.estimate
        assert other.nodes == 20
        found[one.architecture] = (
            one.active_cores,
            one.nodes,
            clock(one.wall_s, with_seconds=False),
            one.cost,
            round(other.subtasks_per_core, 2),
            clock(other.wall_s, with_seconds=False),
            other.cost,
        )
    assert found == WORKED


def test_what_two_tasks_get_is_added_as_by_the_original_calculator():
    asked = needs(10, 0.15, 0.15, architecture="")
    both = chosen(survey(HECC, asked, [5000, 5000]))
    assert (both.architecture, both.subtasks) == ("rom_ait", 10000)
    assert figures(both) == ("low", 198, 51, "0:15:00", 200.97)
    assert price(both.cost) == "201"
    few = replace(asked, remote=replace(asked.remote, max_nodes=20))
    both = chosen(survey(HECC, few, [5000, 5000]))
    assert figures(both) == ("low", 40, 51, "0:45:00", 121.8)


def test_the_table_of_queues_is_read_as_by_the_original(tmp_path):
    table = tmp_path / "qs.csv"
    other = "1,2,3,4,5,6,7,8"
    table.write_text(f"rom,{other},136,192.8,1423.2,4.4,9,9,9,9\n")
    metrics = read_nas_metrics(table)
    assert (metrics.run_out_h("rom_ait"), metrics.expansion("rom_ait")) == (1423.2, 4.4)
    assert read_nas_metrics(table, "ARMD").run_out_h("rom_ait") == 3
    with pytest.raises(z.ClusterError, match="no row 'bro'"):
        metrics.run_out_h("bro_ele")
    with pytest.raises(z.ClusterError, match="directorate 'SMDD'; did you mean 'SMD'"):
        read_nas_metrics(table, "SMDD")
    table.write_text(f"model,a,b,c\nrom,{other}\n")
    with pytest.raises(
        z.ClusterError, match="qs.csv:2: has 9 columns, too few for SMD"
    ):
        read_nas_metrics(table)


def test_times_can_not_be_negative():
    with pytest.raises(ValueError, match="can't be negative"):
        clock(-1.5 * HOUR)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (needs(1000, architecture=""), "rom_ait: has 512 GB, a subtask needs 1000"),
        (
            needs(architecture="rmo_ait"),
            "no architecture 'rmo_ait'; did you mean 'rom_a",
        ),
        (needs(queue="lwo"), "no queue 'lwo'; did you mean 'low'?"),
        (needs(longest_h=130, typical_h=130), "no queue is long enough for 130:00:00"),
        (needs(longest_h=0.1), "shorter than the typical"),
        (needs(0), "the memory is 0"),
    ],
    ids=["memory", "architecture", "queue", "long", "short", "nothing"],
)
def test_what_can_not_be_done_is_refused(asked, words):
    with pytest.raises(z.ClusterError, match=words):
        estimate(FIXTURE, asked, 500)


def test_an_architecture_without_a_queue_does_not_end_the_search():
    asked = needs(architecture="", max_nodes=1, longest_h=0.5, queue="normal")
    offers = survey(FIXTURE, asked, [500])
    able = {one.architecture.name for one in offers if one.estimate}
    assert able == {"sky_ele", "cas_ait", "rom_ait"}
    assert chosen(offers).architecture == "rom_ait"
    assert "allows 8:00:00" in offers[0].reason


def test_cores_and_gpus_of_a_subtask_count():
    fast = replace(architecture("gpu", 32, 256, 2.0), gpus=4)
    place = replace(FIXTURE, architectures=(*FIXTURE.architectures, fast))
    asked = replace(needs(architecture=""), gpu=2)
    assert estimate(place, asked, 500).architecture == "gpu"
    assert estimate(place, asked, 500).active_cores == 2
    wide = replace(needs(0.5), cores=8)
    assert estimate(FIXTURE, wide, 500).active_cores == 2


def test_a_node_that_says_too_little_is_told():
    node = z.Node(name="work", step=z.FunctionStep(function="m:f"), typical_s=5)
    with pytest.raises(
        z.ClusterError, match="'work' does not say its memory and remote"
    ):
        needs_of(node)
    said = replace(node, memory_bytes=GB, remote=z.Remote(environment="x"))
    assert (needs_of(said).typical_s, needs_of(said).longest_s) == (5, 5)


times = st.floats(min_value=1, max_value=2 * HOUR)
asked = st.builds(
    lambda memory, typical, factor, nodes, per_core, alone, scale: Needs(
        memory_bytes=round(memory * GB),
        typical_s=typical,
        longest_s=typical * factor,
        remote=z.Remote(
            environment="x",
            max_nodes=nodes,
            subtasks_per_core=per_core,
            one_subtask_per_node=alone,
            scale_time_by_cores=scale,
        ),
    ),
    st.floats(min_value=0.1, max_value=60),
    times,
    st.floats(min_value=1, max_value=10),
    st.integers(0, 50),
    st.floats(min_value=0, max_value=30),
    st.booleans(),
    st.booleans(),
)
loads = st.integers(1, 100_000)
ENDLESS = replace(HECC, queues=())


@given(asked, loads)
def test_there_are_never_fewer_nodes_than_needed_nor_more_than_allowed(asked, load):
    for offer in survey(ENDLESS, asked, [load]):
        one = offer.estimate
        assert one.nodes * one.active_cores * one.subtasks_per_core >= load * (1 - 1e-9)
        assert one.nodes >= 1
        assert one.nodes <= (asked.remote.max_nodes or math.inf)
        assert one.active_cores * asked.memory_bytes <= offer.architecture.memory_bytes
        assert one.active_cores <= offer.architecture.cores
        speed = (
            offer.architecture.cores
            if asked.remote.one_subtask_per_node and asked.remote.scale_time_by_cores
            else 1
        )
        assert one.wall_s % 900 == 0
        assert one.wall_s * speed >= asked.longest_s * (1 - 1e-9)
        needed = one.subtasks_per_core * asked.typical_s
        assert one.wall_s * speed >= needed * (1 - 1e-9)


@given(asked, loads, loads)
def test_more_load_never_gets_less(asked, load, other):
    less, more = sorted((load, other))
    for few, many in zip(
        survey(ENDLESS, asked, [less]), survey(ENDLESS, asked, [more]), strict=True
    ):
        assert few.estimate.nodes <= many.estimate.nodes
        assert few.estimate.wall_s <= many.estimate.wall_s
        assert few.estimate.cost <= many.estimate.cost


@given(asked, loads)
def test_a_wall_time_is_never_over_the_limit_of_its_queue(asked, load):
    limits = {one.name: one.max_time_s for one in HECC.queues}
    for offer in survey(HECC, asked, [load]):
        if offer.estimate is None:
            assert "no queue is long enough" in offer.reason
        else:
            assert offer.estimate.wall_s <= limits[offer.estimate.queue]
