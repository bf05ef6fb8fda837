"""Workers in jobs of SLURM end in twelve ways."""

import pytest

from tests.integration.batch.test_slurm import FILE, queue
from tests.integration.ends import check, make, run
from ziggy_dask.definitions import Remote

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]


def test_in_jobs(slurm, tmp_path):
    file = FILE.replace("QUEUE", "normal").replace("DIRECTIVES", "")
    lines = file.partition("home: ./home\n")[2]
    options = {
        "limit_s": 60.0,
        "memory_bytes": 300_000_000,
        "remote": Remote(environment="lab"),
    }
    cluster = make(tmp_path, lines, **options)
    before, after = run(cluster, tmp_path, 1200)
    assert after == before
    check(cluster, tmp_path)
    assert all(one.ended for one in cluster.jobs())
    assert queue() == ""
