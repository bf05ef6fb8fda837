"""Kinds of callables as algorithms."""

import functools
import inspect
import math
import threading

import pytest

from ziggy_dask.definitions.signatures import arguments_of, as_function
from ziggy_dask.errors import DefinitionError


def plain(raw, parameters=None):
    return raw


async def later(raw, parameters=None):
    return raw


def by_position(raw, parameters=None, /):
    return raw


class Callable:
    def __call__(self, raw, parameters=None):
        return raw

    def method(self, raw, parameters=None):
        return raw


def bare(function):
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


def logged(function, log):
    def inner(*args, **kwargs):
        log(function)
        return function(*args, **kwargs)

    return inner


class Decorated:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Twofold(Decorated):
    def __init__(self, function, log):
        super().__init__(function)
        self.log = log


def generator(raw):
    yield raw


async def asynchronous(raw):
    yield raw


class Yielding:
    def __call__(self, raw):
        yield raw


@pytest.mark.parametrize(
    "function",
    [
        plain,
        later,
        by_position,
        Callable(),
        Callable().method,
        bare(plain),
        bare(bare(plain)),
        bare(later),
        Decorated(plain),
        functools.lru_cache(plain),
        functools.wraps(plain)(bare(plain)),
        functools.partial(lambda scale, raw, parameters=None: raw * scale, 1),
        functools.partial(later, parameters=1),
    ],
    ids=map(str, range(13)),
)
def test_kinds_that_can_be_called(function):
    assert list(arguments_of(function)) == ["raw", "parameters"]
    assert as_function(function)(raw=5, parameters=()) == 5
    assert as_function(function)(raw=6) == 6


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Callable, "it is a class"),
        (generator, "it is a generator"),
        (asynchronous, "it is a generator"),
        (Yielding(), "it is a generator"),
        (functools.partial(generator), "it is a generator"),
        (bare(generator), "it is a generator"),
        (max, "Python can't tell its arguments"),
        (logged(plain, print), "use functools.wraps"),
        (Twofold(plain, print), "use functools.wraps"),
        (Decorated(generator), "it is a generator"),
    ],
    ids=map(str, range(10)),
)
def test_kinds_that_are_refused_with_the_reason(function, reason):
    with pytest.raises(DefinitionError, match=reason):
        arguments_of(function)


def test_functions_in_c_with_a_signature_are_fine():
    assert "x" in arguments_of(math.sqrt)
    assert as_function(math.sqrt)(x=4.0) == 2.0


def test_a_function_that_takes_what_comes_says_so():
    def collect(**inputs):
        return inputs

    (only,) = arguments_of(collect).values()
    assert only.kind is inspect.Parameter.VAR_KEYWORD
    assert as_function(collect)(a=1, b=2) == {"a": 1, "b": 2}


def test_coroutines_run_in_any_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(as_function(later)(raw=1)))
    thread.start()
    thread.join()
    assert results == [1]
