"""SIGHUP under systemd: the settings are read again by the running agent. Systemd's end is a real socket."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.edge.conftest import DeviceProcess, Listener


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the agent's messages to systemd arrive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield end


def _hear(systemd: socket.socket, *wanted: str) -> list[str]:
    """The first words of messages, up to the last one that is wanted."""
    heard: list[str] = []
    while not heard or heard[-1] != wanted[-1]:
        first = systemd.recv(500).decode().splitlines()[0]
        if first in wanted:
            heard.append(first)
    return heard


def _change(device: DeviceProcess, **values: Any) -> None:
    settings = json.loads(device.config.read_text())
    device.config.write_text(json.dumps({**settings, **values}))


def test_sound_settings_are_taken_up_by_the_same_process(
    enrolled: tuple[DeviceProcess, Any], listener: Listener, systemd: socket.socket
) -> None:
    """It says that it reloads, never that it stops, and is ready again with another window length."""
    device = enrolled[0]
    device.start()
    _hear(systemd, "READY=1")
    _change(device, telemetry={"window_s": 1.0})
    assert device.process is not None
    device.process.send_signal(signal.SIGHUP)
    assert _hear(systemd, "RELOADING=1", "STOPPING=1", "READY=1") == ["RELOADING=1", "READY=1"]
    assert device.process.poll() is None
    listener.wait(lambda: listener.status() == "online", "the device")
    assert device.end() == 0
    assert _hear(systemd, "RELOADING=1", "STOPPING=1") == ["STOPPING=1"]


def test_faulty_settings_change_nothing(enrolled: tuple[DeviceProcess, Any], systemd: socket.socket) -> None:
    """The device goes on as before, and the log says why."""
    device = enrolled[0]
    device.start()
    _hear(systemd, "READY=1")
    _change(device, telemetry={"window_s": -1})
    assert device.process is not None
    device.process.send_signal(signal.SIGHUP)
    end_s = time.monotonic() + 30
    while "the settings were not taken up" not in device.log.read_text():
        assert time.monotonic() < end_s, device.log.read_text()
        time.sleep(0.1)
    assert _hear(systemd, "RELOADING=1", "STOPPING=1", "WATCHDOG=1") == ["WATCHDOG=1"]
