"""Real servers for tests, each in a directory of its own, on loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import psycopg

WAIT_S = 120


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """A PostgreSQL server that wants a password, and can be killed.

    It refuses to run as root; then it runs as the user that its package made.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ziggy-postgres-"))
        self.port = free_port()
        self.password = f"pw-{secrets.token_hex(8)}"
        self.process: subprocess.Popen[bytes] | None = None
        self._owner = {"user": "postgres", "group": "postgres"} if _is_root() else {}
        if self._owner:
            shutil.chown(self.directory, "postgres", "postgres")
        given = self.directory / "password"
        given.write_text(self.password)
        given.chmod(0o644)
        subprocess.run(
            [
                _postgres("initdb"),
                f"--pgdata={self._data}",
                "--username=ziggy",
                "--auth=scram-sha-256",
                f"--pwfile={given}",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **self._owner,
        )
        given.unlink()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        """Start, and wait until it answers; again while an older one still dies."""
        deadline = time.monotonic() + WAIT_S
        while True:
            if self.process is None or self.process.poll() is not None:
                self.process = self._started()
            try:
                psycopg.connect(self.dsn()).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _started(self) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    _postgres("postgres"),
                    f"-D{self._data}",
                    f"-k{self.directory}",
                    "-clisten_addresses=127.0.0.1",
                    f"-p{self.port}",
                ],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._owner,
            )

    def kill(self) -> None:
        """End it as a power cut does, with all its processes."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=WAIT_S)

    def stop(self) -> None:
        """End it as a system that shuts down does: clients are cut off, data are whole."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def close(self) -> None:
        """End it, and remove what it made."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)

    def dsn(self, name: str = "postgres") -> str:
        """Return libpq's URL of a database."""
        return f"postgresql://ziggy:{self.password}@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        """Create a database; return its URL, with the password."""
        name = f"z{secrets.token_hex(6)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)


class S3Server:
    """An S3 server, moto's, which heeds the conditions of conditional writes."""

    access_key = "AKIAIOSFODNN7EXAMPLE"
    secret_key = "a-secret-that-nobody-may-see"

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H127.0.0.1", f"-p{self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            assert self.process.poll() is None, "moto does not start"
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def new_bucket(self) -> str:
        """Create a bucket; return its name."""
        name = f"ziggy-{secrets.token_hex(6)}"
        put = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(put).close()
        return name

    def datastore(self) -> str:
        """Return the lines of a cluster file for a datastore in a new bucket."""
        return (
            f"datastore:\n  url: s3://{self.new_bucket()}/mission\n"
            f"  endpoint: {self.endpoint}\n  region: us-east-1\n"
            "  allow_http: true\n  path_style: true\n"
        )

    def close(self) -> None:
        """End it; what it stored is gone."""
        self.process.terminate()
        self.process.wait()


class GatewayServer:
    """A dask-gateway server, which starts clusters as processes of this machine.

    Its proxy is the one that comes with it. Who wants a cluster must know a password.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ziggy-gateway-"))
        self.password = f"pw-{secrets.token_hex(8)}"
        self.address = f"http://127.0.0.1:{free_port()}"
        programs = Path(sys.executable).parent
        config = self.directory / "config.py"
        config.write_text(
            "c.DaskGateway.backend_class = "
            "'dask_gateway_server.backends.local.UnsafeLocalBackend'\n"
            f"c.DaskGateway.address = '127.0.0.1:{free_port()}'\n"
            f"c.Proxy.address = '{self.address.removeprefix('http://')}'\n"
            f"c.ClusterConfig.scheduler_cmd = ['{programs}/dask', 'scheduler']\n"
            f"c.ClusterConfig.worker_cmd = ['{programs}/dask', 'worker']\n"
            f"c.SimpleAuthenticator.password = '{self.password}'\n"
            f"c.UnsafeLocalBackend.clusters_directory = '{self.directory}/clusters'\n"
        )
        config.chmod(0o600)
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [programs / "dask-gateway-server", "-f", config],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Tell whether proxy and server are up, by what needs no password."""
        try:
            urllib.request.urlopen(f"{self.address}/api/health", timeout=5).close()
        except OSError:
            return False
        return True

    def log(self) -> str:
        """Return what it said so far."""
        return (self.directory / "log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Return the processes of its clusters, which are sessions of their own."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if "dask-gateway-proxy" not in one.name()]

    def close(self) -> None:
        """End it and all that it started."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.wait()
        for one in psutil.wait_procs(children, timeout=WAIT_S)[1]:
            one.kill()
        shutil.rmtree(self.directory)


def _is_root() -> bool:
    return os.geteuid() == 0


def _postgres(program: str) -> str:
    """Return a program of PostgreSQL's, which Debian does not put on the path."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/bin")]
    found = [str(place / program) for place in sorted(places, reverse=True)]
    for one in (*found, shutil.which(program)):
        if one and Path(one).exists():
            return one
    raise FileNotFoundError(f"{program}: install Debian's package postgresql")
