"""The lease: one supervisor per cluster.

Whoever supervises holds the one row of a table and refreshes it. Someone else
may take it over when it has not been refreshed for `LEASE_S`, or at once when it
is of this machine and its process is gone.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from ziggy_dask.errors import LeaseError
from ziggy_dask.records.database import Database
from ziggy_dask.records.tables import LeaseRow

LEASE_S = 60.0
"""So long a lease holds without being refreshed, in seconds."""
REFRESH_S = 10.0
"""Time between refreshes, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who supervises a cluster."""

    token: str = field(repr=False)
    """Secret of the holder."""
    host: str
    """Its machine."""
    pid: int
    """Its process."""
    process_started: str
    """When that process began; tells it from a later one with the same number."""
    since: datetime
    """Since when."""
    heartbeat: datetime
    """When it was refreshed last."""
    takes_requests: bool
    """Whether it does what others ask it to, through the database."""
    follows_silent: bool = False
    """Whether it was taken from one that did not answer, but may do so again."""


def take_lease(database: Database) -> Lease:
    """Become the supervisor of a cluster.

    Raises
    ------
    LeaseError
        If another process is, with its machine, process and since when.
    """
    now = datetime.now(UTC)
    mine = Lease(
        token=secrets.token_hex(16),
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=_process_started(os.getpid()),
        since=now,
        heartbeat=now,
        takes_requests=False,
    )
    with database.writing() as connection:
        holder = _holder(connection)
        if holder is not None and not is_expired(holder, now):
            raise LeaseError(
                f"another supervisor is in charge: process {holder.pid} on {holder.host}, "
                f"since {holder.since:%Y-%m-%d %H:%M:%S} UTC; wait for it, or end it there"
            )
        connection.execute(delete(LeaseRow))
        connection.execute(insert(LeaseRow).values(id=1, **_values(mine)))
    database.lease_token = mine.token
    return replace(mine, follows_silent=holder is not None and not _is_dead(holder))


def invite_requests(database: Database, lease: Lease) -> None:
    """Say that the holder does what others ask it to, from now on."""
    with database.writing() as connection:
        connection.execute(
            update(LeaseRow)
            .where(LeaseRow.token == lease.token)
            .values(takes_requests=True)
        )


def refresh_lease(database: Database, lease: Lease) -> None:
    """Say that the holder is alive.

    Raises
    ------
    LeaseError
        If another one has taken over.
    """
    with database.writing(waits=False) as connection:
        connection.execute(
            update(LeaseRow)
            .where(LeaseRow.token == lease.token)
            .values(heartbeat=datetime.now(UTC))
        )


def give_back_lease(database: Database, lease: Lease) -> None:
    """Stop being the supervisor."""
    database.lease_token = None
    with database.writing() as connection:
        connection.execute(delete(LeaseRow).where(LeaseRow.token == lease.token))


def current_lease(database: Database) -> Lease | None:
    """Return who supervises the cluster, or None."""
    with database.reading() as connection:
        holder = _holder(connection)
    return None if holder is None or is_expired(holder, datetime.now(UTC)) else holder


def is_expired(holder: Lease, now: datetime) -> bool:
    """Tell whether a lease can be taken over."""
    if now - holder.heartbeat > timedelta(seconds=LEASE_S):
        return True
    return _is_dead(holder)


def _is_dead(holder: Lease) -> bool:
    """Tell whether a holder is known to be gone for good.

    Of processes of another machine or container of the same name, or from before this one was
    started anew, that can't be seen.
    """
    is_of_here = (
        holder.host == socket.gethostname()
        and holder.process_started.partition(" ")[0] == _here()
    )
    return is_of_here and _process_started(holder.pid) != holder.process_started


def _holder(connection: Connection) -> Lease | None:
    row = connection.execute(select(LeaseRow.__table__)).first()
    if row is None:
        return None
    return Lease(
        token=row.token,
        host=row.host,
        pid=row.pid,
        process_started=row.process_started,
        since=row.since,
        heartbeat=row.heartbeat,
        takes_requests=row.takes_requests,
    )


def _values(lease: Lease) -> dict[str, object]:
    return {
        "token": lease.token,
        "host": lease.host,
        "pid": lease.pid,
        "process_started": lease.process_started,
        "since": lease.since,
        "heartbeat": lease.heartbeat,
        "takes_requests": lease.takes_requests,
    }


def _process_started(pid: int) -> str:
    """Return where and when a process began, or an empty string if there is none.

    In ticks since the machine started, so that it stays the same when the clock is
    set: proc(5), field 22 of ``/proc/PID/stat``.
    """
    import psutil  # takes a while, and most looks at records find nobody in charge

    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return ""
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (psutil.Error, OSError):
        return ""
    return f"{_here()} {after_name.split()[19]}"


def _here() -> str:
    """Return what tells the processes that can be seen from all others: boot and namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
