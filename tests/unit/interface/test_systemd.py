"""Systemd hears how a service is."""

import os
import socket

import pytest

from ziggy_dask.interface import systemd


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """What systemd would hear."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield lambda: listener.recv(1000).decode()


def test_it_hears_that_a_service_is_ready_lives_and_stops(heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with systemd.watched(lambda: True):
        assert heard() == "READY=1\nWATCHDOG=1"
        assert heard() == "WATCHDOG=1"
    said = heard()
    while said == "WATCHDOG=1":
        said = heard()
    assert said == "STOPPING=1"


def test_it_hears_nothing_of_one_that_is_not_well(heard):
    with systemd.watched(lambda: False):
        pass
    assert heard() == "STOPPING=1"


def test_only_those_who_are_meant_are_watched(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    assert systemd.watchdog_s() == 0
    monkeypatch.setenv("WATCHDOG_USEC", "5000000")
    assert systemd.watchdog_s() == 5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert systemd.watchdog_s() == 0
