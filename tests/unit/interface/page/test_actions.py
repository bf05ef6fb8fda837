import pytest

from tests.conftest import new_instance
from ziggy_dask.errors import ClusterError
from ziggy_dask.interface.page.actions import ACTIONS
from ziggy_dask.records import alerts, instances
from ziggy_dask.records.states import InstanceState


@pytest.fixture
def site(cluster):
    """An instance with two tasks that wait, and nobody who supervises."""
    database = cluster._site.database
    new_instance(database)
    new = [
        instances.NewTask(position=n, node="flip", unit=f"[{n}]", plan={}, total=1)
        for n in range(2)
    ]
    instances.create_tasks(database, 1, new, base_snapshot="A")
    instances.set_instance_state(database, 1, InstanceState.PROCESSING)
    return cluster._site


def test_a_task_and_then_its_instance_are_halted(site):
    ACTIONS["halt task"](site, 1)
    assert [one.is_error for one in instances.tasks(site.database, 1)] == [True, False]
    ACTIONS["halt"](site, 1)
    assert [one.is_error for one in instances.tasks(site.database, 1)] == [True, True]
    assert instances.instance(site.database, 1).state is InstanceState.ERRORS_STALLED


def test_a_restart_without_a_supervisor_is_refused_and_changes_nothing(site):
    ACTIONS["halt"](site, 1)
    before = instances.tasks(site.database, 1)
    for action, number in (("restart", 1), ("restart task", 2)):
        with pytest.raises(ClusterError, match="start one with: ziggy cluster start"):
            ACTIONS[action](site, number)
    assert instances.tasks(site.database, 1) == before


def test_an_alert_is_acknowledged(site):
    ACTIONS["halt task"](site, 1)
    (alert,) = alerts.alerts(site.database)
    assert not alert.is_acknowledged
    ACTIONS["acknowledge"](site, alert.id)
    (alert,) = alerts.alerts(site.database)
    assert alert.is_acknowledged
