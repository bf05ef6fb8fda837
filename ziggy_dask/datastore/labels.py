"""Labels: the names of items along a subtask dimension.

Labels of different types are compared by what they are, never through a third type: 64 bits
of a whole number do not fit into a float, nor the year 3000 into nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ziggy_dask.errors import DatastoreError

_KINDS = "iufUM"
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
"""Units of times, the coarsest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """An ordered set of labels: text, numbers or times.

    Parameters
    ----------
    values
        One-dimensional array; text is held as NumPy unicode.

    Raises
    ------
    DatastoreError
        If the values are of another sort, two are equal, or one is NaN or NaT, which
        equals nothing.
    """

    values: np.ndarray[Any, np.dtype[Any]]

    def __post_init__(self) -> None:
        """Bring text to one type, and refuse what can't tell items apart."""
        values = np.asarray(self.values)
        if values.dtype.kind == "T" and not hasattr(values.dtype, "na_object"):
            size = np.strings.str_len(values).max(initial=1)
            values = values.ravel().astype(f"U{size}")
        elif values.dtype.kind in "OT":
            values = np.array([str(value) for value in values.ravel()], dtype=str)
        if values.dtype.kind not in _KINDS or values.ndim != 1:
            raise DatastoreError(
                f"labels must be a list of texts, numbers or times, not {values.dtype}"
            )
        if values.dtype.kind in "fM" and np.isnan(values).any():
            raise DatastoreError(
                f"{np.isnan(values).sum()} of {values.size} items have no label, but "
                f"{values[np.isnan(values)][0]!s}; give each one of its own"
            )
        unique, counts = np.unique(values, return_counts=True)
        if unique.size != values.size:
            raise DatastoreError(
                f"{counts.max()} items have the label {unique[counts.argmax()]!s}; "
                "labels must differ"
            )
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        """Return the number of labels."""
        return int(self.values.size)

    def __iter__(self) -> Iterator[str]:
        """Yield the labels as text, e.g. for people and for item names."""
        return iter(self.texts())

    def __eq__(self, other: object) -> bool:
        """Compare by content and order."""
        if self is other:
            return True
        if not isinstance(other, Labels) or len(self) != len(other):
            return False
        values, is_kept = _exactly(other.values, self.values.dtype)
        return bool(is_kept.all() and (values == self.values).all())

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(self.values.tobytes())

    def texts(self) -> list[str]:
        """Return the labels as text."""
        return [str(value) for value in self.values]

    def place(self, text: str) -> int | None:
        """Return where the label is that reads so; None: there is none."""
        if self.values.dtype.kind == "U":
            for place in np.flatnonzero(
                self.values == text
            ):  # but for zeros at its end
                if str(self.values[place]) == text:
                    return int(place)
            return None
        texts = self.texts()
        return texts.index(text) if text in texts else None

    def take(self, positions: slice | Sequence[int]) -> Labels:
        """Return the labels at some positions."""
        if not isinstance(positions, slice):
            return Labels(self.values[positions])
        taken = object.__new__(Labels)  # part of what differs differs
        object.__setattr__(taken, "values", self.values[positions])
        return taken

    def positions(self, wanted: Labels) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return where the `wanted` labels are in these; all must be there.

        Raises
        ------
        DatastoreError
            If one is not.
        """
        values, others, is_kept = _side_by_side(self, wanted)
        if not len(values):
            is_found, places = np.zeros(len(others), dtype=bool), np.zeros(0, "i8")
        else:
            order = np.argsort(values, kind="stable")
            found = np.searchsorted(values, others, sorter=order)
            places = order[np.minimum(found, len(values) - 1)]
            is_found = is_kept & (values[places] == others)
        if not is_found.all():
            absent = wanted.values[~is_found]
            more = f" and {absent.size - 1} more" if absent.size > 1 else ""
            raise DatastoreError(
                f"there is no item {absent[0]!s}{more}, of type {absent.dtype}, among "
                f"the {len(self)} whose labels are of type {self.values.dtype}"
            )
        return places

    def found_in(self, other: Labels) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which of these labels `other` has as well."""
        values, others, is_kept = _side_by_side(self, other)
        return np.isin(values, others[is_kept])

    def common(self, other: Labels) -> Labels:
        """Return those of these labels that `other` has as well, in this order."""
        kept = self.found_in(other)
        return self if kept.all() else Labels(self.values[kept])

    def without(self, other: Labels) -> Labels:
        """Return those of these labels that `other` lacks, in this order."""
        return Labels(self.values[~self.found_in(other)])

    def union(self, other: Labels) -> Labels:
        """Return these labels, and then those of `other` that these lack.

        They become text if no other type holds all of them.
        """
        both = [self, other.without(self)]
        dtype = common_type(both)
        if dtype is None:
            return Labels.of(dict.fromkeys(text for one in both for text in one))
        return Labels(np.concatenate([one.as_type(dtype).values for one in both]))

    def as_type(self, dtype: np.dtype[Any]) -> Labels:
        """Return the same labels as values of another type.

        Raises
        ------
        DatastoreError
            If it can't hold one of them exactly.
        """
        values, is_kept = _exactly(self.values, dtype)
        if not is_kept.all():
            raise DatastoreError(
                f"the label {self.values[~is_kept][0]!s}, of type {self.values.dtype}, "
                f"can't be of type {dtype}"
            )
        return self if values is self.values else Labels(values)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` turns back into equal labels."""
        values = self.values
        if values.dtype.kind == "M":
            return {"dtype": values.dtype.str, "values": values.astype("i8").tolist()}
        kind = "U" if values.dtype.kind == "U" else values.dtype.str
        return {"dtype": kind, "values": values.tolist()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Labels:
        """Return the labels that `to_json` described."""
        dtype = np.dtype(content["dtype"])
        if dtype.kind == "M":
            return cls(np.array(content["values"], dtype="i8").astype(dtype))
        return cls(np.array(content["values"], dtype=dtype))

    @classmethod
    def of(cls, texts: Iterable[str]) -> Labels:
        """Return labels made of texts."""
        return cls(np.array(list(texts), dtype=str))


def common_type(some: Iterable[Labels]) -> np.dtype[Any] | None:
    """Return a type that holds all of some labels exactly; None: there is none."""
    parts = list(some)
    parts = [one for one in parts if len(one)] or parts
    for dtype in _candidates(list(dict.fromkeys(one.values.dtype for one in parts))):
        if all(_exactly(one.values, dtype)[1].all() for one in parts):
            return dtype
    return None


def _candidates(dtypes: list[np.dtype[Any]]) -> list[np.dtype[Any]]:
    """Return types that may hold labels of all these types, the best first."""
    kinds = {dtype.kind for dtype in dtypes}
    if len(dtypes) == 1 or kinds == {"U"}:
        return [max(dtypes, key=lambda dtype: dtype.itemsize)]
    if kinds == {"M"}:
        return sorted(dtypes, key=_fineness, reverse=True)
    if not kinds <= set("iuf"):
        return []
    wide: np.dtype[Any] = np.result_type(*dtypes)
    whole = [np.dtype("i8"), np.dtype("u8")]
    return [wide, *whole] if "f" in kinds or wide.kind != "f" else whole


def _fineness(dtype: np.dtype[Any]) -> tuple[int, int]:
    unit, count = np.datetime_data(dtype)
    return (_UNITS.index(unit) if unit in _UNITS else -1), -count


def _side_by_side(
    one: Labels, other: Labels
) -> tuple[
    np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]]
]:
    """Return two sets of values in one type, and which of the second can be in it.

    What can't is none of the first. Where one of them is text, the other is compared by
    how it reads.
    """
    if (one.values.dtype.kind == "U") is not (other.values.dtype.kind == "U"):
        one, other = Labels.of(one.texts()), Labels.of(other.texts())
    return one.values, *_exactly(other.values, one.values.dtype)


def _exactly(
    values: np.ndarray[Any, Any], dtype: np.dtype[Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return values as another type, and which of them it holds exactly."""
    kinds = values.dtype.kind, dtype.kind
    if values.dtype == dtype or kinds == ("U", "U"):
        return values, np.ones(values.shape, dtype=bool)
    if "U" in kinds or kinds.count("M") == 1:
        return np.zeros(values.shape, dtype), np.zeros(values.shape, dtype=bool)
    with np.errstate(all="ignore"):
        if kinds[0] == "f" and kinds[1] != "f":
            limits = np.iinfo(dtype)
            least, beyond = np.float64(limits.min), np.float64(int(limits.max) + 1)
            is_kept = (
                (values >= least) & (values < beyond) & (np.trunc(values) == values)
            )
            return np.where(is_kept, values, 0).astype(dtype), is_kept
        try:
            cast = values.astype(dtype)
        except OverflowError:  # NumPy knows no factor between, e.g., Y and as
            between, is_whole = _exactly(values, np.dtype("M8[ns]"))
            cast, is_kept = _exactly(between, dtype)
            return cast, is_kept & is_whole
        if kinds[0] != "f" and kinds[1] == "f":
            back, is_kept = _exactly(cast, values.dtype)
            return cast, is_kept & (back == values)
        is_kept = cast.astype(values.dtype) == values
        if kinds in (("i", "u"), ("u", "i")):
            is_kept &= (cast < 0) == (values < 0)
    return cast, is_kept
