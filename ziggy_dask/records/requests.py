"""Requests: what operators ask of the supervisor, through the database."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sqlalchemy import insert, select, update

from ziggy_dask.errors import RecordsError
from ziggy_dask.records.database import Database, patiently
from ziggy_dask.records.tables import RequestRow


class RequestKind(Enum):
    """What is asked for."""

    RUN = "run"
    """To launch an instance and run it."""
    RESTART = "restart"
    """To restart tasks."""
    STOP = "stop"
    """To stop supervising."""
    REMOVE = "remove"
    """To remove products from the newest state."""
    EXPIRE = "expire"
    """To give up what no rule keeps."""


class RequestState(Enum):
    """What became of a request."""

    WAITING = "waiting"
    """The supervisor has not come to it yet."""
    DONE = "done"
    """It was carried out."""
    REFUSED = "refused"
    """It made no sense; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """Something that an operator asks of the supervisor."""

    id: int
    """Number, from 1."""
    kind: RequestKind
    """What is asked for."""
    content: Mapping[str, Any]
    """The rest of it."""
    asker: str
    """Who asks: user, machine, process."""
    made: datetime
    """When it was made."""
    state: RequestState
    """What became of it."""
    instances: tuple[int, ...]
    """Instances that it led to."""
    message: str
    """Why it was refused, as `ziggy_dask.errors.error_to_text` writes it."""


def user_name() -> str:
    """Return the name of the user, or the number of one who has no name, as in containers.

    Python says that there is none by another error in each version.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"


@patiently
def ask(database: Database, kind: RequestKind, content: Mapping[str, Any]) -> int:
    """Make a request; return its number."""
    values: dict[str, Any] = {
        "kind": kind.value,
        "content": dict(content),
        "asker": f"{user_name()}@{socket.gethostname()}:{os.getpid()}",
        "made": datetime.now(UTC),
        "state": RequestState.WAITING.value,
        "instances": [],
        "message": "",
    }
    with database.writing() as connection:
        made = connection.execute(
            insert(RequestRow).values(**values).returning(RequestRow.id)
        )
        return int(made.scalar_one())


@patiently
def waiting(database: Database) -> list[RequestRecord]:
    """Return the requests that nobody has carried out yet, oldest first."""
    query = (
        select(RequestRow.__table__)
        .where(RequestRow.state == RequestState.WAITING.value)
        .order_by(RequestRow.id)
    )
    with database.reading() as connection:
        return [_from_row(row) for row in connection.execute(query)]


@patiently
def request(database: Database, number: int) -> RequestRecord:
    """Return a request."""
    query = select(RequestRow.__table__).where(RequestRow.id == number)
    with database.reading() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise RecordsError(f"there is no request {number}")
    return _from_row(row)


@patiently
def answer(
    database: Database,
    number: int,
    state: RequestState,
    *,
    instances: tuple[int, ...] = (),
    message: str = "",
) -> None:
    """Say what became of a request."""
    values = {"state": state.value, "instances": list(instances), "message": message}
    with database.writing() as connection:
        connection.execute(
            update(RequestRow).where(RequestRow.id == number).values(**values)
        )


def _from_row(row: Any) -> RequestRecord:
    return RequestRecord(
        id=row.id,
        kind=RequestKind(row.kind),
        content=row.content,
        asker=row.asker,
        made=row.made,
        state=RequestState(row.state),
        instances=tuple(row.instances),
        message=row.message,
    )
