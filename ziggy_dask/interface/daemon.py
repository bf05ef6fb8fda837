"""The supervisor as a process in the background."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from ziggy_dask.errors import ClusterError, LeaseError
from ziggy_dask.interface.cluster import Cluster, open_cluster
from ziggy_dask.interface.service_log import ServiceLog
from ziggy_dask.interface.signals import told_by_signals
from ziggy_dask.interface.systemd import watched

_STARTING_S = 60.0
_IN_BACKGROUND = "ZIGGY_SERVICE_LOG"
"""Environment variable by which a service knows that its log is a file."""


def start_supervisor(file: Path, *, standby: bool = False) -> tuple[int, Path]:
    """Start a supervisor that stays when this process ends.

    Parameters
    ----------
    file
        The cluster file.
    standby
        Whether it waits for the end of another one.

    Returns
    -------
    int, Path
        Number of the process, and its log.

    Raises
    ------
    LeaseError
        If another supervisor is in charge.
    ClusterError
        If it ends at once; with what it said last.
    """
    cluster = open_cluster(file)
    holder = cluster.supervisor
    if holder is not None and not standby:
        raise LeaseError(
            f"a supervisor is in charge already: process {holder.pid} on {holder.host} "
            f"since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
        )
    log = _log_file(cluster)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ziggy_dask", "--cluster", str(file.resolve())]
    options = ["--standby"] if standby else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "cluster", "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cluster.home,
            env=os.environ | {_IN_BACKGROUND: "1"},
            start_new_session=True,
        )
    deadline = time.monotonic() + _STARTING_S
    while not standby and not _is_in_charge(cluster, process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ClusterError(
                f"the supervisor did not start: {_last_words(log, process)}; see {log}"
            )
        time.sleep(0.1)
    return process.pid, log


def serve_until_told(cluster: Cluster, *, standby: bool = False) -> None:
    """Be the supervisor until asked to end, or told so by a signal."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        handlers=[_log_of(cluster)],
    )
    logging.getLogger("ziggy_dask").setLevel(logging.INFO)

    def is_well() -> bool:
        holder = cluster.supervisor
        return holder is not None and holder.pid == os.getpid()

    with (
        told_by_signals(cluster.stop, lambda: cluster.is_stopping, interrupts=False),
        watched(is_well),
    ):
        cluster.serve(standby=standby)


def _log_of(cluster: Cluster) -> logging.Handler:
    """Return where the service logs to: its file, or standard error in the foreground."""
    if not os.environ.get(_IN_BACKGROUND):
        return logging.StreamHandler(sys.stderr)
    limits = cluster.log_limits
    return ServiceLog(_log_file(cluster), *limits)


def _last_words(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Return what a supervisor said last; if it said nothing, how it ended."""
    said = log.read_text(errors="replace").strip().rsplit("\n", 1)[-1]
    if said:
        return said
    code = process.poll()
    ended = "it does not answer" if code is None else f"it ended with exit code {code}"
    return f"{ended}, and could not say why; there may be no space for its log"


def _log_file(cluster: Cluster) -> Path:
    return cluster.home / "log" / "supervisor.log"


def _is_in_charge(cluster: Cluster, pid: int) -> bool:
    holder = cluster.supervisor
    return holder is not None and holder.pid == pid and holder.takes_requests
