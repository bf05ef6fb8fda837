"""What is wrong with a definition, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    where: tuple[str, ...]
    """Keys from the top of the definition to the place."""
    message: str
    """What is wrong, and the mend."""
