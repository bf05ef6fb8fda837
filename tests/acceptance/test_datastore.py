"""Looking at products, on the command line and in Python."""

import numpy as np
import xarray as xr
from click.testing import CliRunner

from tests.conftest import store
from ziggy_dask.interface.main import ziggy


def shown(cluster, *words):
    file = str(cluster._site.cluster.path)
    done = CliRunner().invoke(ziggy, ["--cluster", file, "datastore", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_small_product_is_shown_with_its_values_and_a_large_one_without(cluster):
    small = xr.Dataset({"mean": ("item", [12.25, 13.5])})
    large = xr.Dataset({"mean": (("item", "x"), np.full((1, 200_000), 12.25))})
    store(cluster, {"set-1/L0": small, "set-2/L0": large})
    assert "12.25 13.5" in shown(cluster, "show", "set-1/L0")
    assert "12.25" not in shown(cluster, "show", "set-2/L0")
    assert "200000" in shown(cluster, "show", "set-2/L0")


def test_variables_always_come_in_the_same_order(cluster):
    names = ["f", "a", "h", "b", "g", "c", "e", "d"]
    kept = {"time": ("item", np.array([0, 1], "M8[D]").astype("M8[ns]"))}
    product = xr.Dataset({name: ("item", [1.0, 2.0]) for name in names}, coords=kept)
    store(cluster, {"set-1/L0": product})
    read = cluster.datastore["set-1/L0"]
    assert list(read.data_vars) == names
    assert read.identical(product)
    assert cluster.datastore.product("set-1/L0").chosen().name == "f"
