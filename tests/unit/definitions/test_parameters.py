"""Expected texts are those of the original Ziggy 0.11."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggy_dask.definitions import (
    ParameterSet,
    ParameterType,
    parameter_from_text,
    parameter_from_value,
)
from ziggy_dask.definitions.parameters import trim_list
from ziggy_dask.errors import DefinitionError


@pytest.mark.parametrize(
    ("text", "type_text", "canonical", "kind", "is_array", "value"),
    [
        ("100.", "dOuBlE", "100.0", "double", False, 100.0),
        ("100.", "", "100.", "string", False, "100."),
        ("100.", "doublearray", "100.0", "double", True, (100.0,)),
        (
            "100, 200, 300",
            "doubleArRaY",
            "100.0,200.0,300.0",
            "double",
            True,
            (100, 200, 300),
        ),
        (
            "100, 200, 300",
            "stringARRAY",
            "100,200,300",
            "string",
            True,
            ("100", "200", "300"),
        ),
        ("", "double", "0.0", "double", False, 0.0),
        ("", "int", "0", "int", False, 0),
        ("", "string", "", "string", False, ""),
        ("", "intarray", "", "int", True, ()),
        (None, "boolean", "false", "boolean", False, False),
        ("TRUE", "boolean", "true", "boolean", False, True),
        ("yes", "boolean", "false", "boolean", False, False),
        ("1,,2,,", "intarray", "1,0,2", "int", True, (1, 0, 2)),
        (" a , b ", "string", "a,b", "string", False, "a,b"),
        ("28.56, 57.12", "floatarray", "28.56,57.12", "float", True, (28.56, 57.12)),
        ("7", "ziggy_int", "7", "int", False, 7),
        ("1e-7", "double", "1E-07".replace("07", "07"), "double", False, 1e-7),
    ],
)
def test_text_is_read_as_the_original_does(
    text, type_text, canonical, kind, is_array, value
):
    parameter = parameter_from_text("x", text, type_text)
    assert parameter.text == canonical
    assert parameter.type is ParameterType(kind)
    assert parameter.is_array is is_array
    assert parameter.value == value


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("1", "1"),
        ("1,2", "1,2"),
        ("1 ,2", "1,2"),
        (" 1,2 ", "1,2"),
        ("  1  ,  2  ", "1,2"),
    ],
)
def test_white_space_around_commas_vanishes(text, trimmed):
    assert trim_list(text) == trimmed


@pytest.mark.parametrize(
    ("text", "type_text", "words"),
    [
        ("1", "integer", "unknown type 'integer'; did you mean 'int'"),
        ("1.5", "int", "'1.5' is not a whole number"),
        ("abc", "double", "'abc' is not a number"),
        ("300", "byte", "out of the range of type byte"),
        ("3000000000", "int", "out of the range of type int"),
        ("1,2", "double", "has 2 values"),
    ],
)
def test_text_that_is_no_value_of_its_type_is_refused(text, type_text, words):
    with pytest.raises(DefinitionError, match=words):
        parameter_from_text("x", text, type_text)


@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(alphabet="abc xyz-_"),
        st.lists(st.integers(-100, 100), min_size=1),
        st.lists(st.floats(allow_nan=False), min_size=1),
    )
)
def test_the_text_of_a_value_reads_back_as_the_value(value):
    made = parameter_from_value("x", value)
    again = parameter_from_text("x", made.text, made.type_text)
    expected = tuple(value) if isinstance(value, list) else value
    assert again.value == (expected.strip() if isinstance(expected, str) else expected)
    assert again.type is made.type


def algorithm_set():
    return ParameterSet(
        name="Algorithm Parameters",
        parameters=(
            parameter_from_value("pause", 0.5),
            parameter_from_value("fails", False),
            parameter_from_value("limits", [1, 2]),
            parameter_from_value("word", "a"),
        ),
    )


def test_changed_values_keep_their_types():
    changed = algorithm_set().with_values(
        {"pause": 2, "fails": "true", "limits": "3, 4"}
    )
    assert changed.values == {
        "pause": 2.0,
        "fails": True,
        "limits": (3, 4),
        "word": "a",
    }
    assert isinstance(changed.values["pause"], float)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"puase": 1}, "no parameter 'puase'; did you mean 'pause'"),
        ({"pause": "long"}, "'long' is not a number"),
        ({"fails": "flase"}, "'flase' is neither 'true' nor 'false'"),
        ({"fails": 1}, "is of type boolean, but got 1"),
        ({"pause": [1, 2]}, "is of type double, but got"),
        ({"limits": 1.5}, "is of type intarray, but got 1.5"),
        ({"word": 3}, "is of type string, but got 3"),
        ({"pause": {"a": 1}}, "is not text, a number"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(changes, words):
    with pytest.raises(DefinitionError, match=words):
        algorithm_set().with_values(changes)


def test_identity_of_a_set_follows_content_not_order():
    one = algorithm_set()
    other = ParameterSet(name=one.name, parameters=tuple(reversed(one.parameters)))
    assert one.digest == other.digest
    assert one.digest != one.with_values({"pause": 1.0}).digest


def test_the_last_of_parameters_with_one_name_counts():
    twice = (parameter_from_value("a", 1), parameter_from_value("a", 2))
    assert ParameterSet(name="s", parameters=twice).values == {"a": 2}
