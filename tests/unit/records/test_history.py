import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.records.history import CONFIDENCE, band


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("count", [100, 1000])
def test_a_band_holds_the_true_percentile_as_often_as_it_says(count, share):
    _, low, high = band(count, share)
    values = np.sort(np.random.default_rng(1).random((4000, count)), axis=1)
    is_inside = (values[:, low - 1] <= share) & (share <= values[:, high - 1])
    assert is_inside.mean() > CONFIDENCE - 0.01
    narrower = (values[:, low] <= share) & (share <= values[:, high - 2])
    assert narrower.mean() < CONFIDENCE + 0.01


@given(st.integers(1, 100_000), st.sampled_from([0.5, 0.95]))
def test_ends_are_around_the_percentile(count, share):
    rank, low, high = band(count, share)
    assert rank == max(1, math.ceil(count * share))
    assert 0 <= low <= rank <= high <= count + 1


def test_few_values_have_no_upper_end():
    assert band(10, 0.95)[2] == 11
    assert band(200, 0.95)[2] <= 200
