"""Everything that can go wrong, sorted by who can fix it.

::

    ZiggyError
    ├── DefinitionError       the author: a definition, parameter or cluster file is wrong
    ├── DeliveryError         the sender: a manifest or a delivered file is wrong
    ├── DatastoreError        the site: the datastore can't be opened, read or written
    │   └── MissingError      it lacks what was requested
    ├── ClusterError          the site: compute environment or supervisor
    │   ├── ComputeLostError  workers went away while subtasks ran
    │   └── LeaseError        another supervisor holds this cluster
    ├── TaskError             the algorithm: it failed, or its output does not fit
    └── RecordsError          the site: the database can't be opened, read or written
        └── ConnectionLostError   it went away, and may come back

A message says what failed, where, which value, and the fix. The command line
prints it as one block and exits with the code of the class; anything that is
not a `ZiggyError` is a defect of this package and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_HOME = (
    "it is not known where this user's home directory is; set $HOME to a directory that "
    "this user may write"
)
"""What users hear of whom the system has no entry, as in containers."""


class ZiggyError(Exception):
    """Root of all errors that this package raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a file that a user wrote."""

    message: str
    """What is wrong, with the value and the fix."""
    file: str = ""
    """The file, as the user named it; empty for definitions built in Python."""
    line: int = 0
    """Line in the file, from 1; 0 when there is none to point at."""

    def __str__(self) -> str:
        """Return ``file:line: message``, leaving out what is not known."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return f"{place}: {self.message}" if place else self.message


class DefinitionError(ZiggyError):
    """A definition, a parameter or a cluster file is wrong; carries every fault found."""

    exit_code = 3

    def __init__(self, faults: str | Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (
            (Fault(message=faults),) if isinstance(faults, str) else tuple(faults)
        )
        super().__init__("\n".join(str(fault) for fault in self.faults))


class DeliveryError(ZiggyError):
    """A delivery is refused; nothing of it was taken into the datastore.

    Parameters
    ----------
    message
        What is wrong.
    faults
        What is wrong with each file, by its name in the delivery; empty: it is not the
        fault of single files.
    """

    exit_code = 3

    def __init__(self, message: str, faults: Mapping[str, str] | None = None) -> None:
        self.faults = dict(faults or {})
        super().__init__(message)


class DatastoreError(ZiggyError):
    """The datastore can't be opened, read or written."""

    exit_code = 4


class MissingError(DatastoreError):
    """The datastore lacks what was requested."""


class ClusterError(ZiggyError):
    """The compute environment or the supervisor can't do what was asked."""

    exit_code = 4


class ComputeLostError(ClusterError):
    """The compute environment went away; what is recorded is kept."""


class LeaseError(ClusterError):
    """Another supervisor is in charge of this cluster."""

    exit_code = 5


class TaskError(ZiggyError):
    """An algorithm failed, or what it returned does not fit its data type."""


class RecordsError(ZiggyError):
    """The database can't be opened, read or written."""

    exit_code = 4


class ConnectionLostError(RecordsError):
    """The database went away; nothing of the transaction is kept."""


class DiskFullError(RecordsError):
    """The database's disk is full; nothing of the transaction is kept."""


def error_to_text(error: ZiggyError) -> str:
    """Return an error as text, for another process to raise it.

    Examples
    --------
    >>> error_to_text(RecordsError("there is no task 9"))
    'RecordsError: there is no task 9'
    """
    return f"{type(error).__name__}: {error}"


def error_from_text(text: str) -> ZiggyError:
    """Return the error that `error_to_text` has written down.

    Examples
    --------
    >>> error_from_text("RecordsError: there is no task 9")
    RecordsError('there is no task 9')
    """
    name, _, message = text.partition(": ")
    kinds = [ZiggyError]
    for one in kinds:
        kinds.extend(one.__subclasses__())
    found = {one.__name__: one for one in kinds}
    return found[name](message) if name in found else ZiggyError(text)
