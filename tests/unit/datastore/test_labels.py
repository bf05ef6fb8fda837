import datetime
from fractions import Fraction
from math import isinf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ziggy_dask.datastore import Labels, common_type
from ziggy_dask.errors import DatastoreError

texts = st.lists(st.text(alphabet="abc0-9 é", min_size=1), unique=True)
numbers = st.lists(st.integers(-1000, 1000), unique=True, min_size=1)


@given(st.one_of(texts, numbers))
def test_labels_survive_being_plain_values(values):
    labels = Labels(np.array(values)) if values else Labels.of([])
    assert Labels.from_json(labels.to_json()) == labels


@given(
    st.one_of(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0")), unique=True
        ),
        st.lists(st.integers(-9, 9), unique=True),
        st.lists(st.floats(-2, 2, width=16), unique=True),
    ),
    st.text(),
)
def test_a_label_is_found_by_its_text_alone(values, other):
    is_text = not values or isinstance(values[0], str)
    array = np.array(values, dtype=np.dtypes.StringDType() if is_text else None)
    labels = Labels(array)
    texts = labels.texts()
    if is_text:
        assert texts == values
    for text in (*texts, other, f"{other}\0", *(f"{one}\0" for one in texts)):
        expected = texts.index(text) if text in texts else None
        assert labels.place(text) == expected


def test_times_survive_being_plain_values():
    times = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[ns]")
    again = Labels.from_json(Labels(times).to_json())
    assert again == Labels(times)
    assert again.values.dtype == times.dtype


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.data())
def test_positions_find_what_they_are_asked_for(values, data):
    labels = Labels(np.array(values))
    wanted = data.draw(st.permutations(values).map(lambda v: v[: len(v) // 2 + 1]))
    positions = labels.positions(Labels(np.array(wanted)))
    assert labels.values[positions].tolist() == wanted


@given(
    st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(0, 20), unique=True)
)
def test_common_and_without_split_the_labels(one, other):
    left = Labels(np.array(one, dtype="i8"))
    right = Labels(np.array(other, dtype="i8"))
    both = [v for v in one if v in other]
    assert left.common(right).values.tolist() == both
    assert left.without(right).values.tolist() == [v for v in one if v not in other]


def test_labels_that_are_equal_are_refused():
    with pytest.raises(DatastoreError, match="2 items have the label a"):
        Labels.of(["a", "b", "a"])


def test_labels_of_another_sort_are_refused():
    with pytest.raises(DatastoreError, match="texts, numbers or times"):
        Labels(np.array([True, False]))


@pytest.mark.parametrize("values", [[1.0, np.nan], np.array(["2026", "NaT"], "M8[D]")])
def test_labels_that_equal_nothing_are_refused(values):
    with pytest.raises(
        DatastoreError, match="1 of 2 items have no label, but (nan|NaT)"
    ):
        Labels(np.array(values))


# Labels of different types

UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
TIMES = [np.dtype(f"M8[{unit}]") for unit in UNITS]
NUMBERS = [np.dtype(c) for c in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
NUMBERS += [np.dtype(c) for c in ("f2", "f4", "f8", ">i8", ">f4")]
SECONDS = dict(zip(UNITS[2:], (604800, 86400, 3600, 60, 1), strict=False))
SECONDS |= {unit: Fraction(1, 1000**n) for n, unit in enumerate(UNITS[6:])}
EDGES = [2**n + k for n in (7, 8, 11, 15, 24, 31, 53, 62, 63) for k in (-1, 0, 1, 2)]
WHOLE = st.sampled_from([*EDGES, *(-edge for edge in EDGES)]) | st.integers(-3, 3)


def exact(value):
    """What a label is, without NumPy: a fraction, seconds since 1970, or a text."""
    if isinstance(value, np.str_):
        return str(value)
    if not isinstance(value, np.datetime64):
        number = float(value) if isinstance(value, np.floating) else int(value)
        return (
            number if isinstance(number, float) and isinf(number) else Fraction(number)
        )
    unit, count = np.datetime_data(value.dtype)[0], int(value.astype("i8"))
    if unit in ("Y", "M"):
        months = count * (12 if unit == "Y" else 1)
        return "time", days_since_1970(1970 + months // 12, months % 12 + 1) * 86400
    return "time", count * Fraction(SECONDS[unit])


def days_since_1970(year, month):
    """Days to the first of a month, in a calendar without end."""
    cycles, within = divmod(year - 1600, 400)
    day = datetime.date(1600 + within, month, 1)
    return cycles * 146097 + (day - datetime.date(1970, 1, 1)).days


def is_same(one, other):
    """Whether two labels are the same item; text is compared by how it reads."""
    if isinstance(one, np.str_) or isinstance(other, np.str_):
        return str(one) == str(other)
    return exact(one) == exact(other)


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from([*NUMBERS, *TIMES, np.dtype("U")]))
    if dtype.kind == "U":
        some = draw(st.lists(WHOLE.map(str) | st.text("ab", min_size=1), max_size=5))
        return np.array(list(dict.fromkeys(some)), dtype=str)
    if dtype.kind == "M":
        some = draw(st.lists(WHOLE.filter(lambda v: abs(v) < 2**63), max_size=5))
        return np.array(list(dict.fromkeys(some)), "i8").view(dtype)
    if dtype.kind == "f":
        fractions = st.sampled_from([0.5, -0.0, 0.1, float("inf"), -float("inf")])
        with np.errstate(over="ignore"):
            some = np.array(draw(st.lists(WHOLE | fractions, max_size=5)), "f8")
            return np.unique(some.astype(dtype))[::-1].astype(dtype)
    limits = np.iinfo(dtype)
    fit = WHOLE.filter(lambda v: limits.min <= v <= limits.max)
    return np.array(list(dict.fromkeys(draw(st.lists(fit, max_size=5)))), dtype)


@given(arrays(), arrays())
@settings(max_examples=300, deadline=None)
def test_labels_of_any_two_types_are_the_same_only_if_they_are_exactly(one, other):
    left, right = Labels(one), Labels(other)
    both = np.array([any(is_same(v, w) for w in other) for v in one], dtype=bool)
    assert left.found_in(right).tolist() == both.tolist()
    assert left.common(right).values.tolist() == one[both].tolist()
    assert left.without(right).values.tolist() == one[~both].tolist()
    kinds = {one.dtype.kind == "U", other.dtype.kind == "U"}
    are_equal = len(one) == len(other) and all(map(is_same, one, other))
    assert (left == right) is (are_equal and (len(kinds) == 1 or not len(one)))
    if both.all():
        places = right.positions(left)
        assert all(map(is_same, other[places], one))
    else:
        with pytest.raises(DatastoreError, match="there is no item"):
            right.positions(left)


@given(arrays(), arrays())
@settings(max_examples=300, deadline=None)
def test_labels_are_brought_to_one_type_exactly_or_not_at_all(one, other):
    left, right = Labels(one), Labels(other)
    dtype = common_type([left, right])
    for labels in (left, right) if dtype is not None else ():
        assert all(map(is_same, labels.as_type(dtype).values, labels.values))
    if {one.dtype.kind, other.dtype.kind} <= set("iu"):
        values = [int(v) for v in (*one, *other)] or [0]
        fits = min(values) >= -(2**63) and max(values) < 2**63
        assert (dtype is not None) is (fits or min(values) >= 0)
    union = left.union(right)
    added = [w for w in other if not any(is_same(v, w) for v in one)]
    assert len(union) == len(one) + len(added)
    if dtype is not None:
        assert all(map(is_same, union.values, [*one, *added]))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([2**63], "u8"), "i8"),
        (np.array([-1], "i8"), "u8"),
        (np.array([2**53 + 1], "i8"), "f8"),
        (np.array([0.5]), "i8"),
        (np.array([2.0**63]), "i8"),
        (np.array(["3000"], "M8[s]"), "M8[ns]"),
        (np.array(["2026-01-01T00:00:00.5"], "M8[ms]"), "M8[s]"),
        (np.array([1], "i8"), "M8[s]"),
        (np.array(["1"]), "i8"),
        (np.array([1], "i8"), "U1"),
    ],
)
def test_a_label_that_a_type_does_not_hold_is_refused_by_name(values, dtype):
    with pytest.raises(DatastoreError, match="the label .* can't be of type") as caught:
        Labels(values).as_type(np.dtype(dtype))
    assert str(values[0]) in str(caught.value)
    assert str(values.dtype) in str(caught.value)
