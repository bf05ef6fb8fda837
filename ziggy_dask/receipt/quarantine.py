"""Files of deliveries that could not be taken in while the rest was, kept for operators.

Each delivery has a directory of its own, named by the task that took in the rest; if another
delivery has that, as after records were restored, with a number behind it. It holds the files as
they were delivered, and a hidden note of what is wrong with each. The note is written before
the rest is published, so that nothing is lost when the supervisor dies.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
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
    delivery: str = ""
    """Digest of the manifest of the delivery; empty: the note is an earlier version's."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the files that are there."""
        return tuple(name for name in self.faults if _is_there(self.directory / name))


def place_of(home: Path, task: int, unit: str, delivery: str) -> Path:
    """Return where files of a delivery are kept that a task did not take in.

    Parameters
    ----------
    home
        Where all quarantines are.
    task
        Number of the task.
    unit
        Name of the delivery.
    delivery
        Digest of its manifest.
    """
    for number in count(1):
        place = home / (f"{task}" if number == 1 else f"{task}-{number}")
        found = read_quarantine(place)
        if found is None:
            if not place.exists() or not any(place.iterdir()):
                break
        elif found.delivery in ("", delivery) and found.unit == unit:
            break
    return place


def write_note(
    directory: Path, unit: str, faults: Mapping[str, str], delivery: str
) -> None:
    """Write down what is wrong with files that are going to be kept in a directory."""
    content = {"unit": unit, "faults": dict(faults), "delivery": delivery}
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
        directory=directory,
        unit=content["unit"],
        faults=content["faults"],
        delivery=content.get("delivery", ""),
    )


def forget_note(directory: Path) -> None:
    """Remove a note of files that were not moved in, and are good by now."""
    found = read_quarantine(directory)
    if found is not None and not found.kept:
        (directory / NOTE).unlink()
        with suppress(OSError):  # something else is in it
            directory.rmdir()


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

    Raises
    ------
    DeliveryError
        If another file is there; nothing is replaced.
    """
    root = delivery.resolve()
    for name in quarantine.faults:
        source, target = delivery / name, quarantine.directory / name
        if _is_there(source) and source.parent.resolve().is_relative_to(root):
            if _is_there(target):
                raise DeliveryError(f"{target}: is there already; {source} stays")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)


def let_out(quarantine: Quarantine, taken: Iterable[str]) -> None:
    """Remove files that were taken in since, and the quarantine itself when it is empty.

    Files that somebody else put there stay.
    """
    for name in taken:
        (quarantine.directory / name).unlink(missing_ok=True)
    if quarantine.kept:
        return
    (quarantine.directory / NOTE).unlink(missing_ok=True)
    for place, _, _ in os.walk(quarantine.directory, topdown=False):
        try:
            Path(place).rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.is_file()
