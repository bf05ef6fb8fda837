"""What a store refuses is told in one line, in its own words, with what to do."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import icechunk
import pytest

from ziggy_dask.datastore import create_repository, open_repository
from ziggy_dask.datastore.store_words import in_words
from ziggy_dask.errors import DatastoreError


class Refusing(BaseHTTPRequestHandler):
    """A store that refuses everything."""

    status, body = 403, b""

    def refuse(self) -> None:
        """Answer any request."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = refuse

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing(monkeypatch):
    """Start a store that refuses everything in some way; return the URL of a datastore there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    servers = []

    def started(status: int, body: str) -> str:
        handler = type("One", (Refusing,), {"status": status, "body": body.encode()})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return (
            f"s3://one/m?endpoint=http://127.0.0.1:{server.server_port}"
            "&region=us-east-1&allow_http=true&path_style=true"
        )

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "said", "advice"),
    [
        (403, "InvalidAccessKeyId", "No such key.", "fix AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "It does not match", "fix AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", "The token has expired.", "get new credentials"),
        (403, "AccessDenied", "Access Denied", "may not read and write there"),
        (404, "NoSuchBucket", "There is no such bucket", "make the bucket"),
        (403, "RequestTimeTooSkewed", "Too much.", "set the clock"),
        (400, "MoonIsFull", "The moon is full", ""),
        (403, "AccessDenied", "", "may not read and write there"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(refusing, status, code, said, advice):
    url = refusing(
        status, f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
    )
    for use in (create_repository, open_repository):
        with pytest.raises(DatastoreError) as caught:
            use(url)
        words = str(caught.value)
        assert "\n" not in words
        assert code in words
        assert said.rstrip(".") in words
        assert advice in words


@pytest.mark.parametrize("body", ["<html>log in</html>", "", "\x00\x01", "{}"])
def test_what_no_store_says_is_one_line(refusing, body):
    url = refusing(200, body)
    with pytest.raises(DatastoreError) as caught:
        create_repository(url)
    assert "\n" not in str(caught.value)


def test_what_icechunk_says_of_a_datastore_on_disk_is_its_first_line(tmp_path):
    with pytest.raises(icechunk.IcechunkError) as caught:
        icechunk.Repository.open(icechunk.local_filesystem_storage(str(tmp_path)))
    words = in_words(caught.value)
    assert "\n" not in words
    assert words in str(caught.value)
