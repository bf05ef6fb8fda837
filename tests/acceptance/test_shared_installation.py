"""The page on an installation for several hosts is done as it stands there, block by block."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_readme import README, ROOT, blocks

PAGE = (ROOT / "docs" / "shared_installation.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


class Hosts:
    """Two directories that stand for hosts, and the servers of both."""

    def __init__(self, directory: Path, postgres, s3) -> None:
        self.places = [directory / "one", directory / "two"]
        self.postgres = postgres
        self.s3 = s3
        for place in self.places:
            place.mkdir()

    def here(self, text: str) -> str:
        """Return a text of the page with the servers of this machine."""
        changed = text.replace("https://store.example.org", self.s3.endpoint)
        changed = changed.replace(
            "db.example.org:5432", f"127.0.0.1:{self.postgres.port}"
        )
        return changed.replace("  path_style", "  allow_http: true\n  path_style")

    def administer(self, text: str) -> None:
        """Do what PostgreSQL's administrator is told to."""
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            for statement in text.split(";"):
                if statement.strip():
                    connection.execute(statement)

    def type(self, text: str, place: Path) -> str:
        """Type the lines of a console on a host; return what they print."""
        said = []
        for line in text.splitlines():
            command = line.removeprefix("$ ")
            path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
            done = subprocess.run(
                ["bash", "-c", f"PATH={path}:$PATH; {command}"],
                cwd=place,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
            said.append(done.stdout)
        return "".join(said)


@pytest.mark.postgres
@pytest.mark.cloud
@pytest.mark.timeout(900)
def test_the_installation_for_several_hosts_works_as_shown(
    tmp_path, postgres, s3, monkeypatch
):
    monkeypatch.delenv("ZIGGY_CLUSTER", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    hosts = Hosts(tmp_path, postgres, s3)
    one, two = hosts.places
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == (
        [
            "sql",
            "python",
            "console",
            "yaml",
            "console",
            "console",
            "console",
            "sql",
            "console",
        ]
    )
    role, bucket, password, cluster, first, second, backup, anew, back = (
        hosts.here(text) for _, text in BLOCKS
    )
    hosts.administer(role)
    subprocess.run([sys.executable, "-c", bucket], check=True, timeout=120)
    for place in hosts.places:
        hosts.type(password, place)
        (place / "cluster.yaml").write_text(cluster)
    for name, text in blocks(README).items():
        if name != "cluster.yaml":
            (one / name).parent.mkdir(exist_ok=True)
            (one / name).write_text(text)
    subprocess.run([sys.executable, "make_frames.py"], cwd=one, check=True, timeout=120)
    assert "COMPLETED" in hosts.type(first, one)
    seen = hosts.type(second, two)
    assert "COMPLETED" in seen
    assert "night-2/levels" in seen
    hosts.type(backup, two)
    hosts.administer(anew)
    assert hosts.type(back, two).count("COMPLETED") >= 1
