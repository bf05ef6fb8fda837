"""Parts of a container that were not asked for: refused, or told of."""

from __future__ import annotations

from collections.abc import Sequence

from ziggy_dask.errors import DeliveryError

REFUSE = "refuse"
WARN = "warn"
_MOST_LISTED = 12


def not_read(
    parts: Sequence[str],
    what: str,
    *,
    wish: str | None,
    was_asked: bool,
    way_out: str,
) -> tuple[str, ...]:
    """Return a warning that lists the parts of a file that are not read.

    Parameters
    ----------
    parts
        Names of the parts that are left out.
    what
        What parts are called, e.g. ``groups``.
    wish
        Option ``other_parts`` of the data type: ``refuse`` or ``warn``; None: refuse
        them, unless the data type names the part that it wants.
    was_asked
        Whether the data type names the part that it wants.
    way_out
        How to get at the parts.

    Raises
    ------
    DeliveryError
        If there are any, and they are to be refused, or the wish is not valid.
    """
    if wish not in (None, REFUSE, WARN):
        raise DeliveryError(
            f"the option 'other_parts' is {wish!r}; it can be '{REFUSE}' or '{WARN}'"
        )
    if not parts:
        return ()
    text = f"{what} not read: {listed(parts)}"
    if (wish or (WARN if was_asked else REFUSE)) == WARN:
        return (text,)
    raise DeliveryError(
        f"it has {what} that would not be read: {listed(parts)}; {way_out}, or take the "
        "file with a warning by 'other_parts: warn'"
    )


def listed(names: Sequence[str]) -> str:
    """Return names in a row, long lists cut short.

    Examples
    --------
    >>> listed(["a", "b"])
    'a, b'
    """
    more = len(names) - _MOST_LISTED
    shown = ", ".join(names[:_MOST_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown
