"""A first look at a product: true axes, colours only where there are some, and no item
that was never made."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from ziggy_dask.datastore import Labels
from ziggy_dask.datastore.index import Product
from ziggy_dask.datastore.masking import masked
from ziggy_dask.datastore.product import StoredProduct
from ziggy_dask.definitions import ProductKind
from ziggy_dask.errors import DatastoreError


@pytest.fixture(autouse=True)
def _closed():
    yield
    mpl.pyplot.close("all")


def product(dataset, *missing):
    """Return a product along ``star``, some items of which were never made."""
    labels = Labels(dataset["star"].values)
    lacking = Labels.of(missing)
    made = labels.without(lacking)
    return StoredProduct(
        Product(
            path="n/levels",
            kind=ProductKind.ARRAY,
            dimension="star",
            labels=made,
            planned=labels,
            attributes={"missing": lacking.to_json()},
        ),
        masked(dataset, "star", lacking),
        dataset.isel(star=labels.positions(made)),
    )


def levels():
    image = np.arange(60).reshape(3, 4, 5)
    return xr.Dataset(
        {
            "counts": (
                ("star", "y", "x"),
                image,
                {"units": "adu", "long_name": "level"},
            ),
            "good": (("star", "x"), np.ones((3, 5), bool)),
            "cube": (("star", "t", "y", "k"), np.zeros((3, 2, 4, 3))),
            "rgb": (("star", "y", "x", "channel"), np.zeros((3, 4, 5, 3), "u1")),
            "mean": ("star", [1, 2, 3]),
        },
        coords={
            "star": ["a", "b", "c"],
            "x": ("x", np.arange(5) * 10.0, {"units": "m"}),
            "y": [1.0, 2, 3, 4],
        },
    )


def test_a_picture_has_axes_units_a_colour_bar_and_the_item_in_its_title():
    axes = product(levels(), "b").plot(item="c")
    assert axes.get_title() == "n/levels counts, c"
    assert axes.get_xlabel() == "x [m]"
    assert axes.get_ylabel() == "y"
    (image,) = axes.get_images()
    assert image.get_extent()[:2] == [-5, 45]
    assert image.colorbar.ax.get_ylabel() == "level [adu]"
    np.testing.assert_array_equal(image.get_array(), levels()["counts"][2])


@pytest.mark.parametrize("variable", ["counts", "good", "rgb"])
def test_types_are_those_of_what_was_made(variable):
    made = product(levels(), "b")
    assert made.chosen(variable, "c").dtype == levels()[variable].dtype
    assert made.chosen(variable, 2).identical(made.chosen(variable, "c"))


@pytest.mark.parametrize("item", ["b", 1])
@pytest.mark.parametrize("variable", [None, "mean"])
def test_an_item_that_was_never_made_is_not_drawn(item, variable):
    with pytest.raises(DatastoreError, match="item 'b' was never made"):
        product(levels(), "b").plot(variable, item)
    with pytest.raises(DatastoreError, match="item 'b' was never made"):
        product(levels(), "b").item_attrs(item)


def test_only_channels_are_drawn_as_colours():
    made = product(levels(), "b")
    assert len(made.plot("rgb").get_images()) == 1
    assert made.plot("cube").get_images() == []
