"""Certificates of one run: who has them may talk to its scheduler and workers."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ziggy_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Security

_NAME = "ziggy-dask"
_SKEW = timedelta(days=1)
"""Clocks of machines may differ by that."""
_LIFE = timedelta(days=3650)
"""Longer than a supervisor runs; files of certificates go when it ends."""


@contextmanager
def certificates(home: Path) -> Iterator[Security]:
    """Make a certificate for a run, which scheduler, workers and clients must all have.

    Parameters
    ----------
    home
        Directory for its files, of which no other user can see anything. What earlier
        runs left there is removed: only one supervisor uses it at a time.

    Raises
    ------
    ClusterError
        If the files can't be written.

    Notes
    -----
    The files are removed when the block ends.
    """
    from distributed import Security

    directory = home / secrets.token_hex(8)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    try:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700, parents=True)
        directory.mkdir(mode=0o700)
        for path, content in zip((certificate, key), _made(), strict=True):
            _write_private(path, content)
    except OSError as error:
        raise ClusterError(
            f"{home}: certificates for workers can't be written: {error.strerror}"
        ) from error
    try:
        yield Security(
            require_encryption=True,
            tls_ca_file=str(certificate),
            **{
                f"tls_{role}_{part}": str(path)
                for role in ("client", "scheduler", "worker")
                for part, path in (("cert", certificate), ("key", key))
            },
        )
    finally:
        # A supervisor that ends late must leave alone what its successor has made.
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            home.rmdir()


def _write_private(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)


def _made() -> tuple[bytes, bytes]:
    """Return a certificate that vouches for itself, and its private key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False
        )
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
