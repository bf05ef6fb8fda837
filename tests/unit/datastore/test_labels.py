import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.datastore import Labels
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
