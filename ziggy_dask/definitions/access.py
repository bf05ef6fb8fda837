"""Who may read and write the files of a cluster, whatever the umask of a shell says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path


class Access(Enum):
    """Whom the files of a cluster are for."""

    UMASK = "umask"
    """As the umask of whoever makes them says, but that others never may write."""
    GROUP = "group"
    """The owner and the group; colleagues of the group are trusted."""
    OWNER = "owner"
    """The owner alone."""

    def mask(self, umask: int) -> int:
        """Return the umask with which files are made, given that of the process."""
        if self is Access.UMASK:
            return umask | stat.S_IWOTH
        return 0o007 if self is Access.GROUP else 0o077


def use(access: Access) -> None:
    """Make files from now on as a cluster wants them, in this process and those below."""
    os.umask(access.mask(_umask()))


def too_open(access: Access, paths: Sequence[Path]) -> Iterator[str]:
    """Yield which of these files and directories others may use more than they should.

    Parameters
    ----------
    access
        What the cluster wants.
    paths
        Those that are not there count for nothing.
    """
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        mode = stat.S_IMODE(status.st_mode)
        wrong = mode & (access.mask(0) | stat.S_IWOTH)
        if status.st_uid not in (0, os.geteuid()) and access is Access.OWNER:
            yield f"{path}: belongs to {owner_of(status)}; fix it with: chown"
        if not wrong or (mode & stat.S_ISVTX and stat.S_ISDIR(status.st_mode)):
            continue
        do = "write" if wrong & 0o022 else "read"
        who = "others" if wrong & 0o007 else "the group"
        yield f"{path}: {who} may {do} (mode {mode:o}); fix it with: {_fix(access, path)}"


def is_trusted(access: Access, status: os.stat_result) -> bool:
    """Tell whether nobody but those who are trusted had a hand in a directory."""
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWOTH:
        return False
    if status.st_uid in (0, os.geteuid()):
        return True
    return access is Access.GROUP and status.st_gid in (os.getegid(), *os.getgroups())


def owner_of(status: os.stat_result) -> str:
    """Return the name of a file's owner, or the number of one without a name."""
    import pwd

    try:
        return pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return f"user {status.st_uid}"


def _fix(access: Access, path: Path) -> str:
    rights = {Access.UMASK: "o-w", Access.GROUP: "o=", Access.OWNER: "go="}[access]
    return f"chmod -R {rights} {path}"


def _umask() -> int:
    """Return the umask without setting it, which other threads would notice: proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
