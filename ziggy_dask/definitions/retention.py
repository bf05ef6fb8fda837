"""The ``retention`` section of a cluster file: which versions of products stay, by data type."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ziggy_dask.definitions.section import Section

_RULE = re.compile(r"all|tagged|last ([1-9][0-9]{0,8})|([1-9][0-9]{0,5}) days?")
_FORMS = "'all', 'tagged', 'last 3' or '90 days'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which versions of the products of a data type stay; what any of its rules keeps does.

    The newest version always stays, and so does what has a tag.
    """

    data_type: str
    """Name of the data type."""
    is_all: bool = False
    """All of them."""
    last: int = 1
    """So many, the newest ones."""
    days: int = 0
    """Those that were the newest one so many days ago, or later."""


def read_retention(top: Section) -> tuple[Retention, ...]:
    """Read the section of a cluster file; faults are left with its document."""
    return tuple(_rules_of(name, one) for name, one in top.sections("retention"))


def _rules_of(data_type: str, section: Section) -> Retention:
    """Return the rules of a data type: one after ``keep``, or a list of them."""
    rules = section.texts("keep")
    found = [_RULE.fullmatch(rule.strip()) for rule in rules]
    if not rules:
        section.fault("keep", f"say what is kept of '{data_type}': {_FORMS}")
    for rule, match in zip(rules, found, strict=True):
        if match is None:
            section.fault(
                "keep",
                f"{rule!r} does not say which versions of '{data_type}' are kept; "
                f"write {_FORMS}",
            )
    section.done()
    counts = [int(one[1]) for one in found if one and one[1]]
    days = [int(one[2]) for one in found if one and one[2]]
    return Retention(
        data_type=data_type,
        is_all="all" in (rule.strip() for rule in rules),
        last=max(counts, default=1),
        days=max(days, default=0),
    )
