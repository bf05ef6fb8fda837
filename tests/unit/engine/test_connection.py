"""What is gathered from workers while some of it gets lost."""

from distributed.client import _wait

from ziggy_dask.engine.connection import gathered


def test_what_failed_since_it_ended_keeps_nothing_else_back(client):
    good = client.map(str, range(20), pure=False)
    bad = client.submit(int, "no number", pure=False)
    client.sync(_wait, [*good, bad])
    given, late = gathered(client, [*good[:10], bad, *good[10:]])
    assert sorted(given.values(), key=int) == [str(number) for number in range(20)]
    assert late == [bad]
    assert gathered(client, good) == (given, [])
