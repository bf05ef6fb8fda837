"""The datastore as the page shows it."""

import re

import pytest

from tests.conftest import images, store
from ziggy_dask.interface.page import store as module
from ziggy_dask.interface.page.store import store_panel


@pytest.fixture
def datastore(cluster):
    """A datastore with two products of arrays."""
    store(cluster, {"set-1/in": images(3), "set-2/in": images(1)})
    return cluster.datastore


def places(html: str) -> list[str]:
    """Return where the buttons of a panel lead."""
    return re.findall('data-do="place" data-value="([^"]*)"', html)


def test_the_datastore_is_walked_from_place_to_place(datastore):
    assert places(store_panel(datastore, "")) == ["", "set-1", "set-2"]
    assert places(store_panel(datastore, "set-1")) == ["", "set-1", "set-1/in"]
    assert places(store_panel(datastore, "set-1/in")) == ["", "set-1", "set-1/in"]


def test_a_product_says_what_it_is_and_has_a_picture(datastore):
    shown = store_panel(datastore, "set-1/in")
    assert "3 items: i0, i1, i2" in shown
    assert "<td>pixels</td><td>item 3 × y 4 × x 5</td><td>float64</td>" in shown
    assert '<img alt="set-1/in: pixels" src="data:image/png;base64,' in shown


def test_what_is_too_large_is_not_loaded_for_a_picture(datastore, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 4 * 5 * 8 - 1)
    shown = store_panel(datastore, "set-1/in")
    assert "too much for a quick look" in shown
    assert "<img" not in shown


@pytest.mark.parametrize("place", ["none", "set-1/<b>"])
def test_a_place_where_nothing_is_says_so(datastore, place):
    shown = store_panel(datastore, place)
    assert "no product" in shown
    assert "<b>" not in shown
