"""Files of deliveries that could not be taken in while the rest was, kept for operators.

Each delivery has a directory of its own, named by the task that took in the rest. It holds
the files as they were delivered, and a hidden note of what is wrong with each. The note is
written before the rest is published, so that nothing is lost when the supervisor dies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ziggy_dask.datastore.atomic import replacing
from ziggy_dask.errors import DeliveryError

NOTE = ".quarantine.json"
"""Name of the note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """What is kept of one delivery."""

    directory: Path
    """Where its files are."""
    unit: str
    """Name of the delivery."""
    faults: Mapping[str, str]
    """What is wrong with each file, by name."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the files that are there."""
        return tuple(name for name in self.faults if _is_there(self.directory / name))


def write_note(directory: Path, unit: str, faults: Mapping[str, str]) -> None:
    """Write down what is wrong with files that are going to be kept in a directory."""
    content = {"unit": unit, "faults": dict(faults)}
    with replacing(directory / NOTE) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_quarantine(directory: Path) -> Quarantine | None:
    """Return what is kept in a directory; None: it is not a quarantine."""
    try:
        content = json.loads((directory / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{directory / NOTE}: can't be read: {error}") from error
    return Quarantine(
        directory=directory, unit=content["unit"], faults=content["faults"]
    )


def all_quarantined(home: Path) -> Iterator[Quarantine]:
    """Yield what is kept below a directory, by number of task."""
    if not home.is_dir():
        return
    for place in sorted(home.iterdir(), key=lambda one: (len(one.name), one.name)):
        found = read_quarantine(place)
        if found is not None and found.kept:
            yield found


def move_in(delivery: Path, quarantine: Quarantine) -> None:
    """Move the files of a quarantine there from where they were delivered.

    It may run again after it was interrupted. A link is moved, not what it leads to.
    """
    root = delivery.resolve()
    for name in quarantine.faults:
        source, target = delivery / name, quarantine.directory / name
        if _is_there(source) and source.parent.resolve().is_relative_to(root):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)


def let_out(quarantine: Quarantine, taken: Iterable[str]) -> None:
    """Remove files that were taken in since, and the quarantine itself when it is empty."""
    for name in taken:
        (quarantine.directory / name).unlink(missing_ok=True)
    if not quarantine.kept:
        shutil.rmtree(quarantine.directory)


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
