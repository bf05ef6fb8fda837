"""Alerts are sent on to commands, web servers and mailboxes, and hold up nothing."""

import email
import json
import queue
import re
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from aiosmtpd.controller import Controller

import ziggy_dask as z
from ziggy_dask.engine.alerts import alert
from ziggy_dask.records.alerts import Severity

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


def told(cluster, hooks, message="clouds"):
    """Raise an alert in a cluster with hooks; return the cluster."""
    file = cluster._site.cluster.path
    content = yaml.safe_load(file.read_text()) | {"alerts": hooks}
    file.write_text(yaml.safe_dump(content))
    opened = z.open(file)
    alert(opened._site, Severity.ERROR, message, task=7)
    return opened


@contextmanager
def web_server(answer=200, headers=(), hold=None):
    """Yield the address of a web server, and what it is sent."""
    seen = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.put((self.path, dict(self.headers), json.loads(body)))
            if hold is not None:
                hold.wait(60)
            self.send_response(answer)
            for pair in headers:
                self.send_header(*pair)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_command_gets_each_alert(cluster, tmp_path):
    pipe = tmp_path / "pipe"
    script = f"import sys; open({str(pipe)!r} + '.part', 'w').write(sys.stdin.read())"
    script += f"; import os; os.rename({str(pipe)!r} + '.part', {str(pipe)!r})"
    told(cluster, {"command": [sys.executable, "-c", script]})
    with web_server() as (address, seen):  # sent in order: the command has ended then
        told(cluster, {"url": address}, "second")
        seen.get(timeout=60)
    content = json.loads(pipe.read_text())
    assert (content["cluster"], content["severity"]) == ("test", "ERROR")
    assert (content["task"], content["message"]) == (7, "clouds")


def test_a_web_server_gets_each_alert_with_secrets_from_the_environment(
    cluster, monkeypatch
):
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    hooks = {"headers": {"Authorization": "Bearer $HOOK_TOKEN"}}
    with web_server() as (address, seen):
        told(cluster, hooks | {"url": f"{address}/hooks/${{HOOK_TOKEN}}"})
        path, headers, content = seen.get(timeout=60)
    assert path == "/hooks/s3cret"
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["Content-Type"] == "application/json"
    assert content["message"] == "clouds"
    assert "s3cret" not in cluster._site.cluster.path.read_text()


@pytest.mark.parametrize(
    ("answer", "headers", "words"),
    [
        (500, (), "an alert could not be posted: HTTPError: HTTP Error 500"),
        (302, (("Location", "/elsewhere"),), "HTTP Error 302"),
    ],
)
def test_a_server_that_refuses_is_logged_and_not_followed(
    cluster, logged, answer, headers, words
):
    with web_server(answer, headers) as (address, seen):
        told(cluster, {"url": f"{address}/secret"})
        seen.get(timeout=60)
        with web_server() as (other, arrived):
            told(cluster, {"url": other})
            arrived.get(timeout=60)
        assert seen.empty()
    assert words in logged.text
    assert "secret" not in logged.text


def test_a_variable_that_is_not_there_is_logged(cluster, logged):
    told(cluster, {"url": "https://127.0.0.1/$NO_SUCH_TOKEN"})
    with web_server() as (address, seen):
        told(cluster, {"url": address})
        seen.get(timeout=60)
    assert "the environment has no variable $NO_SUCH_TOKEN" in logged.text


def test_a_server_that_does_not_answer_holds_up_nothing(cluster):
    hold = threading.Event()
    with web_server(hold=hold) as (address, seen):
        opened = told(cluster, {"url": address})
        messages = [f"{letter} is late" for letter in "abcdefghijklmnopqrst"]
        for message in messages:
            alert(opened._site, Severity.WARNING, message)
        assert len(opened.alerts) == 21
        assert seen.get(timeout=60)[2]["message"] == "clouds"
        hold.set()
        assert [seen.get(timeout=60)[2]["message"] for _ in range(20)] == messages


class Mailbox:
    def __init__(self):
        self.letters = queue.Queue()

    async def handle_DATA(self, server, session, envelope):
        self.letters.put(email.message_from_bytes(envelope.content))
        return "250 OK"


def test_the_documented_script_sends_mail(cluster, tmp_path, monkeypatch):
    (script,) = re.findall(r"```python\n(import json.*?)```", DOCS.read_text(), re.S)
    (tmp_path / "mail.py").write_text(script)
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        monkeypatch.setenv("ALERTS_TO", "operator@example.org")
        monkeypatch.setenv("ALERTS_HOST", f"127.0.0.1:{port}")
        told(cluster, {"command": [sys.executable, str(tmp_path / "mail.py")]})
        letter = box.letters.get(timeout=60)
    finally:
        server.stop()
    assert letter["To"] == "operator@example.org"
    assert letter["Subject"] == "test: ERROR 1"
    assert "clouds" in letter.get_payload()
