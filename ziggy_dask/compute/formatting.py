"""Figures as they are shown: times and costs."""

from __future__ import annotations


def clock(seconds: float, *, with_seconds: bool = True) -> str:
    """Return a time as hours, minutes and seconds.

    Examples
    --------
    >>> clock(45296), clock(0), clock(45296, with_seconds=False)
    ('12:34:56', '0:00:00', '12:34')
    """
    if seconds < 0:
        raise ValueError(f"a time can't be negative, but is {seconds:g} s")
    minutes, rest = divmod(round(seconds), 60)
    text = f"{minutes // 60}:{minutes % 60:02}"
    return f"{text}:{rest:02}" if with_seconds else text


def price(cost: float) -> str:
    """Return a cost as it is shown: about four digits, no zeros at the end.

    Examples
    --------
    >>> price(0.12345), price(4.06), price(17.82), price(200.97), price(0)
    ('0.1235', '4.06', '17.82', '201', '0')
    """
    decimals = 4 if cost < 1 else 3 if cost < 10 else 2 if cost < 100 else 1
    return f"{cost:.{decimals}f}".rstrip("0").rstrip(".")
