"""A scheduler at an address that can't be used: one message, within seconds, for each reason."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.servers import free_port
from ziggy_dask.compute.security import certificates

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@contextmanager
def scheduler(*options: str, protocol: str = "tcp") -> Iterator[str]:
    """Start a scheduler without workers; yield its address."""
    port = free_port()
    address = f"{protocol}://127.0.0.1:{port}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    command += [f"--host={protocol}://127.0.0.1", f"--port={port}", *options]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Scheduler at" in line:
                break
        try:
            yield address
        finally:
            process.terminate()
            process.stderr.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A scheduler with certificates, and the directory with those."""
    home = tmp_path_factory.mktemp("tls")
    with certificates(home / "its") as security:
        options = [
            f"--tls-ca-file={security.tls_ca_file}",
            f"--tls-cert={security.tls_scheduler_cert}",
            f"--tls-key={security.tls_scheduler_key}",
        ]
        with scheduler(*options, protocol="tls") as address:
            yield address, Path(str(security.tls_ca_file)).parent


def check(directory: Path, lines: str) -> tuple[int, str, float]:
    """Return exit code, words and seconds of 'cluster check --connect'."""
    file = directory / "cluster.yaml"
    file.write_text(f"cluster: lab\nhome: ./home\ncompute:\n{lines}")
    ziggy = str(Path(sys.executable).parent / "ziggy")
    began = time.monotonic()
    done = subprocess.run(
        [ziggy, "cluster", "check", "--connect", file],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr, time.monotonic() - began


def with_security(address: str, files: Path) -> str:
    return (
        f"  address: {address}\n  security: {{ca_file: {files}/certificate.pem, "
        f"certificate: {files}/certificate.pem, key: {files}/key.pem}}\n"
    )


def test_certificates_that_are_missing_superfluous_or_of_others(tls, tmp_path):
    address, files = tls
    plain = address.replace("tls://", "tcp://")
    with certificates(tmp_path / "others") as others:
        foreign = Path(str(others.tls_ca_file)).parent
        said = {
            "missing": check(tmp_path, f"  address: {address}\n"),
            "superfluous": check(tmp_path, with_security(plain, files)),
            "foreign": check(tmp_path, with_security(address, foreign)),
            "plain": check(tmp_path, f"  address: {plain}\n"),
        }
        # Its own certificate is trusted, but shown is one that it does not know.
        mixed = with_security(address, foreign).replace(
            f"ca_file: {foreign}", f"ca_file: {files}"
        )
        said["unknown"] = check(tmp_path, mixed)
    for kind, words in (
        ("missing", "wants certificates; give 'security: {ca_file, certificate, key}'"),
        ("superfluous", "'security' is for 'tls://'"),
        ("foreign", "the certificates of 'compute: security' are not those of this"),
        ("plain", "it wants 'tls://' and 'security: {ca_file, certificate, key}'"),
        ("unknown", "the certificates of 'compute: security' are not those of this"),
    ):
        code, text, _ = said[kind]
        assert code == 4, (kind, text)
        assert words in text, (kind, text)
        assert len(text.strip().splitlines()) == 1, (kind, text)


def test_nobody_there_and_nobody_at_work(tmp_path, monkeypatch):
    code, text, _ = check(tmp_path, f"  address: tcp://127.0.0.1:{free_port()}\n")
    assert code == 4
    assert "no Dask scheduler answers" in text
    assert len(text.strip().splitlines()) == 1
    with scheduler() as address:
        code, text, _ = check(tmp_path, f"  address: {address}\n")
    assert code == 4
    assert "has no worker" in text
    assert len(text.strip().splitlines()) == 1


ANSWERS = {
    b"": "hangs up",
    b"SSH-2.0-OpenSSH_9.2\r\n": "says b'SSH-2.0-'",
    b"\xff" * 64: "says b'\\xff",
    None: "says nothing in",
}
"""What others say by themselves; None: they wait, as web servers do."""


@pytest.mark.parametrize("protocol", ["tcp", "tls"])
@pytest.mark.parametrize("said", ANSWERS, ids=["hangs up", "ssh", "noise", "mute"])
def test_whatever_listens_there_instead_is_one_message(said, protocol, tmp_path):
    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            if said is None:
                kept.append(connection)
            else:
                connection.sendall(said)
                connection.close()

    kept: list[socket.socket] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        certificates(tmp_path / "keys") as security,
    ):
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        address = f"{protocol}://127.0.0.1:{server.getsockname()[1]}"
        files = Path(str(security.tls_ca_file)).parent
        plain = f"  address: {address}\n"
        lines = plain if protocol == "tcp" else with_security(address, files)
        code, text, _ = check(tmp_path, lines)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=60)
    for connection in kept:
        connection.close()
    assert code == 4, text
    assert "no Dask scheduler answers at" in text
    assert len(text.strip().splitlines()) == 1, text
    if protocol == "tcp":
        assert ANSWERS[said] in text or "Connection reset" in text


@contextmanager
def worker(address: str) -> Iterator[psutil.Process]:
    """Start a worker without a nanny; yield its process once it is registered."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    command += ["--no-dashboard", "--no-nanny", "--nthreads=1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Registered to" in line:
                break
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()
            process.stderr.close()


def test_workers_that_do_not_answer_are_told_in_time(tmp_path):
    with scheduler() as address, worker(address) as first:
        first.suspend()
        code, text, _ = check(tmp_path, f"  address: {address}\n")
        assert code == 4, text
        assert f"at {address!r} did not answer in 10 s; see whether it runs" in text
        assert len(text.strip().splitlines()) == 1, text
        with worker(address):
            code, text, _ = check(tmp_path, f"  address: {address}\n")
            assert code == 0, text
        first.resume()


def test_a_gateway_that_says_nothing_is_told_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        code, text, _ = check(
            tmp_path, f"  gateway: {{address: '{place}', workers: 1}}\n"
        )
    assert code == 4, text
    assert f"'compute: gateway': nothing answers at {place!r} in 10 s" in text
    assert len(text.strip().splitlines()) == 1, text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "  kubernetes: {image: x, namespace: y, workers: 1}\n",
            "'compute: kubernetes' can't be started",
        ),
        (
            "  ssh: {hosts: [127.0.0.1], options: {connect_options: {port: PORT}}}\n",
            "127.0.0.1, which SSH does not reach",
        ),
        (
            "  gateway: {address: 'http://127.0.0.1:PORT', workers: 1}\n",
            "'compute: gateway' can't be started",
        ),
    ],
    ids=["kubernetes", "ssh", "gateway"],
)
def test_what_others_start_is_one_message_where_it_can_not_be(
    lines, words, tmp_path, monkeypatch
):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    code, text, _ = check(tmp_path, lines.replace("PORT", str(free_port())))
    assert code == 4, text
    assert words in text
    assert len(text.strip().splitlines()) == 1, text
