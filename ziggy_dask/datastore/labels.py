"""Labels: the names of items along a subtask dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ziggy_dask.errors import DatastoreError

_KINDS = "iufUM"


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
        return isinstance(other, Labels) and np.array_equal(self.values, other.values)

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
        """Return where the `wanted` labels are in these; all must be there."""
        order = np.argsort(self.values, kind="stable")
        return order[np.searchsorted(self.values, wanted.values, sorter=order)]

    def common(self, other: Labels) -> Labels:
        """Return those of these labels that `other` has as well, in this order."""
        kept = np.isin(self.values, other.values)
        return self if kept.all() else Labels(self.values[kept])

    def without(self, other: Labels) -> Labels:
        """Return those of these labels that `other` lacks, in this order."""
        return Labels(self.values[~np.isin(self.values, other.values)])

    def union(self, other: Labels) -> Labels:
        """Return these labels, and then those of `other` that these lack."""
        return Labels(np.concatenate([self.values, other.without(self).values]))

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
    def of(cls, texts: Sequence[str]) -> Labels:
        """Return labels made of texts."""
        return cls(np.array(list(texts), dtype=str))
