"""What one instance decides holds while others publish."""

import threading

import pytest

from tests.conftest import data_type, images, node, pipeline, store
from ziggy_dask.supervisor import supervise

ALGORITHMS = """
    def scale(raw):
        return raw * 2
"""


@pytest.mark.parametrize("others", [1, 20])
def test_a_plan_and_what_its_tasks_read_are_of_one_moment(
    cluster, code, client, monkeypatch, others
):
    """However often something is published while the plan is made."""
    store(cluster, {"set-1/L0": images(2)})
    cluster.register(
        pipeline(
            code(ALGORITHMS),
            data_type("raw", "L0"),
            data_type("scaled", "L1"),
            node("scale", "scale", "raw", "scaled"),
        )
    )
    planned = []
    plan = supervise.plan

    def publish(writing):
        if writing.acquire(blocking=False):
            store(cluster, {"set-1/L0": images(2 + len(planned))})
            writing.release()

    def slow_plan(site, *given, **options):
        found = plan(site, *given, **options)
        planned.append(site.repository.tip())
        if len(planned) <= others:
            other = threading.Thread(target=publish, args=(site.writing,))
            other.start()
            other.join()
        return found

    monkeypatch.setattr(supervise, "plan", slow_plan)
    run = cluster.run("test", client=client)
    assert run.state.value == "COMPLETED"
    assert run.record.base_snapshot == planned[-1]
    assert cluster.datastore["set-1/L1"].sizes["item"] == 1 + len(planned)
