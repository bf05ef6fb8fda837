"""What is gathered from workers while some of it gets lost."""

import dask
import pytest
from distributed import rpc
from distributed.client import _wait

from tests.servers import free_port
from ziggy_dask.engine.connection import answer, gathered, tell_workers
from ziggy_dask.errors import ComputeLostError


def test_what_failed_since_it_ended_keeps_nothing_else_back(client):
    good = client.map(str, range(20), pure=False)
    bad = client.submit(int, "no number", pure=False)
    client.sync(_wait, [*good, bad])
    given, late = gathered(client, [*good[:10], bad, *good[10:]])
    assert sorted(given.values(), key=int) == [str(number) for number in range(20)]
    assert late == [bad]
    assert gathered(client, good) == (given, [])


def test_a_scheduler_that_takes_no_connection_is_lost(client):
    async def ask():
        async with rpc(f"tcp://127.0.0.1:{free_port()}") as scheduler:
            await scheduler.identity()

    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}):
        with pytest.raises(ComputeLostError, match="was lost"):
            answer(client, ask)
        with pytest.raises(ComputeLostError, match="was lost"):
            tell_workers(lambda: client.sync(ask))
