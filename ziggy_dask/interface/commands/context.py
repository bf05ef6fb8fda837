"""Which cluster a command works on."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ziggy_dask.definitions.access import owner_of
from ziggy_dask.definitions.names import suggestion
from ziggy_dask.errors import DefinitionError
from ziggy_dask.interface.mission import POINTER
from ziggy_dask.interface.whole_files import write_file

if TYPE_CHECKING:
    from ziggy_dask.interface.cluster import Cluster
    from ziggy_dask.interface.recorded import Records

_OPENED = "ziggy_dask.cluster"
_RECORDS = "ziggy_dask.records"
_MANY = 200_000
"""So many objects are made before the first look for garbage among them."""


def opened_cluster(ctx: click.Context) -> Cluster:
    """Open the cluster that was asked for, or the one of this directory; once."""
    from ziggy_dask.interface.cluster import open_cluster

    known = ctx.find_root().meta
    if _OPENED not in known:
        known[_OPENED] = open_cluster(cluster_file(ctx))
    cluster: Cluster = known[_OPENED]
    return cluster


def opened_records(ctx: click.Context) -> Records:
    """Open the records of that cluster, for commands that need nothing else; once."""
    known = ctx.find_root().meta
    if _RECORDS not in known:
        # Modules and records stay to the end: looking for garbage among them takes long.
        gc.set_threshold(_MANY)
        atexit.register(gc.freeze)
        from ziggy_dask.interface.recorded import open_records

        known[_RECORDS] = open_records(cluster_file(ctx))
    records: Records = known[_RECORDS]
    return records


def cluster_file(ctx: click.Context) -> Path:
    """Return the cluster file: the option's, or that of the nearest directory above."""
    given = ctx.find_root().params.get("cluster_file")
    if given is not None:
        return Path(given)
    for directory in (Path.cwd(), *Path.cwd().parents):
        pointer = directory / POINTER
        if pointer.is_file():
            _require_own(pointer)
            return directory / pointer.read_text(encoding="utf-8").strip()
    raise DefinitionError(
        "no cluster is known here; begin with: ziggy init DIRECTORY, or "
        "ziggy cluster init FILE, or give --cluster"
    )


def _require_own(pointer: Path) -> None:
    """Refuse to obey what another user put into a directory above.

    A cluster file names code that is run, as a repository's settings do for git.
    """
    for place in (pointer.parent, pointer):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid(), _asked_by()):
            raise DefinitionError(
                f"{place}: belongs to {owner_of(status)}, not to you, so the cluster that "
                "it names is not taken without being asked for; if you trust it, give "
                f"--cluster {_shown(pointer)}"
            )


def _asked_by() -> int:
    """Return who became root by ``sudo``; root may use what is theirs."""
    asked = os.environ.get("SUDO_UID", "")
    return int(asked) if os.geteuid() == 0 and asked.isdecimal() else os.geteuid()


def _shown(pointer: Path) -> str:
    """Return the cluster file that a pointer names, as an argument of a command."""
    text = pointer.read_text(encoding="utf-8", errors="replace").strip()
    return shlex.quote(str(pointer.parent.parent / text))


def remember(file: Path) -> None:
    """Make a cluster the one of this directory and those below.

    A file in the directory is remembered by its name, so that both can be moved.
    """
    home = Path.cwd().resolve()
    found = file.resolve()
    pointer = home / POINTER
    pointer.parent.mkdir(exist_ok=True)
    shown = found.relative_to(home) if found.is_relative_to(home) else found
    write_file(pointer, f"{shown}\n")


class Commands(click.Group):
    """A group of commands that knows what a mistyped one was to be."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{suggestion(args[0], known)}")
        return super().resolve_command(ctx, args)


at_option = click.option(
    "--at",
    "at",
    metavar="INSTANCE|TAG|DATE|SNAPSHOT",
    help="As it was then. A date stands for its end, in UTC.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
