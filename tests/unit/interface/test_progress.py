import io

from rich.console import Console

from ziggy_dask.interface.progress import shown_progress
from ziggy_dask.records import InstanceState
from ziggy_dask.supervisor import (
    InstanceEnded,
    NodeTotals,
    Opened,
    Planned,
    Progressed,
    TaskEnded,
)

EVENTS = [
    Opened(
        dashboard="http://127.0.0.1:8787/status", page="http://127.0.0.1:8787/ziggy"
    ),
    Planned(
        instance=1,
        nodes={"scale": NodeTotals(tasks=1, subtasks=4)},
        warnings=("one item is left out",),
    ),
    Progressed(node="scale", complete=2, failed=1),
    TaskEnded(task=7, node="scale", unit="[a]", is_error=True, message="subtask 2: no"),
    TaskEnded(task=8, node="scale", unit="[b]", is_error=False, message=""),
    InstanceEnded(instance=1, state=InstanceState.ERRORS_STALLED),
]


def shown(**options) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100, **options)
    with shown_progress(console) as listen:
        for event in EVENTS:
            listen(event)
    return stream.getvalue()


def test_without_a_terminal_there_are_plain_lines():
    text = shown(force_terminal=False)
    assert text.splitlines() == [
        "dashboard: http://127.0.0.1:8787/status, the page: http://127.0.0.1:8787/ziggy",
        "warning: one item is left out",
        "scale: 2/4 subtasks, 1 failed",
        "task 7 scale [a] failed: subtask 2: no",
        "task 8 scale [b]: COMPLETE",
        "instance 1: ERRORS_STALLED",
    ]


def test_on_a_terminal_there_are_bars_with_failures():
    text = shown(force_terminal=True, color_system=None)
    assert "http://127.0.0.1:8787/ziggy" in text
    assert "3/4" in text
    assert "1 failed" in text
    assert "task 7 scale [a] failed: subtask 2: no" in text
    assert "warning: one item is left out" in text
