"""The core against a simulated compute environment: whatever happens, it ends well.

Subtasks end, fail and get lost in any order; operators halt and restart; environments take
no jobs; the supervisor is killed and begins again from what is on record. For longer by
hand::

    ZIGGY_CORE_STEPS=100000 pytest -n 0 tests/unit/engine/test_model.py
"""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.simulation import COMPLETE, Row, World
from ziggy_dask.engine.actions import EndInstance, Retry
from ziggy_dask.engine.decide import NodeRules

STEPS = int(os.environ.get("ZIGGY_CORE_STEPS", "1500"))
"""Events that are simulated, all together."""
_PER_EXAMPLE = 30


@st.composite
def worlds(draw):
    """Draw a pipeline of some nodes, units of work, and how its subtasks are cut."""
    units = draw(st.integers(1, 4))
    nodes: dict[str, NodeRules] = {}
    rows: list[Row] = []
    sizes: dict[int, int] = {}
    of_node: list[list[int]] = []
    for number in range(draw(st.integers(1, 4))):
        name = f"n{number}"
        nodes[name] = NodeRules(
            max_failed=draw(st.sampled_from([0, 0, 1, 3])),
            max_workers=draw(st.sampled_from([0, 0, 1, 2])),
            retries=draw(st.sampled_from([0, 0, 1, 2])),
        )
        before = (
            draw(st.lists(st.sampled_from(range(number)), unique=True, max_size=2))
            if number
            else []
        )
        waits = draw(st.sampled_from([None, *range(number)])) if number else None
        gathers = bool(before) and draw(st.booleans()) and draw(st.booleans())
        is_open = bool(before) and draw(st.sampled_from([False, False, True]))
        mine: list[int] = []
        for unit in range(1 if gathers else units):
            index = len(rows)
            upstream = [
                i
                for b in before
                for i in (
                    of_node[b] if gathers else of_node[b][unit : unit + 1] or of_node[b]
                )
            ]
            count = draw(st.integers(0 if is_open else 1, 4))
            sizes[index] = count
            rows.append(
                Row(
                    number=100 + index,
                    node=name,
                    upstream=tuple(dict.fromkeys(upstream)),
                    after=tuple(of_node[waits])
                    if waits is not None and waits not in before
                    else (),
                    count=count,
                    is_open=is_open,
                )
            )
            mine.append(index)
        of_node.append(mine)
    world = World(
        rows,
        nodes,
        sizes,
        bundle=draw(st.integers(1, 3)),
        window=draw(st.sampled_from([1, 3, 1000])),
    )
    for name in draw(st.sets(st.sampled_from(sorted(nodes)), max_size=1)):
        world.environment_of[name] = "lab"
    if draw(st.integers(0, 9)) == 0:
        world.obstacles[draw(st.sampled_from(sorted(nodes)))] = (
            "no worker is large enough"
        )
    return world


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["good"] * 8
            + ["bad", "bad", "lost", "halt", "halt late", "kill", "refuse", "accept"]
        ),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=_PER_EXAMPLE,
)


def happen(world: World, kind: str, number: int) -> None:
    """Let one thing happen."""
    runnable = world.runnable()
    match kind:
        case "good" | "bad" | "lost":
            if runnable:
                world.end(runnable[number % len(runnable)], kind)
        case "halt" | "halt late":
            row = world.rows[number % len(world.rows)]
            if row.step != COMPLETE and not row.is_error:
                row.is_halting = True
                if kind == "halt late" and runnable:
                    world.end(runnable[0], "good")
        case "kill":
            world.start()
        case "refuse":
            world.refused["lab"] = "its batch system takes no jobs"
        case "accept":
            world.refused.clear()


def bring_to_end(world: World) -> None:
    """Let all that is left go well, until the instance has ended."""
    for _ in range(1000):
        world.act()
        if isinstance(world.over, Retry):
            world.retry()
            continue
        if isinstance(world.over, EndInstance):
            world.check_end()
            return
        world.check_rest()
        world.end(world.runnable()[0], "good")
    raise AssertionError("it never ends")


@settings(
    max_examples=max(10, 3 * STEPS // _PER_EXAMPLE),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(world=worlds(), events=EVENTS, restarts=st.integers(0, 2))
def test_every_run_ends_well_whatever_happens(world, events, restarts):
    world.act()
    for kind, number in events:
        if world.over is None:
            world.check_rest()
        happen(world, kind, number)
        if isinstance(world.over, EndInstance):
            break
        world.act(halts=kind != "halt late")
        if isinstance(world.over, Retry):
            world.retry()
            world.act()
    bring_to_end(world)
    for _ in range(restarts):
        failed = [i for i, row in enumerate(world.rows) if row.is_error]
        for index in failed:
            world.reset(index)
        world.refused.clear()
        world.start()
        bring_to_end(world)
    for (index, _, _), times in world.ran.items():
        assert times <= 1 + len(events), index
